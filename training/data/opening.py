"""Which layout a folder has, and what must be in it."""

from __future__ import annotations

import os
from pathlib import Path

from edgead.errors import DataError

from .dataset import GOOD, TEST_SET_LOOKS_LIKE, Dataset, by_name
from .layouts import FALLBACK, LAYOUTS
from .layouts.layout import Purpose
from .listing import SUFFIXES


def open_dataset(path: str | os.PathLike[str], *, purpose: Purpose = "train") -> Dataset:
    """Find the images below `path` and say which layout they have.

    purpose "train" wants at least two good training images (one to learn from, one to calibrate
    with); "evaluate" wants a test set and does without training images.
    Errors: DataError for a folder that is missing, empty, ambiguous or lacks what is wanted, and
    for masks without image, images without mask among others that have one.
    """
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"purpose is {purpose!r}; wanted 'train' or 'evaluate'")
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a folder of images of good parts")
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the folder that holds the images")
    layout = next((each for each in LAYOUTS.values() if each.fits(root, purpose)), FALLBACK)
    train, test = (tuple(sorted(found, key=by_name)) for found in layout.read(root, root))
    dataset = Dataset(root, layout.name, train, test)
    if purpose == "evaluate":
        if not dataset.test:
            raise DataError(f"{root} has no test set; {TEST_SET_LOOKS_LIKE}")
    elif len(dataset.train) < 2:
        where = root / "train" / GOOD if dataset.layout == "mvtec" else root
        found = "one image" if dataset.train else "no image"
        raise DataError(
            f"{where} holds {found} ({SUFFIXES}); wanted at least two images of good parts, one "
            f"to learn from and one to calibrate with, and better 50 or more"
        )
    return dataset
