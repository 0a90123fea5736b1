"""The tiles of frames of one size, kept from one frame to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.roi import ignored_in, to_roi
from edgead.bundle.storage import Bundle
from edgead.tiling import TilePlan, plan_tiles


class TilePlans:
    """The tiles and the region of interest of frames of one size, kept for the next frame.

    Errors: BundleError for an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._ignored = ignored_in(bundle)
        self._last: tuple[tuple[int, ...], TilePlan, NDArray[np.uint8] | None] | None = None

    def run(self, shape: tuple[int, ...]) -> tuple[TilePlan, NDArray[np.uint8] | None]:
        """Of a frame of this shape [H, W, …]; the second is None without an ignore mask.

        Errors: InputError for a frame that is smaller than a tile.
        """
        size = (shape[0], shape[1])
        if self._last is None or self._last[0] != size:
            assert self._manifest.tiling is not None
            plan = plan_tiles(self._manifest.tiling, size, self._manifest.map.size)
            roi = None if self._ignored is None else to_roi(self._ignored, plan.map_size)
            self._last = (size, plan, roi)
        return self._last[1:]
