"""Data sets in which the folder of an image says what it shows.

mvtec     MVTec AD and its like     train/good/*  test/good/*  test/<defect>/*
                                    ground_truth/<defect>/<stem>_mask.png
mvtec3d   MVTec 3D-AD, its colours  train/good/rgb/*  validation/good/rgb/*
                                    test/<defect>/rgb/*  test/<defect>/gt/<stem>.png
oneclass  CIFAR-10, ImageNet        train/<class>/*  test/<class>/* or val/<class>/*
folder    good parts alone          *, nested or not, or a lone good/
"""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import (
    GOOD,
    TEST_SET_LOOKS_LIKE,
    Found,
    Layout,
    Purpose,
    Sample,
    image_key,
    make_sample,
)
from ..listing import folders_in, images_below, images_in

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG noise would read as defects


def _samples(root: Path, folder: Path, label: str = GOOD) -> list[Sample]:
    return [make_sample(root, path, label) for path in images_below(folder)]


def _kinds(folder: Path, expected: str) -> list[Path]:
    """The folders in `folder`, which holds no image directly."""
    if loose := images_in(folder):
        raise DataError(f"{loose[0]} lies directly in {folder}; {expected}")
    return folders_in(folder)


def _masked_samples(
    root: Path, folder: Path, truth: Path, label: str, suffix: str = ""
) -> list[Sample]:
    """The images below `folder`; either every one has a mask below `truth` or none has.

    suffix: what the stem of a mask has behind that of its image; it may lack. Good images have no
    masks; what lies in `truth` for them is not looked at.
    """
    masks: dict[str, Path] = {}
    for path in images_below(truth) if label != GOOD else ():
        if path.suffix.lower() not in MASK_SUFFIXES:
            raise DataError(
                f"{path} is a mask in a lossy format; expected one of {', '.join(MASK_SUFFIXES)}"
            )
        key = image_key(path.relative_to(truth)).removesuffix(suffix)
        if key in masks:
            raise DataError(f"{masks[key]} and {path} are masks of the same image; remove one")
        masks[key] = path
    had_masks = bool(masks)
    samples = []
    for path in images_below(folder):
        mask = masks.pop(image_key(path.relative_to(folder)), None)
        if had_masks and mask is None:
            raise DataError(
                f"{path} has no mask, while other images of {folder} have one; expected "
                f"{truth / (path.stem + suffix + '.png')}, or move the image to a defect folder "
                f"without masks"
            )
        samples.append(make_sample(root, path, label, mask))
    if masks:
        orphan = masks[min(masks)]
        raise DataError(
            f"{orphan} is a mask without image; expected an image "
            f"{folder / orphan.stem.removesuffix(suffix)}.* or the mask removed"
        )
    return samples


def fits_mvtec(folder: Path, purpose: Purpose) -> bool:
    if (folder / "train" / GOOD).is_dir():
        return True
    return purpose == "evaluate" and (folder / "test").is_dir()


def read_mvtec(root: Path, folder: Path) -> Found:
    truth, test = folder / "ground_truth", []
    kinds = _kinds(folder / "test", TEST_SET_LOOKS_LIKE)
    for kind in kinds:
        test += _masked_samples(root, kind, truth / kind.name, kind.name, "_mask")
    labels = {kind.name for kind in kinds} | {GOOD}
    for orphan in folders_in(truth):
        if orphan.name not in labels and (masks := images_below(orphan)):
            raise DataError(
                f"{masks[0]} is a mask without image: there is no folder "
                f"{folder / 'test' / orphan.name}; add the images or remove the masks"
            )
    return _samples(root, folder / "train" / GOOD), test


def fits_mvtec3d(folder: Path, purpose: Purpose) -> bool:
    if (folder / "train" / GOOD / "rgb").is_dir():
        return True
    kinds = folders_in(folder / "test") if purpose == "evaluate" else []
    return any((kind / "rgb").is_dir() for kind in kinds)


def read_mvtec3d(root: Path, folder: Path) -> Found:
    test: list[Sample] = []
    for kind in folders_in(folder / "test"):
        if not (kind / "rgb").is_dir():
            raise DataError(f"{kind} has no rgb/; add its colour images or remove the folder")
        test += _masked_samples(root, kind / "rgb", kind / "gt", kind.name)
    parts = [folder / part / GOOD / "rgb" for part in ("train", "validation")]
    return [sample for part in parts for sample in _samples(root, part)], test


def _class_roots(folder: Path) -> tuple[Path, Path]:
    return folder / "train", folder / ("test" if (folder / "test").is_dir() else "val")


def fits_oneclass(folder: Path, purpose: Purpose) -> bool:
    train, test = ([each.name for each in folders_in(part)] for part in _class_roots(folder))
    return bool(train) and GOOD not in train + test and not images_in(folder / "train")


def read_oneclass(root: Path, folder: Path) -> Found:
    train, test = (
        [
            sample
            for each in _kinds(part, "expected every image in the folder of its class")
            for sample in _samples(root, each, each.name)
        ]
        for part in _class_roots(folder)
    )
    return train, test


def read_folder(root: Path, folder: Path) -> Found:
    inside = {each.name: each for each in folders_in(folder)}
    if mvtec_like := sorted(inside.keys() & {"train", "test", "ground_truth"}):
        raise DataError(
            f"{folder} has {', '.join(name + '/' for name in mvtec_like)} but no train/good/; put "
            f"the good training images into {folder / 'train' / GOOD}, or give a folder that holds "
            f"nothing but images of good parts"
        )
    if GOOD in inside:
        beside = [path for path in images_below(folder) if inside[GOOD] not in path.parents]
        if beside:
            raise DataError(
                f"{folder} holds {GOOD}/ and other images beside it ({beside[0]}), which may show "
                f"defects; give {inside[GOOD]} to learn from the good ones; {TEST_SET_LOOKS_LIKE}"
            )
    return _samples(root, folder), []


MVTEC = Layout(
    "mvtec", "train/good/*, test/good/*, test/<defect>/*, ground_truth/<defect>/*_mask.png",
    fits_mvtec, read_mvtec,
)  # fmt: skip
MVTEC3D = Layout(
    "mvtec3d", "train/good/rgb/*, validation/good/rgb/*, test/<defect>/rgb/*, test/<defect>/gt/*",
    fits_mvtec3d, read_mvtec3d,
)  # fmt: skip
ONECLASS = Layout(
    "oneclass", "train/<class>/*, test/<class>/* or val/<class>/*, no class named good",
    fits_oneclass, read_oneclass, classes=True,
)  # fmt: skip
# Any folder could be one: it is what is left when no other layout fits.
FOLDER = Layout("folder", "images of good parts, nested or not", lambda *_: False, read_folder)
