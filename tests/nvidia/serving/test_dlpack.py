"""Frames that offer DLPack alone, as JAX's, in the memory of a SIMULATED device."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from simulation import LEGACY_STREAM, Device, Op

from edgead import Detector, InputError
from edgead.bundle.storage import Bundle

MakeFrame = Callable[..., np.ndarray]
CUDA = 2  # kDLCUDA


class DlpackFrame:
    """An array on the simulated device, whose capsule is NumPy's, told to lie on a GPU."""

    def __init__(
        self,
        device: Device,
        values: np.ndarray,
        view: Callable[[np.ndarray], np.ndarray] = lambda a: a,
        kind: int = CUDA,
    ) -> None:
        self.device, self.kind, self.streams = device, kind, []
        self.memory = device.allocate(values.nbytes, "device")
        whole = np.ndarray(values.shape, values.dtype, self.memory.bytes)
        whole[:] = values
        self.seen = view(whole)
        self.shape, self.dtype = self.seen.shape, self.seen.dtype

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self.seen.__dlpack__()

    def __del__(self) -> None:
        self.device.release(self.memory)


def mirrored(a: np.ndarray) -> np.ndarray:
    return a[:, ::-1]


def window(a: np.ndarray) -> np.ndarray:
    return a[3:40, 7:50]


def with_fourth(frame: np.ndarray) -> np.ndarray:
    return np.concatenate([frame, frame[:, :, :1]], axis=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "view", [lambda a: a, mirrored, window], ids=["whole", "mirrored", "window"]
)
def test_scores_are_those_of_the_same_frame_from_the_host(
    gpu: Detector, device: Device, make_frame: MakeFrame, dtype: type, view: Any
) -> None:
    frame = make_frame(5, (60, 80, 3), dtype)
    expected = gpu.score(view(frame))
    there = DlpackFrame(device, frame, view)
    uploads = device.count_of("upload")
    for _ in range(3):
        found = gpu.score(there)
        assert found.score == expected.score
    np.testing.assert_array_equal(found.frame, view(frame))
    assert device.count_of("upload") == uploads
    assert set(there.streams) == {LEGACY_STREAM}


def test_a_fourth_channel_is_dropped(gpu: Detector, device: Device, make_frame: MakeFrame) -> None:
    frame = make_frame(5, (60, 80, 3))
    assert gpu.score(DlpackFrame(device, with_fourth(frame))).score == gpu.score(frame).score


def test_the_stream_that_the_producer_was_told_of_is_waited_for(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    """The frame is written late, by work that the producer let the default stream wait for."""
    frame = make_frame(5, (60, 80, 3))
    there = DlpackFrame(device, np.zeros_like(frame))

    def fill() -> None:
        there.memory.bytes[:] = frame.reshape(-1)

    touches = ((there.memory.address, there.memory.size, True),)
    device.enqueue(LEGACY_STREAM, Op("fill", fill, touches))
    assert gpu.score(there).score == gpu.score(frame).score


def test_the_producer_is_told_when_nobody_needs_the_frame(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    """Its memory goes then, and not before: the Result may still ask for the frame."""
    there = DlpackFrame(device, make_frame(5, (60, 80, 3)))
    free = sys.getrefcount(there.seen)
    result = gpu.score(there)
    held = sys.getrefcount(there.seen)  # not inside assert, which keeps what it shows
    assert held == free + 1  # by the capsule
    np.testing.assert_array_equal(result.frame, there.seen)
    del result
    gc.collect()
    held = sys.getrefcount(there.seen)
    assert held == free


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32.*expected uint8 or uint16"),
        (np.zeros((8, 8, 3), np.complex64), r"samples of another kind \(DLPack code 5, 64 bits\)"),
        (np.zeros((8, 8, 5), np.uint8), r"\(8, 8, 5\)"),
    ],
)
def test_what_is_no_frame(gpu: Detector, device: Device, values: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        gpu.score(DlpackFrame(device, values))


def test_a_producer_that_refuses(gpu: Detector, device: Device, make_frame: MakeFrame) -> None:
    there = DlpackFrame(device, make_frame(5, (60, 80, 3)))

    def refuse(*, stream: int | None = None) -> Any:
        raise BufferError("the array is being donated")

    there.__class__ = type("Donated", (DlpackFrame,), {"__dlpack__": staticmethod(refuse)})
    with pytest.raises(InputError, match=r"a Donated in GPU memory.*donated\): copy it"):
        gpu.score(there)


def test_the_cpu_says_that_it_cannot_see_the_gpu_s_memory(
    half_bundle: Bundle, device: Device, frame: np.ndarray
) -> None:
    with (
        Detector(half_bundle, device="cpu") as cpu,
        pytest.raises(InputError, match="lies in GPU memory and the CPU scores"),
    ):
        cpu.score(DlpackFrame(device, frame))
