"""The tiles of frames of one size, kept from one frame to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.ignore_mask import to_roi
from edgead.tiling import TilePlan, Tiling, plan_tiles


class TilePlans:
    """The tiles and the region of interest of frames of one size, kept for the next frame.

    Args:
        tile_map_size: (height, width) of the map of a tile.
        ignored: pixels of a frame that do not count, bool [H, W], None for none.
    """

    def __init__(
        self, tiling: Tiling, tile_map_size: tuple[int, int], ignored: NDArray[np.bool_] | None
    ) -> None:
        self.tile_size = tiling.size
        self._tiling, self._tile_map_size, self._ignored = tiling, tile_map_size, ignored
        self._last: tuple[tuple[int, ...], TilePlan, NDArray[np.uint8] | None] | None = None

    def run(self, shape: tuple[int, ...]) -> tuple[TilePlan, NDArray[np.uint8] | None]:
        """Of a frame of this shape [H, W, …]; the second is None without an ignore mask.

        Raises:
            InputError: the frame is smaller than a tile.
        """
        size = (shape[0], shape[1])
        if self._last is None or self._last[0] != size:
            plan = plan_tiles(self._tiling, size, self._tile_map_size)
            roi = None if self._ignored is None else to_roi(self._ignored, plan.map_size)
            self._last = (size, plan, roi)
        return self._last[1:]
