"""Tiles of training images: what a method learns from when its bundle will see frames in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError, InputError
from edgead.images import read_image
from edgead.tiling import Tiling, plan_tiles

from .data import Parts, Sample
from .methods.base import Progress

MOST_TILES = 4096
"""Tiles learnt from, over all images: 3.2 GB of 256 x 256. More of one texture teach little."""

Piece = tuple[slice, slice]  # rows and columns of a frame


def choose_tiles(
    parts: Parts, tiling: Tiling | None, map_size: tuple[int, int], seed: int, progress: Progress
) -> list[list[Piece]]:
    """For each training image the tiles to learn from: those the runtime would cut.

    Without a tiling all of the image is one tile. Where there are more than ``MOST_TILES``, an
    equal number of every image, drawn by ``seed``.
    Errors: DataError that names an image smaller than a tile, also one to calibrate with.
    """
    train, calibration = parts
    if tiling is None:
        return [[(slice(None), slice(None))] for _ in train]
    laid = [
        _lay(sample, tiling, map_size)
        for sample in progress(train + calibration, "laying the tiles")
    ]
    generator = np.random.default_rng(seed)
    most = max(1, MOST_TILES // len(train))
    chosen = []
    for tiles in laid[: len(train)]:
        kept = generator.permutation(len(tiles))[:most]
        chosen.append([tiles[index] for index in sorted(kept)])
    return chosen


def _lay(sample: Sample, tiling: Tiling, map_size: tuple[int, int]) -> list[Piece]:
    """Every tile of an image."""
    height, width = read_image(sample.path).shape[:2]
    try:
        plan = plan_tiles(tiling, (height, width), map_size)
    except InputError as error:
        raise DataError(f"{sample.path}: {error}") from error
    tall, wide = tiling.size
    return [
        (slice(top, top + tall), slice(left, left + wide))
        for top in plan.rows.starts
        for left in plan.columns.starts
    ]


def middle(frame: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A copy of the piece of ``size`` at the middle of a frame; all of a side that is shorter."""
    (height, width), (tall, wide) = frame.shape[:2], size
    top, left = max(0, (height - tall) // 2), max(0, (width - wide) // 2)
    return frame[top : top + tall, left : left + wide].copy()
