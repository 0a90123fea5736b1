"""What follows from a frame's shape, strides and dtype; kept for the kinds of frames seen last."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import Manifest
from edgead.engine.tile_plans import TilePlans
from edgead.nvidia.buffers import Shared, StageClock
from edgead.nvidia.device_frame import contiguous
from edgead.nvidia.memory import Memory
from edgead.preprocess import kernel_arguments
from edgead.tiling import TilePlan

MOST_GEOMETRIES = 4  # kinds of frames whose filters are kept
Roi = NDArray[np.uint8] | None


class TileMaps:
    """The maps of all tiles of a frame, each of ``tile_map_size``, which the host joins.

    ``scored``: with as many maps that the score is pooled from.
    """

    def __init__(
        self,
        memory: Memory,
        plan: TilePlan,
        roi: Roi,
        tile_map_size: tuple[int, int],
        scored: bool,
    ) -> None:
        self.tiles = list(plan.tiles(roi))
        self.roi, self._kinds = roi, 1 + scored
        self._map_bytes = 4 * math.prod(tile_map_size)
        self.shared = Shared(memory, self._kinds * len(self.tiles) * self._map_bytes)
        self._tile_map_size, self._map_size = tile_map_size, plan.map_size

    def addresses(self, index: int) -> list[int]:
        """Of a tile's map, and of the one that the score is pooled from, on the device."""
        first = self.shared.address + index * self._map_bytes
        return [first + kind * len(self.tiles) * self._map_bytes for kind in range(self._kinds)]

    def join(self) -> list[NDArray[np.float32]]:
        """The stitched maps, [height, width], once the tiles' maps are in host memory."""
        shape = (self._kinds, len(self.tiles), *self._tile_map_size)
        return [self._stitch(maps) for maps in self.shared.array.view(np.float32).reshape(shape)]

    def _stitch(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        stitched = np.zeros(self._map_size, np.float32)
        for tile, values in zip(self.tiles, maps, strict=True):
            tile.add(values, stitched)
        if self.roi is not None:
            stitched[self.roi == 0] = 0.0
        return stitched


class Geometry:
    """One kind of frame."""

    def __init__(
        self,
        cuda: Any,
        filters: Any,  # edgead.nvidia._cuda.Preprocess
        frame_bytes: int,  # of a frame that is uploaded
        offsets: list[int],  # of each tile's first sample, in bytes
        tiles: TileMaps | None,  # None for a frame that is seen whole
    ) -> None:
        self._cuda, self.filters, self.tiles = cuda, filters, tiles
        self.frame_bytes, self.offsets = frame_bytes, offsets
        # By the frame's address; None where the work ran once and was not captured.
        self.graphs: OrderedDict[int, Any] = OrderedDict()
        self._clocks: dict[bool, StageClock] = {}

    def clock(self, *, digests: bool) -> StageClock:
        """Of "copy" before and after all, and the stages of each tile; with ``digests``, theirs."""
        if digests not in self._clocks:
            stages = ("preprocess", "engine", "anomaly_map", *(["digests"] if digests else []))
            all_stages = ["copy", *stages * len(self.offsets), "copy"]
            self._clocks[digests] = StageClock(self._cuda, all_stages)
        return self._clocks[digests]

    def close(self) -> None:
        """Let go of what is on the device, even while the object is referred to."""
        self.graphs.clear()
        self._clocks.clear()
        self.filters = self.tiles = None


class Geometries:
    """The geometries of the kinds of frames that were seen last; ``plans``: of frames in tiles.

    Called while the device's context is current.
    """

    def __init__(
        self, cuda: Any, memory: Memory, manifest: Manifest, color: str, plans: TilePlans | None
    ) -> None:
        self._cuda, self._memory = cuda, memory
        self._manifest, self._color, self._plans = manifest, color, plans
        self._known: OrderedDict[tuple[Any, ...], Geometry] = OrderedDict()

    def get(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...] | None
    ) -> Geometry:
        """From the few that are kept, or new; ``strides`` None: a frame that is uploaded.

        Raises:
            InputError: a frame that is smaller than a tile.
        """
        key = (dtype, shape, strides)
        if key not in self._known:
            self.forget(keep=MOST_GEOMETRIES - 1)
            self._known[key] = self._new(dtype, shape, strides)
        self._known.move_to_end(key)
        return self._known[key]

    def forget(self, *, keep: int = 0) -> None:
        """Let the geometries go that were not used for longest."""
        while len(self._known) > keep:
            self._known.popitem(last=False)[1].close()

    def _new(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...] | None
    ) -> Geometry:
        strides = contiguous(shape, dtype) if strides is None else strides
        like = np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides)
        manifest = self._manifest
        tiles, offsets, seen = None, [0], like
        if self._plans is not None:
            plan, roi = self._plans.run(shape)
            scored = manifest.scored_size() is not None
            tiles = TileMaps(self._memory, plan, roi, manifest.map_params().size, scored)
            offsets = [t.top * strides[0] + t.left * strides[1] for t in tiles.tiles]
            height, width = self._plans.tile_size
            seen = like[:height, :width]
        given = kernel_arguments(
            seen, manifest.preprocess_params(), self._color, np.float32, "NCHW"
        )
        filters = self._cuda.Preprocess(**given)
        return Geometry(self._cuda, filters, dtype.itemsize * math.prod(shape), offsets, tiles)
