"""The images of good parts that set the ranges of an int8 graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from edgead_training.data import Sample
from edgead_training.training_set import middle
from numpy.typing import NDArray

from edgead.errors import ExportError, InputError
from edgead.images import list_images, read_image
from edgead.preprocess import PreprocessParams, preprocess
from edgead.tiling import Tiling

MOST = 64
"""Images at most, evenly chosen. A range is the largest magnitude of each of some fifty tensors, of
thousands of values in every image."""

Named = tuple[str, Callable[[], NDArray[Any]]]


def range_images(
    train: Sequence[Sample],
    calibration: Sequence[Sample],
    params: PreprocessParams,
    tiling: Tiling | None,
    directory: str | os.PathLike[str] | None,
) -> list[NDArray[np.float32]]:
    """Preprocessed images [1, 3, H, W]: those of ``directory``, or of training where it is None.

    Of a tiled run, the middle tile of each.

    Errors: ExportError for a directory without images, or with images that are not like the run's:
    of another size where these have one size, grey or colour, 8 or 16 bits, smaller than a tile, or
    the very calibration images that the thresholds come from.
    """
    if directory is None:
        named = [(sample.name, _reader(sample.path)) for sample in _evenly(train)]
    else:
        named = list(_read_folder(Path(directory), calibration, tiling))
    images = []
    for _, read in named:
        frame = read() if tiling is None else middle(read(), tiling.size)
        images.append(np.ascontiguousarray(preprocess(frame, params)[None]))
    return images


def _read_folder(
    folder: Path, calibration: Sequence[Sample], tiling: Tiling | None
) -> Iterator[Named]:
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise ExportError(f"--calibration {folder} {kind}; give a folder of images of good parts")
    paths = _evenly(list_images(folder))
    if not paths:
        raise ExportError(
            f"--calibration {folder} holds no image; give a folder of images of good parts, or "
            "leave it out: then the training images set the ranges"
        )
    digests, kinds, sizes = {}, set(), set()
    for sample in calibration:
        frame = read_image(sample.path)
        digests[_digest(frame)] = sample.name
        kinds.add(_kind(frame))
        sizes.add(frame.shape[:2])
    for path in paths:
        try:
            frame = read_image(path)
        except InputError as error:
            raise ExportError(f"--calibration: {error}") from error
        where = f"--calibration: {path}"
        if _kind(frame) not in kinds:
            expected = " and ".join(sorted(kinds))
            raise ExportError(
                f"{where} is {_kind(frame)}, the images of the run are {expected}; give images of "
                "the same camera"
            )
        if len(sizes) == 1 and frame.shape[:2] not in sizes:
            raise ExportError(
                f"{where} is {_size(frame.shape[:2])}, all images of the run are "
                f"{_size(*sizes)}; give images of the same camera"
            )
        if tiling is not None and min(np.subtract(frame.shape[:2], tiling.size)) < 0:
            raise ExportError(f"{where} is smaller than a tile of {_size(tiling.size)}")
        if _digest(frame) in digests:
            raise ExportError(
                f"{where} is {digests[_digest(frame)]}, one of the images that the thresholds come "
                "from; ranges fitted to these would make int8 look better than it is: give others"
            )
        yield path.name, _reader(path)


def _evenly(items: Sequence[Any]) -> list[Any]:
    at = np.linspace(0, len(items) - 1, min(MOST, len(items)))
    return [items[int(index)] for index in at]


def _reader(path: Path) -> Callable[[], NDArray[Any]]:
    return lambda: read_image(path)


def _kind(frame: NDArray[Any]) -> str:
    colour = "in colour" if frame.ndim == 3 and frame.shape[2] == 3 else "grey"
    return f"{colour} with {8 * frame.dtype.itemsize} bits"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (height x width)"


def _digest(frame: NDArray[Any]) -> str:
    return sha256(str(frame.shape).encode() + np.ascontiguousarray(frame).tobytes()).hexdigest()
