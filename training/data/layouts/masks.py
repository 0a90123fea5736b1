"""Defective images and their masks, where each lies in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, Sample, image_key, make_sample
from ..listing import images_below

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG noise would read as defects


def masked_samples(
    root: Path, folder: Path, truth: Path, label: str, suffix: str = ""
) -> list[Sample]:
    """The images below `folder`; either every one has a mask below `truth` or none has.

    suffix  what the stem of a mask has behind that of its image; it may lack
    Good images have no masks; what lies in `truth` for them is not looked at.
    """
    masks = _masks(truth, suffix) if label != GOOD else {}
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


def _masks(folder: Path, suffix: str) -> dict[str, Path]:
    """Masks by the key of their image."""
    found: dict[str, Path] = {}
    for path in images_below(folder):
        if path.suffix.lower() not in MASK_SUFFIXES:
            raise DataError(
                f"{path} is a mask in a lossy format; expected one of {', '.join(MASK_SUFFIXES)}"
            )
        key = image_key(path.relative_to(folder)).removesuffix(suffix)
        if key in found:
            raise DataError(f"{found[key]} and {path} are masks of the same image; remove one")
        found[key] = path
    return found
