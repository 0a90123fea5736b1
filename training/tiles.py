"""Tiles of training images: what a method learns from when its bundle will see frames in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError, InputError
from edgead.images import read_image
from edgead.tiling import Tiling, plan_tiles

from .data import Sample
from .methods.base import Progress

MOST_TILES = 4096
"""Tiles learnt from, over all images: 3.2 GB of 256 x 256. More of one texture teach little."""

Place = tuple[int, int]  # top and left of a tile, in pixels of the frame


def choose_tiles(
    samples: Sequence[Sample],
    tiling: Tiling,
    map_size: tuple[int, int],
    seed: int,
    progress: Progress,
) -> list[list[Place]]:
    """For each image the tiles to learn from: those the runtime would cut, at most ``MOST_TILES``.

    Where there are more, an equal number of every image, drawn by ``seed``.
    Errors: DataError that names an image smaller than a tile.
    """
    generator = np.random.default_rng(seed)
    most = max(1, MOST_TILES // len(samples))
    chosen = []
    for sample in progress(samples, "laying the tiles"):
        frame = read_image(sample.path)
        try:
            plan = plan_tiles(tiling, (frame.shape[0], frame.shape[1]), map_size)
        except InputError as error:
            raise DataError(f"{sample.path}: {error}") from error
        places = [(y, x) for y in plan.rows.starts for x in plan.columns.starts]
        kept = generator.permutation(len(places))[:most]
        chosen.append([places[index] for index in sorted(kept)])
    return chosen


def cut_tiles(
    frame: NDArray[Any], places: Sequence[Place], tiling: Tiling
) -> Iterator[NDArray[Any]]:
    """The tiles of one frame, views of it."""
    height, width = tiling.size
    for top, left in places:
        yield frame[top : top + height, left : left + width]


def middle(frame: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The piece of ``size`` at the middle of a frame, or all of a side that is shorter."""
    (height, width), (tall, wide) = frame.shape[:2], size
    top, left = max(0, (height - tall) // 2), max(0, (width - wide) // 2)
    return frame[top : top + tall, left : left + wide]
