"""Masks found for the images of a test set, wherever people keep them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgead.errors import DataError

from ..dataset import Sample, portable
from ..words import meaning

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG noise would read as defects
BESIDE = re.compile(
    r"[ _.-]+(mask|gt|ground[ _-]?truth|label|seg|segmentation|annotation)s?$", re.IGNORECASE
)
"""What the stem of a mask has behind that of its image; it may lack."""

_Key = tuple[str, ...]


def check_format(path: Path) -> None:
    """Raises: DataError for a mask in a lossy format."""
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise DataError(
            f"{path} is a mask in a lossy format; expected one of {', '.join(MASK_SUFFIXES)}"
        )


def masks_beside(images: list[Path]) -> list[Path]:
    """Those of the images that are evidently masks of another one beside them."""
    stems = {path: portable(str(path.with_suffix(""))) for path in images}
    known = set(stems.values())
    shown = {path: BESIDE.sub("", stem) for path, stem in stems.items()}
    return [path for path in images if shown[path] != stems[path] and shown[path] in known]


def match_masks(
    folder: Path, samples: list[Sample], masks: list[Path], images: Iterable[Path]
) -> list[Sample]:
    """The samples, each with its mask: of the same name, in a folder of the same kind.

    images: all of the data set, also those that are not samples; masks of these are not looked at.
    Raises:
        DataError: a mask in a lossy format, two masks of one image, a mask without image, an image
            without mask among others of its kind that have one.
    """
    defective: dict[_Key, Sample] = {}
    by_stem: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.is_good:
            defective[_key(folder, sample.path)] = sample
            by_stem[portable(sample.path.stem)].append(sample)
    others = {_key(folder, path) for path in images} - defective.keys()
    found: dict[str, Path] = {}
    orphans = []
    for mask in masks:
        keys = [_key(folder, mask), _key(folder, mask, BESIDE)]
        sample = next((defective[key] for key in keys if key in defective), None)
        if sample is None and not others.isdisjoint(keys):
            continue
        alone = [by_stem[key[-1]][0] for key in keys if len(by_stem[key[-1]]) == 1]
        sample = sample or next(iter(alone), None)
        if sample is None:
            orphans.append(mask)
            continue
        check_format(mask)
        if sample.name in found:
            raise DataError(
                f"{found[sample.name]} and {mask} are masks of the same image; remove one"
            )
        found[sample.name] = mask
    if orphans and defective:
        raise DataError(
            f"{orphans[0]} is a mask without image, one of {len(orphans)}; expected the name of an "
            "image of a defect, with or without _mask behind it, or the mask removed"
        )
    kinds = {sample.label for sample in samples if sample.name in found}
    for sample in defective.values():
        if sample.label in kinds and sample.name not in found:
            raise DataError(
                f"{sample.path} has no mask, while other images of {sample.label} have one; add "
                f"{sample.path.stem}_mask.png beside theirs, or move the image to a folder of its "
                "own"
            )
    return [replace(sample, mask=found.get(sample.name)) for sample in samples]


def _key(folder: Path, path: Path, ending: re.Pattern[str] | None = None) -> _Key:
    """What an image and its mask have in common: the kind, and the stem without the ending."""
    parts = (meaning(part).key for part in path.parent.relative_to(folder).parts)
    stem = portable(path.stem)
    return (*(part for part in parts if part), stem if ending is None else ending.sub("", stem))
