"""The three stages on a GPU: a frame goes up, everything runs on one stream, a score comes back.

Everything is allocated when the pipeline is made, or at the first frame of another size. A frame of
a known size at a known address is one launch of a CUDA graph. The graph holds the upload of the
frame (from pinned memory, into which the host copies it), preprocess, the plan, anomaly_map and the
download of the score. It is captured after the same work ran once without it, and captured again
for another shape, stride, dtype or address; a few are kept.

The map stays on the device, in a ring of two, until the Result is asked for it, or is copied when
its place is needed again. Maps of tiles are always copied, since the host joins them.
"""

from __future__ import annotations

import atexit
import math
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import anomaly_map, preprocess
from edgead.bundle.roi import roi_of
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import Measurement, check_finite
from edgead.engine.lazy_array import Later
from edgead.engine.tile_plans import TilePlans
from edgead.errors import DeviceError, DeviceLostError, InputError
from edgead.nvidia.buffers import STAGES, Clock, Geometry, Shared, Slot
from edgead.nvidia.device_frame import DeviceFrame, contiguous
from edgead.nvidia.engine import Execution, TensorRTEngine
from edgead.tiling import pool

MOST_GEOMETRIES = 4  # kinds of frames whose filters are kept
MOST_GRAPHS = 8  # per kind, one for each address: a camera's ring of device buffers
_open: weakref.WeakSet[CudaPipeline] = weakref.WeakSet()
_NO_STREAM = "(error 400)"  # cudaErrorInvalidResourceHandle
_RING = 2  # `result = score(frame)` in a loop: the last Result lives while the next frame runs


class CudaPipeline:
    """``FramePipeline`` around a TensorRTEngine; frames are NumPy arrays or lie on the device.

    Each thread has one. What a Result still wants of it may be asked for from any thread.

    Errors: BundleError for an ignore mask that does not fit; DeviceError when the device is out of
    memory or fails.
    """

    def __init__(self, bundle: Bundle, engine: TensorRTEngine, color: str = "bgr") -> None:
        preprocess.check_word("color", color, preprocess.COLORS)
        manifest = bundle.manifest
        self._engine, self._color, self._manifest = engine, color, manifest
        self._memory, self._cuda = engine.memory, engine.cuda
        self._lock = threading.RLock()
        self._closed = True  # until all is there
        self._dirty = False  # a frame was not waited for
        self._fresh = True  # no frame yet
        self._plans = TilePlans(bundle)
        self._roi = roi_of(bundle) if manifest.tiling is None else None
        self._map_bytes = 4 * math.prod(manifest.map_params().size)
        self._turn = 0
        self._staging: Shared | None = None
        self._geometries: OrderedDict[tuple[Any, ...], Geometry] = OrderedDict()
        memory = self._memory
        with memory.current(), memory.errors("making a pipeline"):
            try:
                self._allocate()
            except BaseException:
                self._free()
                raise
        self._closed = False
        _open.add(self)

    def _allocate(self) -> None:
        manifest, memory = self._manifest, self._memory
        params = manifest.map_params()
        given = anomaly_map.kernel_arguments(
            params,
            manifest.shapes(),
            np.float32,
            "NCHW",
            self._roi,
            anomaly_map.kept_pixels(self._roi, params.size),
        )
        self._stream = memory.stream()
        self._execution = Execution(self._engine)
        self._map_kernel = self._cuda.AnomalyMap(**given, batch=1)
        self._arrival = self._cuda.Events(1)
        self._map = memory.allocate(self._map_bytes)
        self._score = Shared(memory, 4)
        self._landing = memory.pinned(self._map_bytes)
        self._ring = [Slot(memory.allocate(self._map_bytes)) for _ in range(_RING)]

    def _free(self) -> None:
        """Let go of whatever there is, in the device's context, whoever still knows this object."""
        if self._dirty:
            with suppress(DeviceError):
                self._stream.synchronize()
        while self._geometries:
            self._geometries.popitem()[1].close()
        execution = self.__dict__.pop("_execution", None)
        if execution is not None:
            execution.close()
        for name in ("_map_kernel", "_arrival", "_staging", "_map", "_score", "_landing", "_ring"):
            self.__dict__.pop(name, None)
        self.__dict__.pop("_stream", None)

    def __call__(self, frame: Any, hasher: Hasher | None = None) -> Measurement:
        """Score one frame; ``hasher`` is shown what the stages made.

        Errors: InputError for an array that is not a frame, or smaller than a tile, or in the
        memory of another device; DeviceError when memory runs out or features are not finite;
        DeviceLostError when the device fails.
        """
        given = None
        if hasattr(frame, "__cuda_array_interface__"):
            given = DeviceFrame(frame, self._color)
        else:
            preprocess.check_frame(frame, self._color)
        memory = self._memory
        with self._lock, memory.current(), memory.errors("scoring a frame"):
            if self._closed:
                raise InputError("this pipeline is closed; make a new Detector")
            if self._dirty:  # whoever was interrupted left work behind
                self._stream.synchronize()
                self._dirty = False
            found = self._measure(frame, given, hasher)
        check_finite(found.score, self._engine)
        return found

    def close(self) -> None:
        """Let go of stream, memory and graphs, after maps that Results still want were copied."""
        with self._lock:
            if self._closed:
                return
            with self._memory.current():
                for slot in self._ring:
                    with suppress(DeviceError):  # of a device that is lost: whoever asks is told
                        slot.settle()
                self._closed = True
                self._free()

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "_closed"):
            with suppress(DeviceError):
                self.close()

    def _measure(self, frame: Any, given: DeviceFrame | None, hasher: Hasher | None) -> Measurement:
        started = perf_counter()
        if given is None:
            address = self._stage(frame)
            geometry = self._geometry(frame.dtype, frame.shape, None)
        else:
            address = self._arrive(given)
            geometry = self._geometry(given.dtype, given.shape, given.strides)
        staged = perf_counter()
        slot = self._ring[self._turn]
        slot.settle()
        self._dirty = True
        self._run(geometry, address, hasher, host=given is None)
        if geometry.tiles is None:
            self._stream.copy(slot.block.address, self._map.address, self._map_bytes)
        self._stream.synchronize()
        self._dirty = False
        if self._fresh:
            self._engine.keep_compiled()
            self._fresh = False
        clock = geometry.clock if hasher is None else geometry.clock_with_digests
        assert clock is not None
        spent = clock.spent()
        found: NDArray[np.float32] | Later
        if geometry.tiles is None:
            score = float(self._score.array.view(np.float32)[0])
            found, roi = self._later(slot), self._roi
        else:
            begun = perf_counter()
            score, found = self._join(geometry)
            roi = geometry.roi
            spent["anomaly_map"] += perf_counter() - begun
        preprocessed = started + spent["preprocess"]
        inferred = preprocessed + spent["engine"]
        return Measurement(
            score,
            found,
            roi,
            started,
            preprocessed,
            inferred,
            inferred + spent["anomaly_map"],
            copied=staged - started + spent["copy"],
            frame=None if given is None else Later(given.shape, lambda: given.read(self._memory)),
        )

    def _stage(self, frame: NDArray[Any]) -> int:
        """Copy a host frame, whatever its strides, into pinned memory; where the device has it."""
        if self._staging is None or self._staging.array.size < frame.nbytes:
            self._forget(keep=0)  # their graphs know the old address
            self._staging = None
            self._staging = Shared(self._memory, frame.nbytes)
        view = self._staging.array[: frame.nbytes].view(frame.dtype).reshape(frame.shape)
        np.copyto(view, frame)
        return self._staging.address

    def _arrive(self, given: DeviceFrame) -> int:
        """Let the stream wait until a frame on the device is ready; its address."""
        place = self._cuda.device_of(given.address)
        if place != self._memory.index:
            where = f"on cuda:{place}" if place >= 0 else "in no device's memory"
            raise InputError(
                f"the frame lies {where} and the Detector runs on cuda:{self._memory.index}: copy "
                "it there, or make the Detector on the frame's device"
            )
        if given.stream is not None:
            try:
                self._arrival.record(0, given.stream)
            except RuntimeError as error:
                if _NO_STREAM not in str(error):
                    raise
                raise InputError(
                    f"the frame names the stream {given.stream:#x}, which is none of "
                    f"cuda:{self._memory.index}: keep the stream that fills a frame until the "
                    "frame was scored"
                ) from error
            self._arrival.wait(0, self._stream.handle)
        return given.address

    def _geometry(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...] | None
    ) -> Geometry:
        """From the few that are kept, or new; ``strides`` None: a frame that is uploaded."""
        key = (dtype, shape, strides)
        if key not in self._geometries:
            self._forget(keep=MOST_GEOMETRIES - 1)
            self._geometries[key] = self._new_geometry(dtype, shape, strides)
        self._geometries.move_to_end(key)
        return self._geometries[key]

    def _forget(self, *, keep: int) -> None:
        """Let the geometries go that were not used for longest."""
        while len(self._geometries) > keep:
            self._geometries.popitem(last=False)[1].close()

    def _new_geometry(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...] | None
    ) -> Geometry:
        like = np.lib.stride_tricks.as_strided(
            np.empty(1, dtype), shape, contiguous(shape, dtype) if strides is None else strides
        )
        tiling = self._manifest.tiling
        tiles, offsets, plan, roi = None, [0], None, None
        seen = like
        if tiling is not None:
            plan, roi = self._plans(shape)
            tiles = list(plan.tiles(roi))
            offsets = [t.top * like.strides[0] + t.left * like.strides[1] for t in tiles]
            seen = like[: tiling.size[0], : tiling.size[1]]
        given = preprocess.kernel_arguments(
            seen, self._manifest.preprocess_params(), self._color, np.float32, "NCHW"
        )
        geometry = Geometry(self._cuda.Preprocess(**given), tiles, offsets)
        geometry.frame_bytes = dtype.itemsize * math.prod(shape)
        geometry.clock = Clock(self._cuda, ["copy", *STAGES * len(offsets), "copy"])
        if plan is not None:
            geometry.maps = Shared(self._memory, len(offsets) * self._map_bytes)
            geometry.map_size, geometry.roi = plan.map_size, roi
        return geometry

    def _run(self, geometry: Geometry, address: int, hasher: Hasher | None, *, host: bool) -> None:
        """Enqueue a frame, as a graph where that is possible."""
        graphs, handle = geometry.graphs, self._stream.handle
        if hasher is not None:
            self._enqueue(geometry, address, host, hasher)
            return
        if address not in graphs:
            while len(graphs) >= MOST_GRAPHS:
                graphs.popitem(last=False)
            self._enqueue(geometry, address, host)
            graphs[address] = None
            if not host:
                return  # this address may never come back
            self._stream.synchronize()
        if graphs[address] is None and self._engine.no_graph is None:
            try:
                graphs[address] = self._capture(geometry, address, host)
            except (DeviceError, RuntimeError) as error:
                # A DLA, for one, cannot be captured. Whether the device itself fails is seen next.
                self._engine.no_graph = str(error)
        graphs.move_to_end(address)
        if graphs[address] is None:
            self._enqueue(geometry, address, host)
        else:
            graphs[address].launch(handle)

    def _capture(self, geometry: Geometry, address: int, host: bool) -> Any:
        graph, handle = self._cuda.Graph(), self._stream.handle
        try:
            graph.begin(handle)
            self._enqueue(geometry, address, host)
            graph.end(handle)
        except BaseException:
            graph.abandon(handle)  # or the stream would stay in its capture
            del graph  # now, not whenever the exception goes
            raise
        return graph

    def _enqueue(
        self, geometry: Geometry, address: int, host: bool, hasher: Hasher | None = None
    ) -> None:
        """Everything between a frame at ``address`` and its score, or the maps of its tiles."""
        stream, execution, maps = self._stream, self._execution, geometry.maps
        handle, clock = stream.handle, geometry.clock
        if hasher is not None:
            clock = self._clock_with_digests(geometry)
        marks: Iterator[int] = iter(range(len(clock.stages) + 1))

        def mark() -> None:
            clock.events.record(next(marks), handle)

        mark()
        if host:
            assert self._staging is not None
            self._staging.up(stream, geometry.frame_bytes)
        mark()
        for index, offset in enumerate(geometry.offsets):
            geometry.filters.run(address + offset, execution.image, handle)
            mark()
            execution.enqueue(handle)
            mark()
            target = self._map.address if maps is None else maps.address + index * self._map_bytes
            self._map_kernel.run(execution.pairs, target, self._score.address, handle)
            mark()
            if hasher is not None:
                self._show(hasher)
                mark()
        (self._score if maps is None else maps).down(stream)
        mark()

    def _clock_with_digests(self, geometry: Geometry) -> Clock:
        if geometry.clock_with_digests is None:
            stages = ["copy", *(*STAGES, "digests") * len(geometry.offsets), "copy"]
            geometry.clock_with_digests = Clock(self._cuda, stages)
        return geometry.clock_with_digests

    def _show(self, hasher: Hasher) -> None:
        """Copy image and pairs of the frame or tile just enqueued to the host."""
        host: dict[str, NDArray[np.float32]] = {}
        for name, shape in self._engine.tensors.items():
            host[name] = np.empty(shape, np.float32)
            flat = host[name].reshape(-1).view(np.uint8)
            self._stream.download(flat, self._execution.address(name))
        self._stream.synchronize()
        image = next(iter(host.values()))[0]
        hasher.add(image, [(host[a], host[b]) for a, b in self._engine.pairs])

    def _later(self, slot: Slot) -> Later:
        """The map in ``slot``, to be copied when it is asked for or its place is needed."""
        block = slot.block

        def bring() -> NDArray[np.float32]:
            if self._closed:
                raise DeviceLostError("this map was lost with the device that held it")
            with self._memory.current():
                self._stream.download(self._landing.array, block.address)
                self._stream.synchronize()
            size = self._manifest.map_params().size
            return np.array(self._landing.array.view(np.float32).reshape(size))

        later = Later(self._manifest.map_params().size, bring, self._lock)
        slot.map = weakref.ref(later)
        self._turn = (self._turn + 1) % _RING
        return later

    def _join(self, geometry: Geometry) -> tuple[float, NDArray[np.float32]]:
        """Score and stitched map of a tiled frame."""
        assert geometry.maps is not None and geometry.tiles is not None
        size = self._manifest.map_params().size
        maps = geometry.maps.array.view(np.float32).reshape(-1, *size)
        stitched = np.zeros(geometry.map_size, np.float32)
        for tile, values in zip(geometry.tiles, maps, strict=True):
            tile.add(values, stitched)
        if geometry.roi is not None:
            stitched[geometry.roi == 0] = 0.0
        return pool(stitched, geometry.roi, self._manifest.map_params()), stitched


@atexit.register
def _close_all() -> None:
    """While Python, TensorRT and the driver are still whole."""
    for one in list(_open):
        with suppress(DeviceError):
            one.close()
