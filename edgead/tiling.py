"""Tiles: a frame much larger than the network's image is seen piece by piece, each at full detail.

Every tile goes through preprocess, engine and anomaly_map by itself. Their maps overlap and are
blended into one: a tile's weight falls linearly to 0 towards its border, where a network sees
badly, and the weights of all tiles sum to 1 at every pixel, so that no step shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.preprocess import MAX_SIDE, check_size, refuse


@dataclass(frozen=True)
class Tiling:
    """How a frame is cut.

    Args:
        size: (height, width) of a tile in pixels of the frame.
        overlap: of neighbours, at least, in pixels of the frame; 2 to half of the shorter side.

    Raises:
        InputError: anything else.
    """

    size: tuple[int, int]
    overlap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size of a tile", self.size))
        overlap = self.overlap if type(self.overlap) is int and self.overlap <= MAX_SIDE else 0
        refuse(
            "the overlap of tiles", self.overlap, _cpu.expected_overlap(max(overlap, 0), *self.size)
        )


class TileAxis(NamedTuple):
    """The tiles along one direction."""

    length: int  # pixels of the stitched map
    starts: tuple[int, ...]  # of the tiles in the frame
    offsets: tuple[int, ...]  # of their maps in the stitched map
    weights: NDArray[np.float32]  # [tiles, map pixels of a tile], summing to 1 over the tiles


def plan_axis(frame: int, tile: int, overlap: int, pixels: int) -> TileAxis:
    """Lay tiles of ``tile`` pixels, seen by ``pixels`` >= 2 of a map, over ``frame`` >= ``tile``.

    Frame and map agree as ``csrc/runtime/tiling.h`` says, which the C library shares.
    """
    return TileAxis(*_cpu.plan_axis(frame, tile, overlap, pixels))


class Tile(NamedTuple):
    """One tile: its first pixel in the frame, its place in the stitched map, its weight there."""

    top: int
    left: int
    window: tuple[slice, slice]
    down: NDArray[np.float32]  # [map height of a tile]
    across: NDArray[np.float32]  # [map width of a tile]

    def add(self, values: NDArray[np.float32], stitched: NDArray[np.float32]) -> None:
        """Blend the tile's map [h, w] into the stitched one."""
        y, x = (part.start for part in self.window)
        _cpu.stitch(values, y, x, self.down, self.across, stitched)


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of frames of one size are, and how their maps become one."""

    rows: TileAxis
    columns: TileAxis

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the stitched map."""
        return self.rows.length, self.columns.length

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def tiles(self, roi: NDArray[np.uint8] | None) -> Iterator[Tile]:
        """Row by row, those of which ``roi``, of the stitched map, keeps a pixel."""
        height, width = self.rows.weights.shape[1], self.columns.weights.shape[1]
        down, across = (list(zip(*axis[1:], strict=True)) for axis in (self.rows, self.columns))
        for (top, y, row_weights), (left, x, column_weights) in product(down, across):
            window = slice(y, y + height), slice(x, x + width)
            if roi is None or roi[window].any():
                yield Tile(top, left, window, row_weights, column_weights)


def plan_tiles(
    tiling: Tiling, frame_size: tuple[int, int], tile_map_size: tuple[int, int]
) -> TilePlan:
    """The tiles of a frame [H, W], whose maps have ``tile_map_size``.

    Raises: InputError for a frame that is smaller than a tile.
    """
    rows, columns = _cpu.plan_tiles(tiling.size, tiling.overlap, frame_size, tile_map_size)
    return TilePlan(TileAxis(*rows), TileAxis(*columns))


def middle(frame: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A copy of the piece of ``size`` at the middle of a frame; all of a side that is shorter."""
    (height, width), (tall, wide) = frame.shape[:2], size
    top, left = max(0, (height - tall) // 2), max(0, (width - wide) // 2)
    return frame[top : top + tall, left : left + wide].copy()
