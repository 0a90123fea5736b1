"""SIMULATION of ``nvidia._cuda`` on a ``simulation.Device``: the CPU kernels stand in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from simulated_driver import Simulated, bound, make_module
from simulated_memory import memory_names
from simulated_work import Op, Wait, span
from simulation import CudaError, Device

from edgead import _cpu, nearest
from edgead.engine import whiten
from edgead.nearest import MEMORY_DTYPES

TABLE = 64  # bytes that a kernel object keeps on the device


class Kernel(Simulated):
    """An object that uploads tables when it is made."""

    twins: dict[str, Callable[..., Any]]  # what executes "Preprocess" and "AnomalyMap"

    def __init__(self, **given: Any) -> None:
        name = type(self).__name__
        self.device.call("cudaMalloc", name)
        if self.device.free_bytes < TABLE:
            raise CudaError("out of memory", 2)
        self._allocation = self.device.allocate(TABLE, "device")
        self._given = given
        self._twin = self.twins[name](**given)

    def __del__(self) -> None:
        if hasattr(self, "_allocation"):
            self.let_go("a kernel's tables")
            self.device.release(self._allocation)

    @property
    def table(self) -> tuple[int, int, bool]:
        return self._allocation.address, TABLE, False


class Preprocess(Kernel):
    """edgead.nvidia._cuda.Preprocess"""

    def run(self, frame: int, image: int, stream: int) -> None:
        device, given = self.device, self._given
        device.call("preprocess", (frame, image, stream))
        shape, strides, item = given["shape"], tuple(given["strides"]), given["sample_bytes"]
        read = span(frame, shape, strides, item)
        size = (3, *given["size"])
        count = 4 * int(np.prod(size))

        def run() -> None:
            if any(number % item for number in (frame, *strides)) or image % 4:
                device.lose(CudaError("misaligned address", 716))
            held = device.bytes_at(*read)
            seen = np.ndarray(shape, f"<u{item}", held, frame - read[0], strides)
            out = device.bytes_at(image, count).view(np.float32).reshape(size)
            self._twin.run(seen if shape[2] == 3 else seen[:, :, 0], out)

        touches = ((*read, False), (image, count, True), self.table)
        device.enqueue(stream, Op("preprocess", run, touches))


class AnomalyMap(Kernel):
    """edgead.nvidia._cuda.AnomalyMap"""

    def run(self, pairs: list[tuple[int, int]], map: int, score: int, stream: int) -> None:
        device, given = self.device, self._given
        device.call("anomaly_map", (pairs, map, score, stream))
        sizes = [4 * int(np.prod(shape)) for shape in given["shapes"]]
        count = 4 * int(np.prod(given["size"]))

        def run() -> None:
            def features(at: int, size: int, shape: Any) -> np.ndarray:
                return device.bytes_at(at, size).view(np.float32).reshape(1, *shape)

            arrays = [
                tuple(features(at, size, shape) for at in pair)
                for pair, size, shape in zip(pairs, sizes, given["shapes"], strict=True)
            ]
            out = device.bytes_at(map, count).view(np.float32).reshape(1, *given["size"])
            self._twin.run(arrays, out, device.bytes_at(score, 4).view(np.float32))

        reads = [(at, n, False) for pair, n in zip(pairs, sizes, strict=True) for at in pair]
        touches = (*reads, (map, count, True), (score, 4, True), self.table)
        device.enqueue(stream, Op("anomaly_map", run, touches))


class Distances(Simulated):
    """What finds a distance for each position: a kernel that keeps nothing on the device."""

    twins: dict[str, Callable[..., Any]]

    def __init__(self, **given: Any) -> None:
        self._given = given
        self._twin = self.twins[type(self).__name__](**given)

    def enqueue(
        self, name: str, read: Spans, out: Out, stream: int, *more_touches: tuple[int, int, bool]
    ) -> None:
        """The twin gets what is read, by name, and what the sum held; it gives what is written:
        the distances and the sum, of what is asked for."""
        device = self.device
        floats = (4 * out.positions, np.float32, (out.positions,))
        more = {"counts": out.counts, "scored": out.scored, "before": out.sum if out.add else 0}
        if out.sum == 0:
            more["scored"] = 0
        spans = read | {name: (at, *floats) for name, at in more.items() if at}
        written = [at for at in (out.distance, out.sum) if at]

        def run() -> None:
            held = {
                name: device.bytes_at(at, size).view(dtype).reshape(shape).copy()
                for name, (at, size, dtype, shape) in spans.items()
            }
            found = self._twin(shown=out.distance != 0, **held)
            for at, values in zip(written, found, strict=True):
                device.bytes_at(at, floats[0]).view(np.float32)[:] = values.ravel()

        touches = [(at, size, False) for at, size, _, _ in spans.values()]
        touches += [(at, floats[0], True) for at in written]
        device.enqueue(stream, Op(name, run, (*touches, *more_touches)))


Spans = dict[str, tuple[int, int, Any, tuple[int, ...]]]  # address, bytes, dtype, shape


class Out(NamedTuple):
    """``DistanceOut`` of csrc/kernels/common.h."""

    positions: int
    counts: int
    distance: int
    scored: int
    sum: int
    add: bool


class Nearest(Distances):
    """edgead.nvidia._cuda.Nearest"""

    def __init__(self, memory: Any, scale: Any, **given: Any) -> None:
        super().__init__(**given)
        if memory.shape != (given["rows"], given["channels"]) or scale is not None:
            self.device.fault("the simulation of nearest takes a memory as told, without a scale")

    @staticmethod
    def codes_bytes(rows: int, channels: int) -> int:
        return rows * channels

    def workspace_bytes(self, batch: int) -> int:
        return batch * 256

    def run(
        self, memory: int, scale: int, query: int, batch: int, shares: int, roi: int, counts: int,
        distance: int, scored: int, sum: int, add: bool, workspace: int, stream: int,
    ) -> None:  # fmt: skip
        device, given = self.device, self._given
        device.call("nearest", (memory, query, distance, stream))
        positions, channels, rows = (given[key] for key in ("positions", "channels", "rows"))
        if (given["type"], given["layout"], batch, scale, roi) != (0, 0, 1, 0, 0):
            device.fault("the simulation of nearest takes one float32 image, NCHW, without a roi")
        stored = np.dtype(MEMORY_DTYPES[given["memory_type"]])
        size = (positions // given["width"], given["width"])
        spans: Spans = {
            "queries": (query, 4 * channels * positions, np.float32, (1, channels, *size)),
            "memory": (memory, stored.itemsize * rows * channels, stored, (rows, channels)),
        }
        if shares:
            spans["shares"] = (shares, 4 * positions, np.float32, size)
        out = Out(positions, counts, distance, scored, sum, add)
        self.enqueue("nearest", spans, out, stream, (workspace, self.workspace_bytes(1), True))


class Whiten(Distances):
    """edgead.nvidia._cuda.Whiten"""

    def run(
        self, mean: int, factor: int, feature: int, batch: int, centre: int, roi: int, counts: int,
        distance: int, scored: int, sum: int, add: bool, stream: int,
    ) -> None:  # fmt: skip
        device, given = self.device, self._given
        device.call("whiten", (mean, feature, distance, stream))
        (height, width), channels, outputs = (given[k] for k in ("size", "channels", "outputs"))
        if (given["type"], given["layout"], batch, roi) != (0, 0, 1, 0):
            device.fault("the simulation of whiten takes one float32 image, NCHW, without a roi")
        positions = height * width
        regions = -(-height // given["side"]) * -(-width // given["side"])
        shapes = {
            "features": (feature, (1, channels, height, width)),
            "mean": (mean, (channels, height, width)),
            "factors": (factor, (regions, outputs, channels)),
        }
        if centre:
            shapes["centre"] = (centre, (channels,))
        spans: Spans = {
            name: (at, 4 * int(np.prod(shape)), np.float32, shape)
            for name, (at, shape) in shapes.items()
        }
        self.enqueue("whiten", spans, Out(positions, counts, distance, scored, sum, add), stream)


class Events(Simulated):
    """edgead.nvidia._cuda.Events"""

    def __init__(self, count: int) -> None:
        self.device.call("Events", count)
        self.device.not_while_capturing("making events")
        self._times: list[float | None] = [None] * count
        self._last: list[Op | None] = [None] * count
        self._streams = [0] * count

    def record(self, index: int, stream: int) -> None:
        self.device.call("record", (index, stream))

        def run() -> None:
            self.device.ticks_ms += 0.25
            self._times[index] = self.device.ticks_ms

        op = Op(f"event {index}", run)
        self._last[index], self._streams[index] = op, stream
        self.device.enqueue(stream, op)

    def wait(self, index: int, stream: int) -> None:
        self.device.call("wait", (index, stream))
        until, other = self._last[index], self._streams[index]
        assert until is not None
        op = Wait("wait", lambda: None if until.done else self.device.drain(other, until))
        op.until = until
        self.device.enqueue(stream, op)

    def intervals_ms(self) -> list[float]:
        self.device.call("intervals_ms")
        times = [time for time in self._times if time is not None]
        if len(times) != len(self._times):
            self.device.fault("the time of an event that was not recorded or is not over")
        return [b - a for a, b in itertools.pairwise(times)]


class Graph(Simulated):
    """edgead.nvidia._cuda.Graph"""

    def __init__(self) -> None:
        self._ops: list[Op] | None = None

    def begin(self, stream: int) -> None:
        self.device.call("begin_capture", stream)
        self.device.begin_capture(stream)

    def end(self, stream: int) -> None:
        self.device.call("end_capture", stream)
        self._ops = self.device.end_capture(stream)

    def abandon(self, stream: int) -> None:
        self.device.log.append(("abandon_capture", stream))
        self.device.abandon_capture(stream)

    def launch(self, stream: int) -> None:
        self.device.call("launch", stream)
        if self._ops is None:
            self.device.fault("the launch of a graph that was not captured")
        for op in self._ops or []:
            self.device.enqueue(stream, Op(op.name, op.run, op.touches, copies=op.copies))

    def __del__(self) -> None:
        if self._ops is not None:
            self.let_go("a graph")


def sought_of(given: dict[str, Any]) -> Any:
    """``weights`` of ``Nearest``, of what its kernel is told."""
    if given["blended"]:
        return nearest.Blend(given["blended"], given["temperature"])
    return given["weights"]


def _out(
    far: np.ndarray, shown: bool, counts: Any = None, scored: Any = None, before: Any = None
) -> list[np.ndarray]:
    found = []
    if shown:
        found.append(far if counts is None else far * counts)
    if scored is not None:
        found.append(far * scored + (0 if before is None else before))
    return found


def _nearest_on_the_cpu(**given: Any) -> Callable[..., list[np.ndarray]]:
    size = (given["positions"] // given["width"], given["width"])
    weights, root = sought_of(given), given["root"]

    def run(queries: Any, memory: Any, shares: Any = None, **out: Any) -> list[np.ndarray]:
        index = nearest.NearestMemory(memory)
        kernel = nearest.Nearest(index, size, weights=weights, root=root)
        return _out(kernel.run(queries if shares is None else queries * shares).ravel(), **out)

    return run


def _whiten_on_the_cpu(**given: Any) -> Callable[..., list[np.ndarray]]:
    named = {key: given[key] for key in ("channel_normal", "epsilon")}

    def run(
        features: Any, mean: Any, factors: Any, centre: Any = None, **out: Any
    ) -> list[np.ndarray]:
        if centre is not None:
            features = features - centre[:, None, None]
        return _out(
            whiten.Whiten(mean, factors, given["side"], **named).run(features).ravel(), **out
        )

    return run


TWINS: dict[str, Callable[..., Any]] = {
    "Preprocess": lambda **given: _cpu.Preprocess(**given, simd=""),
    "AnomalyMap": lambda batch, **given: _cpu.AnomalyMap(**given, simd=""),
    "Nearest": _nearest_on_the_cpu,
    "Whiten": _whiten_on_the_cpu,
}


def _place_of(device: Device, address: int, integrated: bool) -> tuple[int, int]:
    kind = device.kind_of(address)
    return (0, address) if kind == "device" or (integrated and kind == "mapped") else (-1, 0)


def _nv12(
    device: Device, height: int, width: int, stride: int, chroma_stride: int, color_space: int,
    blue_first: bool, light: int, chroma: int, colors: int, stream: int,
) -> None:  # fmt: skip
    """edgead.nvidia._cuda.nv12"""
    device.call("nv12", (light, chroma, colors, stream))
    planes = (
        (light, (height - 1) * stride + width, (height, width), stride),
        (chroma, (height // 2 - 1) * chroma_stride + width, (height // 2, width), chroma_stride),
    )
    count = 4 * height * width

    def run() -> None:
        seen = [
            np.ndarray(shape, np.uint8, device.bytes_at(at, size), 0, (step, 1))
            for at, size, shape, step in planes
        ]
        layout = (height, width, stride, chroma_stride, color_space)
        device.bytes_at(colors, count)[:] = _cpu.nv12_colors(*layout, blue_first, *seen).ravel()

    touches = [(at, size, False) for at, size, _, _ in planes] + [(colors, count, True)]
    device.enqueue(stream, Op("nv12", run, tuple(touches)))


def _raise_distances(
    device: Device, distances: list[int], positions: int, sum: int, summed: int, lowest: float,
    highest: float, stream: int,
) -> None:  # fmt: skip
    """edgead.nvidia._cuda.raise_distances"""
    device.call("raise_distances", (distances, sum, lowest, highest, stream))
    spans = [(at, 4 * positions) for at in distances] + ([(sum, 4 * summed)] if sum else [])

    def run() -> None:
        arrays = [device.bytes_at(at, size).view(np.float32) for at, size in spans]
        own = np.sqrt(np.sum(arrays[: len(distances)], axis=0)).mean(dtype=np.float64)
        for array in arrays if np.isfinite(own) else ():
            array *= np.float32(highest / np.clip(own, lowest, highest))

    device.enqueue(stream, Op("raise_distances", run, tuple((*one, True) for one in spans)))


def kernels_module(
    device: Device, twins: dict[str, Callable[..., Any]] | None = None
) -> ModuleType:
    """``edgead.nvidia._cuda``; ``twins``: what executes the kernels."""
    kernels = bound(device, Preprocess, AnomalyMap, Nearest, Whiten, twins=TWINS | (twins or {}))
    preprocess, anomaly_map, nearest_kernel, whiten_kernel = kernels
    events, graph = bound(device, Events, Graph)
    return make_module(
        "edgead.nvidia._cuda",
        ARCHITECTURES="sm_87 (simulated)",
        nv12=partial(_nv12, device),
        raise_distances=partial(_raise_distances, device),
        status=lambda: (0, device.name) if device.count else (100, "no CUDA-capable device"),
        available=lambda: device.count > 0,
        place_of=lambda address, integrated: _place_of(device, address, integrated),
        **memory_names(device),
        Preprocess=preprocess,
        AnomalyMap=anomaly_map,
        Nearest=nearest_kernel,
        Whiten=whiten_kernel,
        Events=events,
        Graph=graph,
    )
