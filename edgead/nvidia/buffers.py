"""What a CudaPipeline keeps: memory of host and device, maps in waiting, clocks, known frames."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.engine.lazy_array import Later
from edgead.nvidia.memory import Block, Bytes, Memory, Stream
from edgead.tiling import Tile

STAGES = ("preprocess", "engine", "anomaly_map")


class Shared:
    """Memory of host and device: one and the same where the device is integrated, else two."""

    def __init__(self, memory: Memory, count: int) -> None:
        self._pinned = memory.pinned(count)
        self._block: Block | None = None
        if self._pinned.address is None:
            self._block = memory.allocate(count)
        self.array: Bytes = self._pinned.array

    @property
    def address(self) -> int:
        """On the device."""
        address = self._pinned.address if self._block is None else self._block.address
        assert address is not None  # one of the two
        return address

    def up(self, stream: Stream, count: int) -> None:
        """Enqueue what makes the host's first ``count`` bytes the device's."""
        if self._block is not None:
            stream.upload(self._block.address, self.array[:count])

    def down(self, stream: Stream) -> None:
        """Enqueue what makes the device's bytes the host's."""
        if self._block is not None:
            stream.download(self.array, self._block.address)


class Slot:
    """A place of the ring, and the map that lies there for a Result, if that is still expected."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.map: weakref.ref[Later] | None = None

    def settle(self) -> None:
        """Bring the map to the host, where a Result waits for it."""
        later = None if self.map is None else self.map()
        self.map = None
        if later is not None:
            later.array()


class Clock:
    """The device's time of each of ``stages``, which follow one another on a stream."""

    def __init__(self, cuda: Any, stages: list[str]) -> None:
        self.stages = stages
        self.events = cuda.Events(len(stages) + 1)

    def spent(self) -> dict[str, float]:
        """Seconds in each stage of the last frame."""
        found = dict.fromkeys(("copy", *STAGES), 0.0)
        for stage, ms in zip(self.stages, self.events.intervals_ms(), strict=True):
            found[stage] = found.get(stage, 0.0) + 1e-3 * ms
        return found


class Geometry:
    """Everything that follows from a frame's shape, strides and dtype."""

    def __init__(self, filters: Any, tiles: list[Tile] | None, offsets: list[int]) -> None:
        self.filters = filters  # edgead._cuda.Preprocess
        self.tiles = tiles  # None: the frame is seen whole
        self.offsets = offsets  # of each tile's first sample, in bytes
        self.frame_bytes = 0  # of a frame that is uploaded
        self.roi: NDArray[np.uint8] | None = None  # of the stitched map
        self.map_size: tuple[int, int] = (0, 0)  # of the stitched map
        self.maps: Shared | None = None  # of all tiles
        self.clock: Clock
        self.clock_with_digests: Clock | None = None
        self.graphs: OrderedDict[int, Any] = OrderedDict()  # address -> graph; None: ran once

    def close(self) -> None:
        """Let go of what is on the device, whoever still knows this object."""
        self.graphs.clear()
        self.filters = self.maps = self.clock_with_digests = None
        del self.clock
