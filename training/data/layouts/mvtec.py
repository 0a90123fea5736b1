"""MVTec AD, and whoever copies it.

train/good/*                      good images to learn from
test/good/*  test/<defect>/*      images to evaluate on
ground_truth/<defect>/<stem>_mask.png
"""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, TEST_SET_LOOKS_LIKE, Sample, image_key, make_sample
from ..listing import files_below, folders_in, images_below, is_image
from .layout import Found, Layout, Purpose

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG noise would read as defects


def fits(folder: Path, purpose: Purpose) -> bool:
    return (folder / "train" / GOOD).is_dir() or (
        purpose == "evaluate" and (folder / "test").is_dir()
    )


def read(root: Path, folder: Path) -> Found:
    train = [make_sample(root, path, GOOD) for path in images_below(folder / "train" / GOOD)]
    test: list[Sample] = []
    test_root, truth_root = folder / "test", folder / "ground_truth"
    if test_root.is_dir():
        kinds = folders_in(test_root)
        loose = [p for p in files_below(test_root) if is_image(p) and p.parent == test_root]
        if loose:
            raise DataError(f"{loose[0]} lies directly in {test_root}; {TEST_SET_LOOKS_LIKE}")
        for kind in kinds:
            truth = truth_root / kind.name
            test.extend(_test_samples(root, kind, truth))
        _refuse_orphan_folders(truth_root, {kind.name for kind in kinds})
    return train, test


def _test_samples(root: Path, folder: Path, truth: Path) -> list[Sample]:
    """The samples of test/<label>; either every image has a mask or none has."""
    masks = _masks(truth) if folder.name != GOOD else {}
    had_masks = bool(masks)
    samples = []
    for path in images_below(folder):
        mask = masks.pop(image_key(path.relative_to(folder)), None)
        if had_masks and mask is None:
            raise DataError(
                f"{path} has no mask, while other images of {folder} have one; wanted "
                f"{truth / (path.stem + '_mask.png')}, or move the image to a defect folder "
                f"without ground_truth"
            )
        samples.append(make_sample(root, path, folder.name, mask))
    if masks:
        orphan = masks[min(masks)]
        raise DataError(
            f"{orphan} is a mask without image; wanted an image "
            f"{folder / orphan.stem.removesuffix('_mask')}.* or the mask removed"
        )
    return samples


def _masks(folder: Path) -> dict[str, Path]:
    """Masks of ground_truth/<defect> by the key of their image."""
    found: dict[str, Path] = {}
    for path in images_below(folder) if folder.is_dir() else ():
        if path.suffix.lower() not in MASK_SUFFIXES:
            raise DataError(
                f"{path} is a mask in a lossy format; wanted one of {', '.join(MASK_SUFFIXES)}"
            )
        key = image_key(path.relative_to(folder)).removesuffix("_mask")
        if key in found:
            raise DataError(f"{found[key]} and {path} are masks of the same image; remove one")
        found[key] = path
    return found


def _refuse_orphan_folders(truth_root: Path, labels: set[str]) -> None:
    for folder in folders_in(truth_root) if truth_root.is_dir() else ():
        masks = images_below(folder) if folder.name not in labels | {GOOD} else []
        if masks:
            raise DataError(
                f"{masks[0]} is a mask without image: there is no folder "
                f"{truth_root.parent / 'test' / folder.name}; add the images or remove the masks"
            )


LAYOUT = Layout("mvtec", fits, read)
