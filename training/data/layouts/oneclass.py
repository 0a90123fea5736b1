"""Folders of classes, as CIFAR-10 and ImageNet are kept; one class is good, the others are not.

train/<class>/*
test/<class>/*    or val/<class>/*
"""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, Sample, make_sample
from ..listing import folders_in, images_below, images_in
from .layout import Found, Layout, Purpose


def fits(folder: Path, purpose: Purpose) -> bool:
    train = {each.name for each in folders_in(folder / "train")}
    test = {each.name for each in folders_in(_test_root(folder))}
    return bool(train) and GOOD not in train | test and not images_in(folder / "train")


def read(root: Path, folder: Path) -> Found:
    return _samples(root, folder / "train"), _samples(root, _test_root(folder))


def _samples(root: Path, folder: Path) -> list[Sample]:
    loose = images_in(folder)
    if loose:
        raise DataError(
            f"{loose[0]} lies directly in {folder}; expected every image in the folder of its class"
        )
    return [
        make_sample(root, path, each.name)
        for each in folders_in(folder)
        for path in images_below(each)
    ]


def _test_root(folder: Path) -> Path:
    test = folder / "test"
    return test if test.is_dir() else folder / "val"


_TREE = "train/<class>/*, test/<class>/* or val/<class>/*, no class named good"
LAYOUT = Layout("oneclass", _TREE, fits, read, classes=True)
