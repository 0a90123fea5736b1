"""Data sets in which the folder of an image says what it shows.

mvtec     MVTec AD and its like     train/good/*  test/good/*  test/<defect>/*
                                    ground_truth/<defect>/<stem>_mask.png
mvtec3d   MVTec 3D-AD, its colours  train/good/rgb/*  validation/good/rgb/*
                                    test/<defect>/rgb/*  test/<defect>/gt/<stem>.png
oneclass  CIFAR-10, ImageNet        train/<class>/*  test/<class>/* or val/<class>/*
folder    good parts alone          *, in one folder; in several where --layout says so
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgead.errors import DataError

from ..dataset import (
    GOOD,
    TEST_SET_LOOKS_LIKE,
    Asked,
    Found,
    Layout,
    Purpose,
    Sample,
    image_key,
    list_folders,
    make_sample,
    portable,
    same_name,
    way_to,
)
from ..listing import (
    folders_in,
    image_names_in,
    images_below,
    images_in,
    named,
    saved_frames_in,
)
from ..words import meaning
from . import sorted_parts
from .good_parts import check_files, check_folders, check_no_annotations, check_no_masks
from .masks import check_format


def _samples(root: Path, folder: Path, label: str = GOOD) -> list[Sample]:
    return [make_sample(root, path, label) for path in images_below(folder)]


def _check_good(folder: Path, images: list[Path], layout: str, asked: Asked) -> None:
    check_folders(folder, images, layout, asked.by_name)
    check_files(folder, images, layout, asked.by_name)


def _learnt(root: Path, folder: Path, layout: str, asked: Asked) -> list[Sample]:
    """The images below `folder`, all of which are learnt as good."""
    images = images_below(folder)
    if asked.purpose == "train":
        _check_good(folder, images, layout, asked)
    return [make_sample(root, path) for path in images]


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
        check_format(path)
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
    if purpose != "evaluate" or not (folder / "test").is_dir() or fits_oneclass(folder, purpose):
        return False
    return (folder / "test" / GOOD).is_dir() or not sorted_parts.fits(folder, purpose)


def read_mvtec(root: Path, folder: Path, asked: Asked) -> Found:
    truth, test = folder / "ground_truth", []
    kinds = _kinds(folder / "test", TEST_SET_LOOKS_LIKE)
    for kind in kinds:
        label = GOOD if meaning(kind.name).good else portable(kind.name)
        if label == GOOD and asked.purpose == "evaluate":
            _check_good(kind, images_below(kind), MVTEC.name, asked)
        test += _masked_samples(root, kind, named(truth, kind.name), label, "_mask")
    labels = {portable(kind.name) for kind in kinds} | {GOOD}
    masks_of_good = images_below(truth / GOOD)
    for orphan in folders_in(truth):
        if portable(orphan.name) not in labels and (masks := images_below(orphan)):
            raise DataError(
                f"{masks[0]} is a mask without image: there is no folder "
                f"{folder / 'test' / orphan.name}; add the images or remove the masks"
            )
    train = _learnt(root, folder / "train" / GOOD, MVTEC.name, asked)
    inside = Counter(way_to(folder, sample.path) for sample in train)
    assumed = f"{list_folders(inside)} taken as good" if len(inside) > 1 else ""
    return Found(train, test, assumed, also_read=tuple(masks_of_good))


def fits_mvtec3d(folder: Path, purpose: Purpose) -> bool:
    if (folder / "train" / GOOD / "rgb").is_dir():
        return True
    kinds = folders_in(folder / "test") if purpose == "evaluate" else []
    return any((kind / "rgb").is_dir() for kind in kinds)


def read_mvtec3d(root: Path, folder: Path, asked: Asked) -> Found:
    test: list[Sample] = []
    for kind in folders_in(folder / "test"):
        if not (kind / "rgb").is_dir():
            raise DataError(f"{kind} has no rgb/; add its colour images or remove the folder")
        test += _masked_samples(root, kind / "rgb", kind / "gt", kind.name)
    parts = [folder / part / GOOD / "rgb" for part in ("train", "validation")]
    train = [sample for part in parts for sample in _learnt(root, part, MVTEC3D.name, asked)]
    return Found(train, test, also_read=tuple(images_below(folder / "test" / GOOD / "gt")))


def _class_roots(folder: Path) -> tuple[Path, Path]:
    return folder / "train", folder / ("test" if (folder / "test").is_dir() else "val")


def fits_oneclass(folder: Path, purpose: Purpose) -> bool:
    train, test = ([each.name for each in folders_in(part)] for part in _class_roots(folder))
    plain = all(meaning(name).plain or meaning(name).mask for name in train)
    if plain or GOOD in train + test:
        return False
    return not image_names_in(folder / "train")


def read_oneclass(root: Path, folder: Path, asked: Asked) -> Found:
    for each in folders_in(_class_roots(folder)[0]) if asked.purpose == "train" else ():
        if asked.category is None or same_name(each.name, asked.category):
            check_folders(each, images_below(each), ONECLASS.name, asked.by_name)
    train, test = (
        [
            sample
            for each in _kinds(part, "expected every image in the folder of its class")
            for sample in _samples(root, each, portable(each.name))
        ]
        for part in _class_roots(folder)
    )
    return Found(train, test)


def read_folder(root: Path, folder: Path, asked: Asked) -> Found:
    """All images, where nothing says that some of them are not of good parts.

    Images of several folders are taken only when the user names the layout: their names (dates,
    cameras, labels such as 0 and 1) do not say that all of them are good.
    """
    images = images_below(folder)
    if not images and (images := saved_frames_in(folder)) and not asked.by_name:
        raise DataError(
            f"{folder} holds {len(images)} frames that edgead saved, as evidence or golden frames; "
            "evidence is of parts that were rejected: look at each, and save those of good parts "
            "as your own (docs/data.md), or give --layout folder if all of them are good"
        )
    counts = Counter(way_to(folder, path) for path in images)
    held = list_folders(counts)
    check_folders(folder, images, FOLDER.name, asked.by_name)
    check_no_masks(images)
    if not asked.by_name:
        check_no_annotations(folder, images)
    if len(counts) > 1 and not asked.by_name:
        raise DataError(
            f"{folder} holds images in several places, and their names do not say which are of "
            f"good parts: {held}; give --layout folder if all of them are, --category NAME if "
            "only that folder is"
        )
    check_files(folder, images, FOLDER.name, asked.by_name)
    odd = any(meaning(path.stem).good is False for path in images)
    assumed = f"{held} taken as good" if len(counts) > 1 else ""
    if odd or meaning(folder.resolve().name).good is False:
        assumed = f"{held} taken as good, although names mean defective"
    return Found([make_sample(root, path) for path in images], [], assumed)


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
FOLDER = Layout("folder", "images of good parts", lambda *_: False, read_folder)
