"""The images of good parts that set the ranges of an int8 graph."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgead_training.data import Sample
from numpy.typing import NDArray

from edgead.errors import ExportError, InputError
from edgead.images import list_images, read_image
from edgead.images.content import digest_of
from edgead.preprocess import PreprocessParams, preprocess
from edgead.tiling import Tiling, middle

from ..options import Ranges

MOST = 64
"""Images at most, evenly chosen; a range is a largest magnitude of thousands of values in each."""


def range_images(
    train: Sequence[Sample],
    calibration: Sequence[Sample],
    params: PreprocessParams,
    tiling: Tiling | None,
    directory: str | os.PathLike[str] | None,
) -> Ranges:
    """At most ``MOST`` images of ``directory``, or of ``train`` where it is None, preprocessed.

    Of a tiled run, the middle tile of each.

    Raises:
        ExportError: a directory without images, or with images that are not like the run's: of
            another size where these have one size, grey or colour, 8 or 16 bits, smaller than a
            tile, or one of ``calibration``, the images that the thresholds come from.
    """
    frames: Iterator[NDArray[Any]]
    if directory is None:
        chosen = evenly(train)
        frames = (read_image(sample.path, bit_depth=params.bit_depth) for sample in chosen)
    else:
        frames = _read_folder(Path(directory), calibration, tiling, params.bit_depth)
    seen = (frame if tiling is None else middle(frame, tiling.size) for frame in frames)
    return [np.ascontiguousarray(preprocess(frame, params)[None]) for frame in seen]


def _read_folder(
    folder: Path, calibration: Sequence[Sample], tiling: Tiling | None, bit_depth: int | None
) -> Iterator[NDArray[Any]]:
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise ExportError(f"--calibration {folder} {kind}; give a folder of images of good parts")
    paths = evenly(list_images(folder))
    if not paths:
        raise ExportError(
            f"--calibration {folder} holds no image; give a folder of images of good parts, or "
            "leave it out: then the training images set the ranges"
        )
    digests, kinds, sizes = {}, set(), set()
    for sample in calibration:
        frame = read_image(sample.path, bit_depth=bit_depth)
        digests[digest_of(frame)] = sample.name
        kinds.add(_kind(frame))
        sizes.add(frame.shape[:2])
    for path in paths:
        try:
            frame = read_image(path, bit_depth=bit_depth)
        except InputError as error:
            raise ExportError(f"--calibration: {error}") from error
        where, size = f"--calibration: {path}", frame.shape[:2]
        if _kind(frame) not in kinds:
            raise ExportError(
                f"{where} is {_kind(frame)}, the images of the run are "
                f"{' and '.join(sorted(kinds))}; give images of the same camera"
            )
        if len(sizes) == 1 and size not in sizes:
            raise ExportError(
                f"{where} is {_size(size)}, all images of the run are {_size(*sizes)}; give images "
                "of the same camera"
            )
        if tiling is not None and min(np.subtract(size, tiling.size)) < 0:
            raise ExportError(f"{where} is smaller than a tile of {_size(tiling.size)}")
        if (name := digests.get(digest_of(frame))) is not None:
            raise ExportError(
                f"{where} is {name}, one of the images that the thresholds come from; ranges "
                "fitted to these would make int8 look better than it is: give others"
            )
        yield frame


def evenly(items: Sequence[Any], most: int = MOST) -> list[Any]:
    """``most`` of ``items``, or all where there are fewer."""
    at = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[int(index)] for index in at]


def _kind(frame: NDArray[Any]) -> str:
    colour = "in colour" if frame.ndim == 3 and frame.shape[2] == 3 else "grey"
    return f"{colour} with {8 * frame.dtype.itemsize} bits"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (height x width)"
