"""MVTec AD, and data sets of the same layout.

train/good/*                      good images to learn from
test/good/*  test/<defect>/*      images to evaluate on
ground_truth/<defect>/<stem>_mask.png
"""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, TEST_SET_LOOKS_LIKE, Sample, make_sample
from ..listing import folders_in, images_below, images_in
from .layout import Found, Layout, Purpose
from .masks import masked_samples


def fits(folder: Path, purpose: Purpose) -> bool:
    return (folder / "train" / GOOD).is_dir() or (
        purpose == "evaluate" and (folder / "test").is_dir()
    )


def read(root: Path, folder: Path) -> Found:
    train = [make_sample(root, path, GOOD) for path in images_below(folder / "train" / GOOD)]
    test: list[Sample] = []
    test_root, truth_root = folder / "test", folder / "ground_truth"
    loose = images_in(test_root)
    if loose:
        raise DataError(f"{loose[0]} lies directly in {test_root}; {TEST_SET_LOOKS_LIKE}")
    kinds = folders_in(test_root)
    for kind in kinds:
        test += masked_samples(root, kind, truth_root / kind.name, kind.name, "_mask")
    _refuse_orphan_folders(truth_root, {kind.name for kind in kinds} | {GOOD})
    return train, test


def _refuse_orphan_folders(truth_root: Path, labels: set[str]) -> None:
    for folder in folders_in(truth_root):
        masks = images_below(folder) if folder.name not in labels else []
        if masks:
            raise DataError(
                f"{masks[0]} is a mask without image: there is no folder "
                f"{truth_root.parent / 'test' / folder.name}; add the images or remove the masks"
            )


LAYOUT = Layout(
    "mvtec", "train/good/*, test/good/*, test/<defect>/*, ground_truth/<defect>/*_mask.png",
    fits, read,
)  # fmt: skip
