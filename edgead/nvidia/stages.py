"""What runs on the device between a frame and its score, enqueued on one stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import MapParams, kept_pixels, kernel_arguments
from edgead.engine.digests import Hasher
from edgead.nvidia.buffers import Shared
from edgead.nvidia.geometries import Geometry, Roi
from edgead.nvidia.loaded_plan import Execution, LoadedPlan
from edgead.nvidia.memory import Stream


class DeviceStages:
    """preprocess, the plan and anomaly_map, with the device memory between them.

    ``pairs``: the plan's outputs, (reference, restored) per level, of ``shapes`` [C, H, W].
    ``roi``: of the map of a frame that is seen whole. Called while the device's context is current.

    Errors: DeviceError when the device is out of memory or fails.
    """

    def __init__(
        self,
        plan: LoadedPlan,
        cuda: Any,
        stream: Stream,
        pairs: list[tuple[str, str]],
        params: MapParams,
        shapes: Sequence[tuple[int, int, int]],
        roi: Roi,
    ) -> None:
        memory = plan.memory
        self._tensors, self._pairs, self._stream = plan.tensors, pairs, stream
        self._map_bytes = 4 * math.prod(params.size)
        kept = kept_pixels(roi, params.size)
        given = kernel_arguments(params, shapes, np.float32, "NCHW", roi, kept)
        self._execution = Execution(plan)
        try:
            self._map_kernel = cuda.AnomalyMap(**given, batch=1)
            self._map = memory.allocate(self._map_bytes)
            self._score = Shared(memory, 4)
        except BaseException:
            self.close()
            raise
        addresses = [(self._execution.address(a), self._execution.address(b)) for a, b in pairs]
        self._pair_addresses = addresses

    def enqueue(
        self, geometry: Geometry, address: int, upload: Shared | None, hasher: Hasher | None = None
    ) -> None:
        """Everything between a frame at ``address`` and its score, or the maps of its tiles.

        ``upload``: where the frame lies in host memory, None for one on the device. ``hasher`` is
        shown what the stages made, for which the stream is waited for.
        """
        stream, execution, tiles = self._stream, self._execution, geometry.tiles
        handle, clock = stream.handle, geometry.clock(digests=hasher is not None)
        clock.start(handle)
        if upload is not None:
            upload.up(stream, geometry.frame_bytes)
        clock.mark(handle)
        for index, offset in enumerate(geometry.offsets):
            geometry.filters.run(address + offset, execution.image, handle)
            clock.mark(handle)
            execution.enqueue(handle)
            clock.mark(handle)
            target = self._map.address if tiles is None else tiles.address(index)
            self._map_kernel.run(self._pair_addresses, target, self._score.address, handle)
            clock.mark(handle)
            if hasher is not None:
                self._show(hasher)
                clock.mark(handle)
        (self._score if tiles is None else tiles.shared).down(stream)
        clock.mark(handle)

    def copy_map(self, to: int) -> None:
        """Enqueue a copy of the map to another place on the device."""
        self._stream.copy(to, self._map.address, self._map_bytes)

    def score(self) -> float:
        """Of the frame that was waited for."""
        return float(self._score.array.view(np.float32)[0])

    def close(self) -> None:
        """Let go of context and memory, whoever still knows this object."""
        self._execution.close()
        for name in ("_map_kernel", "_map", "_score"):
            self.__dict__.pop(name, None)

    def _show(self, hasher: Hasher) -> None:
        """Copy image and pairs of the frame or tile just enqueued to the host."""
        host: dict[str, NDArray[np.float32]] = {}
        for name, shape in self._tensors.items():
            host[name] = np.empty(shape, np.float32)
            flat = host[name].reshape(-1).view(np.uint8)
            self._stream.download(flat, self._execution.address(name))
        self._stream.synchronize()
        image = next(iter(host.values()))[0]
        hasher.add(image, [(host[a], host[b]) for a, b in self._pairs])
