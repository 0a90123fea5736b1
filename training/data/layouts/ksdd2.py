"""KolektorSDD2: masks beside the images, and defective images in train/ too.

    train/<number>.png  train/<number>_GT.png      good where the mask is black everywhere
    test/<number>.png   test/<number>_GT.png

Every mask is decoded to know which images are good; a few seconds for the whole set.

Source: https://www.vicos.si/resources/kolektorsdd2/
"""

from __future__ import annotations

import re
from pathlib import Path

from edgead.errors import DataError, InputError
from edgead.images import read_image

from ..dataset import GOOD, Asked, Found, Layout, Purpose, Sample, make_sample, portable
from ..listing import image_names_in, images_in

_MASK = "_GT"
_COPY = re.compile(r"_GT ?\(.*\)$")  # a second copy of a mask, as in <number>_GT(1).png


def fits(folder: Path, purpose: Purpose) -> bool:
    names = image_names_in(folder / "train") + image_names_in(folder / "test")
    return any(Path(name).stem.endswith(_MASK) for name in names)


def read(root: Path, folder: Path, asked: Asked) -> Found:
    train, test = folder / "train", folder / "test"
    masks = (path for path in images_in(train) + images_in(test) if _MASK in path.stem)
    return Found(_samples(root, train), _samples(root, test), also_read=tuple(masks))


def _samples(root: Path, folder: Path) -> list[Sample]:
    found = images_in(folder)
    masks = {
        portable(path.stem).removesuffix(_MASK): path for path in found if path.stem.endswith(_MASK)
    }
    samples = []
    for path in found:
        if path.stem.endswith(_MASK) or _COPY.search(path.stem):
            continue
        mask = masks.pop(portable(path.stem), None)
        if mask is None:
            raise DataError(
                f"{path} has no mask, so whether it is good is unknown; expected "
                f"{folder / (path.stem + _MASK + '.png')}, black everywhere for a good image"
            )
        try:
            defective = read_image(mask).any()
        except InputError as error:
            raise DataError(f"the mask {mask} cannot be read: {error}") from error
        what = ("defect", mask) if defective else (GOOD, None)
        samples.append(make_sample(root, path, *what))
    if masks:
        orphan = masks[min(masks)]
        raise DataError(
            f"{orphan} is a mask without image; expected {folder / min(masks)}.png or the mask "
            f"removed"
        )
    return samples


LAYOUT = Layout(
    "ksdd2", "train/<number>.png, train/<number>_GT.png, test/<number>.png, test/<number>_GT.png",
    fits, read,
)  # fmt: skip
