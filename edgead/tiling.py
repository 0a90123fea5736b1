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

from edgead.errors import InputError
from edgead.preprocess import check_size


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
        most = min(self.size) // 2
        whole = isinstance(self.overlap, int) and not isinstance(self.overlap, bool)
        if not whole or not 2 <= self.overlap <= most:
            raise InputError(
                f"the overlap of tiles is {self.overlap!r}, expected a whole number of pixels "
                f"from 2 to {most}, half of the tile's shorter side"
            )


class TileAxis(NamedTuple):
    """The tiles along one direction."""

    length: int  # pixels of the stitched map
    starts: tuple[int, ...]  # of the tiles in the frame
    offsets: tuple[int, ...]  # of their maps in the stitched map
    weights: NDArray[np.float32]  # [tiles, map pixels of a tile], summing to 1 over the tiles


def plan_axis(frame: int, tile: int, overlap: int, pixels: int) -> TileAxis:
    """Lay tiles of ``tile`` pixels, seen by ``pixels`` >= 2 of a map, over ``frame`` >= ``tile``.

    They are spread evenly on the grid of the map, so that the overlap is at least the one asked
    for. Frame and map agree exactly where one's pixel is a whole number of the other's; else, and
    at the last tile of a frame that the grid does not divide, to within a pixel of either.
    """
    length = max(pixels, round(frame * pixels / tile))
    step = pixels - -(-overlap * pixels // tile)  # at least 1, as the overlap is at most half
    count = 1 + -(-(length - pixels) // step)
    if count == 1 and frame > tile:  # less than a map pixel over: one more tile covers it
        count = 2
    gaps = max(count - 1, 1)
    offsets = tuple(i * (length - pixels) // gaps for i in range(count))
    starts = [offset * tile // pixels for offset in offsets]
    starts[-1] = frame - tile
    inner = np.arange(pixels) + 0.5
    tent = np.minimum(inner, pixels - inner)
    total = np.zeros(length)
    for offset in offsets:
        total[offset : offset + pixels] += tent
    weights = [tent / total[offset : offset + pixels] for offset in offsets]
    return TileAxis(length, tuple(starts), offsets, np.asarray(weights, np.float32))


class Tile(NamedTuple):
    """One tile: its first pixel in the frame, its place in the stitched map, its weight there."""

    top: int
    left: int
    window: tuple[slice, slice]
    down: NDArray[np.float32]  # [map height of a tile]
    across: NDArray[np.float32]  # [map width of a tile]

    def add(self, values: NDArray[np.float32], stitched: NDArray[np.float32]) -> None:
        """Blend the tile's map [h, w] into the stitched one; ``values`` is changed."""
        values *= self.down[:, None]
        values *= self.across
        stitched[self.window] += values


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
    if any(n < t for n, t in zip(frame_size, tiling.size, strict=True)):
        raise InputError(
            f"the frame is {frame_size[0]} x {frame_size[1]} (height x width) and the bundle sees "
            f"tiles of {tiling.size[0]} x {tiling.size[1]}: expected a frame at least as large "
            "as a tile; train with a smaller --tile for small frames, or without"
        )
    rows, columns = (
        plan_axis(n, t, tiling.overlap, m)
        for n, t, m in zip(frame_size, tiling.size, tile_map_size, strict=True)
    )
    return TilePlan(rows, columns)


def middle(frame: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A copy of the piece of ``size`` at the middle of a frame; all of a side that is shorter."""
    (height, width), (tall, wide) = frame.shape[:2], size
    top, left = max(0, (height - tall) // 2), max(0, (width - wide) // 2)
    return frame[top : top + tall, left : left + wide].copy()
