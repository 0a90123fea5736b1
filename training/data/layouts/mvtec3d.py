"""MVTec 3D-AD, of which the colour images are used.

train/good/rgb/*  validation/good/rgb/*        good images to learn from
test/good/rgb/*   test/<defect>/rgb/*          images to evaluate on
test/<defect>/gt/<stem>.png                    masks
"""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, Sample, make_sample
from ..listing import folders_in, images_below
from .layout import Found, Layout, Purpose
from .masks import masked_samples


def fits(folder: Path, purpose: Purpose) -> bool:
    if (folder / "train" / GOOD / "rgb").is_dir():
        return True
    kinds = folders_in(folder / "test") if purpose == "evaluate" else []
    return any((kind / "rgb").is_dir() for kind in kinds)


def read(root: Path, folder: Path) -> Found:
    train = [
        make_sample(root, path, GOOD)
        for part in ("train", "validation")
        for path in images_below(folder / part / GOOD / "rgb")
    ]
    test: list[Sample] = []
    for kind in folders_in(folder / "test"):
        if not (kind / "rgb").is_dir():
            raise DataError(f"{kind} has no rgb/; add its colour images or remove the folder")
        test += masked_samples(root, kind / "rgb", kind / "gt", kind.name)
    return train, test


LAYOUT = Layout(
    "mvtec3d", "train/good/rgb/*, validation/good/rgb/*, test/<defect>/rgb/*, test/<defect>/gt/*",
    fits, read,
)  # fmt: skip
