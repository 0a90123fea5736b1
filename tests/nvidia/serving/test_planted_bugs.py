"""The simulation finds bugs: each is planted into edgead's own code, and has to be caught.

Caught means a Fault of the SIMULATED device, or a score or map that differs from the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from simulation import LEGACY_STREAM, CudaError, Device, Fault

from edgead import Detector, DeviceError
from edgead.bundle.storage import Bundle
from edgead.nvidia import geometries, memory
from edgead.nvidia.buffers import Shared
from edgead.nvidia.loaded_plan import Execution, LoadedPlan
from edgead.nvidia.map_ring import MapPlace
from edgead.nvidia.stages import FrameGraphs
from edgead.serving.open_pipeline import open_pipeline

MakeFrame = Callable[..., np.ndarray]
Patch = pytest.MonkeyPatch


def no_wait(patch: Patch) -> None:
    """Nobody waits for the stream."""
    patch.setattr(memory.Stream, "synchronize", lambda self: None)


def no_wait_before_the_capture(patch: Patch) -> None:
    """The work is captured before it ran once."""

    def run(self: Any, geometry: Any, address: int, upload: Any) -> None:
        geometry.graphs.setdefault(address, None)
        original(self, geometry, address, upload)

    original = FrameGraphs.run
    patch.setattr(FrameGraphs, "run", run)


def maps_are_not_saved(patch: Patch) -> None:
    """A map's place is taken although a Result waits for it."""
    patch.setattr(MapPlace, "settle", lambda self: None)


def the_map_is_not_copied(patch: Patch) -> None:
    """Results share the one map of the pipeline."""
    patch.setattr(memory.Stream, "copy", lambda self, to, source, count: None)


def no_upload(patch: Patch) -> None:
    """The frame stays on the host."""
    patch.setattr(Shared, "up", lambda self, stream, count: None)


def half_an_upload(patch: Patch) -> None:
    """Only the upper half of the frame arrives."""
    up = Shared.up
    patch.setattr(Shared, "up", lambda self, stream, count: up(self, stream, count // 2))


def no_download(patch: Patch) -> None:
    """The score stays on the device."""
    patch.setattr(Shared, "down", lambda self, stream: None)


def the_default_stream(patch: Patch) -> None:
    """The graph runs on stream 0."""
    enqueue = Execution.enqueue
    patch.setattr(Execution, "enqueue", lambda self, stream: enqueue(self, 0))


def another_stream(patch: Patch) -> None:
    """The graph runs on a stream that nobody waits for."""
    enqueue = Execution.enqueue
    patch.setattr(Execution, "enqueue", lambda self, stream: enqueue(self, LEGACY_STREAM))


def one_context_for_all(patch: Patch) -> None:
    """Every thread gets the same execution context."""
    made: dict[int, Any] = {}
    new = LoadedPlan.new_context

    def shared(self: LoadedPlan) -> Any:
        return (
            made.setdefault(id(self), None) or made.update({id(self): new(self)}) or made[id(self)]
        )

    patch.setattr(LoadedPlan, "new_context", shared)


def no_context(patch: Patch) -> None:
    """The device's context is not made current."""
    from contextlib import nullcontext

    patch.setattr(memory.Memory, "current", lambda self: nullcontext())


def a_context_that_stays(patch: Patch) -> None:
    """The thread is left with edgead's context."""

    @contextmanager
    def current(self: Any) -> Any:
        self._device.enter()
        yield

    patch.setattr(memory.Memory, "current", current)


def a_wrong_shape(patch: Patch) -> None:
    """The kernel is told of one more row than there is."""
    arguments = geometries.kernel_arguments

    def taller(*given: Any) -> dict[str, Any]:
        found = arguments(*given)
        height, width, channels = found["shape"]
        return {**found, "shape": (height + 1, width, channels)}

    patch.setattr(geometries, "kernel_arguments", taller)


def a_graph_for_every_size(patch: Patch) -> None:
    """A graph is launched for frames of other sizes too."""
    patch.setattr(
        geometries.Geometries,
        "get",
        lambda self, *given: self.__dict__.setdefault("only", self._new(*given)),
    )


def a_context_that_is_left_too_late(patch: Patch) -> None:
    """As PyCUDA: an error on the way out comes before the thread has its own context back."""

    @contextmanager
    def current(self: Any) -> Any:
        before = self._device.enter()
        yield
        self._device.device.call("leave", context=False)
        self._device.leave(before)

    patch.setattr(memory.Memory, "current", current)


def graphs_of_memory_that_went(patch: Patch) -> None:
    """A larger frame takes other pinned memory, and the graphs still read the old one."""

    def forget(self: Any, *, keep: int = 0) -> None:
        if keep:
            original(self, keep=keep)

    original = geometries.Geometries.forget
    patch.setattr(geometries.Geometries, "forget", forget)


def memory_in_a_capture(patch: Patch) -> None:
    """Something is allocated while the stream is captured."""
    copy = memory.Stream.upload

    def upload(self: Any, to: int, source: Any) -> None:
        held = self._memory.allocate(16)
        copy(self, to, source)
        del held

    patch.setattr(memory.Stream, "upload", upload)


BUGS = [
    graphs_of_memory_that_went,
    memory_in_a_capture,
    no_wait,
    no_wait_before_the_capture,
    maps_are_not_saved,
    the_map_is_not_copied,
    no_upload,
    half_an_upload,
    no_download,
    the_default_stream,
    another_stream,
    one_context_for_all,
    no_context,
    a_context_that_stays,
    a_wrong_shape,
    a_graph_for_every_size,
]


def caught(device: Device, bundle: Bundle, make_frame: MakeFrame) -> str:
    """What is wrong with a round of frames, or "" when nothing is."""
    frames = [make_frame(seed, (40 + 20 * (seed % 2), 50, 3)) for seed in range(6)]
    tolerance = bundle.manifest.tolerance["float16"]
    with Detector(bundle, device="cpu") as cpu:
        expected = [cpu.score(frame) for frame in frames]
    try:
        with (
            Detector(bundle, device="cuda") as detector,
            Detector(bundle, device="cuda") as second,
        ):
            results = [detector.score(frame) for frame in frames]
            other = open_pipeline(bundle, detector.engine)  # as of a second thread
            results += [second.score(frame) for frame in frames]
            other.run(frames[0])
            for result, truth in zip(results, expected * 2, strict=True):
                if not abs(result.score - truth.score) <= tolerance.score:
                    return f"score {result.score} instead of {truth.score}"
                if not np.abs(result.map - truth.map).max() <= tolerance.map:
                    return "a map"
            other.close()
    except (Fault, DeviceError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if device.stack:
        return f"the thread is left with {device.stack}"
    return "; ".join(device.faults)


def test_without_a_bug_nothing_is_caught(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    assert caught(device, half_bundle, make_frame) == ""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bug_is_caught(
    lawless_device: Device, half_bundle: Bundle, make_frame: MakeFrame, bug: Callable[[Patch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        assert caught(lawless_device, half_bundle, make_frame) != ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_thread_that_keeps_edgead_s_context_after_an_error_is_seen(
    lawless_device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    """What PyCUDA's stack does with an error that comes late; edgead's own memory does not."""
    device = lawless_device
    for bug, left in ((lambda patch: None, []), (a_context_that_is_left_too_late, ["primary"])):
        with pytest.MonkeyPatch.context() as patch:
            detector = Detector(half_bundle, device="cuda")
            bug(patch)
            device.plant("leave", 1, CudaError("an earlier error"))
            with pytest.raises((RuntimeError, DeviceError)):
                detector.score(make_frame(1, (40, 50, 3)))
            assert device.stack == left
            device.stack.clear()
