"""Whether images that are to be learnt as good are evidently something else.

Folders and files whose names say so, masks beside the images, and annotations of them.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from edgead.errors import DataError, printable

from ..dataset import GOOD, TEST_SET_LOOKS_LIKE, list_folders, way_to
from ..listing import entries_below
from ..words import meaning
from .masks import masks_beside

ANNOTATIONS = (".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".mat", ".npy", ".npz", ".svg")
"""Suffixes of files in which tools keep what people marked in images."""

_MARKED = re.compile(
    rb"""<object\b | <polygon\b | <bndbox\b | "shapes" | "annotations" | "regions" | "bbox"
    | \A\s*\d+(\s+[01]?\.\d+){4,}\s*$ """,
    re.VERBOSE | re.MULTILINE,
)
"""What annotations say of marked defects: Pascal VOC, CVAT, labelme, COCO, VIA, YOLO."""
_LOOKED_INTO = 100  # files: where people annotate, they annotate many


def check_folders(folder: Path, images: list[Path], layout: str, by_name: bool) -> None:
    """Refuse folders of good parts in which others are evidently not of good parts.

    Args:
        folder: all images below it are to be learnt as good.
        images: below it.
        layout: what the user can name to insist, where a name leaves a doubt.
        by_name: whether the user did.

    Raises:
        DataError: with the folders and their counts, and the cure.
    """
    counts = Counter(way_to(folder, path) for path in images)
    for way in sorted(counts):
        for part in Path(way).parts:
            said = meaning(part)
            evident = said.good is False or said.mask or said.split is not None
            if not evident and (by_name or not said.aside):
                continue
            cure = "move that folder away, since all that lies here is taken as good"
            if layout == "folder":
                cure = (
                    f"put the good training images into {folder / 'train' / GOOD}, or give a "
                    "folder that holds nothing but images of good parts"
                )
            insist = "" if evident else f", or give --layout {layout} if all of them are good"
            raise DataError(
                f"{folder} holds {list_folders(counts)}, and {printable(part)}/ is evidently not "
                f"a folder of good parts to learn from; {cure}{insist}"
            )


def check_files(folder: Path, images: list[Path], layout: str, by_name: bool) -> None:
    """Refuse good images of which some are of defects, masks or undecided by their files' names.

    Args, Raises: as ``check_folders``.
    """
    check_no_masks(images)
    odd = [path for path in images if meaning(path.stem).good is False]
    if odd and not by_name:
        raise DataError(
            f"{len(odd)} of {len(images)} images in {folder} are of defective parts by their names "
            f"({printable(odd[0].name)}); move them away, or give --layout {layout} if they are "
            "good"
        )
    others = [p for p in images if meaning(p.stem).mask or meaning(p.stem).aside]
    if others and len(others) < len(images) and not by_name:
        raise DataError(
            f"{len(others)} of {len(images)} images in {folder} are masks, heatmaps or undecided "
            f"by their names ({printable(others[0].name)}), not good parts; move them away, or "
            f"give --layout {layout} if they are good parts"
        )


def check_no_masks(images: list[Path]) -> None:
    """Refuse masks that lie beside their images. Raises: DataError."""
    if masks := masks_beside(images):
        raise DataError(
            f"{masks[0]} is evidently a mask of the image beside it, not a part to learn from; "
            f"remove the masks, or give a folder of good parts alone; {TEST_SET_LOOKS_LIKE}"
        )


def check_no_annotations(folder: Path, images: list[Path]) -> None:
    """Refuse images in which people marked something: not all are of good parts, and none says so.

    Raises: DataError with the cure.
    """
    files = [
        path
        for path, reason in entries_below(folder)
        if reason in ANNOTATIONS and path.is_file() and not path.name.startswith(".")
    ]
    named = [
        path
        for path in files
        if any(meaning(part).mask for part in (*path.parent.relative_to(folder).parts, path.stem))
    ]
    marked = named or [path for path in files[:_LOOKED_INTO] if _is_annotation(path)]
    if images and marked:
        raise DataError(
            f"{folder} holds annotations of its {len(images)} images ({printable(marked[0].name)}, "
            f"{len(files)} such files), which are not read, so nothing says which images are of "
            "good parts; give a folder of good parts alone, or --layout folder if all of them are"
        )


def _is_annotation(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return _MARKED.search(stream.read(65536)) is not None
    except OSError:
        return False
