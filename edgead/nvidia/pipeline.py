"""The three stages on a GPU: a frame goes up, everything runs on one stream, a score comes back.

Everything is allocated when the pipeline is made, or at the first frame of another size. A frame of
a known kind at a known address is one launch of a CUDA graph, captured after the same work ran once
without it: the upload from pinned memory, preprocess, the plan, anomaly_map and the download of the
score. The map stays on the device until the Result is asked for it or its place is needed again.
Maps of tiles are always copied, since the host joins them.
"""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.anomaly_map import pool
from edgead.bundle.manifest import Manifest
from edgead.bundle.roi import ignored_in, roi_of
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import PipelineOutput
from edgead.engine.lazy_array import LazyArray
from edgead.engine.tile_plans import TilePlans
from edgead.errors import DeviceError, InputError
from edgead.images.arrays import in_gpu_memory
from edgead.images.bits import check_values
from edgead.images.nv12 import Nv12
from edgead.nvidia.buffers import Shared
from edgead.nvidia.device_frame import Arrivals, DeviceFrame
from edgead.nvidia.device_nv12 import DeviceNv12
from edgead.nvidia.distances import Held
from edgead.nvidia.geometries import Geometries
from edgead.nvidia.loaded_plan import LoadedPlan
from edgead.nvidia.map_ring import MapRing
from edgead.nvidia.memory import Block, Bytes, Memory
from edgead.nvidia.stages import DeviceStages, FrameGraphs
from edgead.preprocess import COLORS, check_frame, check_word

_open: weakref.WeakSet[CudaPipeline] = weakref.WeakSet()


class CudaPipeline:
    """``FramePipeline`` of one thread; frames are NumPy arrays or lie on the device.

    Args:
        plan, cuda: of a TensorRTEngine, whose graph ``bundle`` describes.
        held: its memories, then its whitenings.

    Raises:
        BundleError: an ignore mask that does not fit.
        DeviceError: the device is out of memory or fails.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan: LoadedPlan,
        cuda: Any,
        color: str = "bgr",
        held: Held = (),
    ) -> None:
        check_word("color", color, COLORS)
        manifest = bundle.manifest
        self._plan, self._color, self._map_params = plan, color, manifest.map_params()
        self._held = held
        self._memory, self._bit_depth = plan.memory, manifest.preprocess.bit_depth
        self._lock = threading.RLock()
        self._closed = True  # until all is there
        self._dirty = False  # a frame was not waited for
        self._fresh = True  # no frame yet
        tiling = manifest.tiling
        self._roi = roi_of(bundle) if tiling is None else None
        self._staging: Shared | None = None
        self._cuda, self._colors = cuda, _Colors()
        plans = None
        if tiling is not None:
            plans = TilePlans(tiling, manifest.map.size, ignored_in(bundle))
        self._geometries = Geometries(cuda, self._memory, manifest, color, plans)
        with self._memory.current(), self._memory.errors("making a pipeline"):
            try:
                self._allocate(manifest, cuda)
            except BaseException:
                self._free()
                raise
        self._closed = False
        _open.add(self)

    def _allocate(self, manifest: Manifest, cuda: Any) -> None:
        stream = self._stream = self._memory.stream()
        self._stages = DeviceStages(self._plan, cuda, stream, manifest, self._roi, self._held)
        self._graphs = FrameGraphs(cuda, stream, self._stages)
        self._arrivals = Arrivals(cuda, self._memory, stream)
        self._ring = MapRing(self._memory, stream, self._map_params.size, self._lock)

    def _free(self) -> None:
        """Let go of whatever there is, in the device's context."""
        if self._dirty:
            with suppress(DeviceError):
                self._stream.synchronize()
        self._geometries.forget()
        for name in ("_ring", "_stages"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        for name in ("_graphs", "_arrivals", "_staging", "_colors", "_stream"):
            self.__dict__.pop(name, None)

    def run(self, frame: Any, hasher: Hasher | None = None) -> PipelineOutput:
        """See ``FramePipeline``; a frame may not lie in the memory of another device."""
        given: DeviceFrame | DeviceNv12 | None = None
        if in_gpu_memory(frame):
            kind = DeviceNv12 if isinstance(frame, Nv12) else DeviceFrame
            given = kind(frame, self._color)
        else:
            frame = check_frame(frame, self._color)
            check_values(frame, self._bit_depth)
        memory = self._memory
        with self._lock, memory.current(), memory.errors("scoring a frame"):
            if self._closed:
                raise InputError("this pipeline is closed; make a new Detector")
            if self._dirty:  # an interrupted call left work behind
                self._stream.synchronize()
                self._dirty = False
            found = self._score(frame, given, hasher)
        _cpu.check_score(found.score, self._plan.device, self._plan.version)
        return found

    def stage_in(self, held: Bytes) -> None:
        """Take frames that lie at the beginning of this memory, C-contiguous, where they lie."""
        memory = self._memory
        with self._lock, memory.current(), memory.errors("page-locking memory for frames"):
            self._geometries.forget()  # their graphs know the old address
            self._staging = None
            self._staging = Shared(memory, held.nbytes, held)

    def close(self) -> None:
        """Let go of stream, memory and graphs, after maps that Results still want were copied."""
        if self._memory.lost_by_fork():
            return
        with self._lock:
            if self._closed:
                return
            with self._memory.current():
                self._ring.settle()
                self._closed = True
                self._free()

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "_closed"):
            with suppress(DeviceError):
                self.close()

    def _score(
        self, frame: Any, given: DeviceFrame | DeviceNv12 | None, hasher: Hasher | None
    ) -> PipelineOutput:
        started = perf_counter()
        if given is None:
            upload = self._stage(frame)
            address = upload.address
            geometry = self._geometries.get(frame.dtype, frame.shape, None)
        else:
            upload, address = None, self._reach(given)
            geometry = self._geometries.get(given.dtype, given.shape, given.strides)
        staged = perf_counter()
        place = self._ring.make_room()
        self._dirty = True
        if hasher is None:
            self._graphs.run(geometry, address, upload)
        else:
            self._stages.enqueue(geometry, address, upload, hasher)
        if geometry.tiles is None:
            self._stages.copy_map(place)
        self._stream.synchronize()
        self._dirty = False
        if self._fresh:
            self._plan.keep_compiled()
            self._fresh = False
        spent = geometry.clock(digests=hasher is not None).spent()
        found: NDArray[np.float32] | LazyArray
        scored: NDArray[np.float32] | None = None  # of a frame that is seen whole it stays there
        if geometry.tiles is None:
            score, found, roi = self._stages.score(), self._ring.keep(), self._roi
        else:
            begun = perf_counter()
            (found, *more), roi = geometry.tiles.join(), geometry.tiles.roi
            scored = more[0] if more else None
            score = pool(found if scored is None else scored, roi, self._map_params)
            spent["anomaly_map"] += perf_counter() - begun
        refusal = self._graphs.refusal
        preprocessed = started + spent["preprocess"]
        inferred = preprocessed + spent["engine"]
        return PipelineOutput(
            score,
            found,
            roi,
            "cuda" if refusal is None else f"cuda, without a CUDA graph: {refusal}",
            started,
            preprocessed,
            inferred,
            inferred + spent["anomaly_map"],
            copied=staged - started + spent["copy"],
            scored=scored,
            frame=None
            if given is None
            else LazyArray(given.shape, lambda: given.read(self._memory)),
        )

    def _reach(self, given: DeviceFrame | DeviceNv12) -> int:
        """The address at which a frame that lies on the device can be read."""
        if isinstance(given, DeviceFrame):
            return self._arrivals.wait_for(given)
        self._dirty = True
        colors = self._colors.address(self._memory, given.color_bytes)
        given.enqueue(self._cuda, self._arrivals, colors, self._stream)
        return colors

    def _stage(self, frame: NDArray[Any]) -> Shared:
        """Copy a host frame, whatever its strides, into pinned memory, unless it lies there."""
        if self._staging is None or self._staging.array.size < frame.nbytes:
            self._geometries.forget()  # their graphs know the old address
            self._staging = None
            self._staging = Shared(self._memory, frame.nbytes)
        view = self._staging.array[: frame.nbytes].view(frame.dtype).reshape(frame.shape)
        if (frame.ctypes.data, frame.strides) != (view.ctypes.data, view.strides):
            np.copyto(view, frame)
        return self._staging


class _Colors:
    """Memory for the colours of a frame that came as NV12; it grows with the largest frame."""

    def __init__(self) -> None:
        self._block: Block | None = None
        self._size = 0

    def address(self, memory: Memory, size: int) -> int:
        if self._block is None or self._size < size:
            self._block = None
            self._block, self._size = memory.allocate(size), size
        return self._block.address


@atexit.register
def _close_all() -> None:
    """While Python, TensorRT and the driver are still whole."""
    for one in list(_open):
        with suppress(DeviceError):
            one.close()
