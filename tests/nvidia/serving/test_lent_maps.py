"""Maps that stay in the memory of a SIMULATED device, handed to other libraries without a copy."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from simulation import Device

from edgead import Detector, DeviceError, InputError
from edgead.bundle.storage import Bundle
from edgead.images.dlpack import LentArray, device_array, lies_on_gpu
from edgead.result import LazyResult, Result

MakeFrame = Callable[..., np.ndarray]
CPU, CUDA = 1, 2  # kDLCPU, kDLCUDA


@pytest.fixture
def seen_by_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated memory is the host's: NumPy and torch may be told so, and read it."""
    monkeypatch.setattr(LentArray, "__dlpack_device__", lambda self: (CPU, 0))


def read(lent: Any) -> np.ndarray:
    """As a library does that knows ``__cuda_array_interface__``; the simulated memory is the
    host's."""
    found = lent.__cuda_array_interface__
    assert (found["version"], found["stream"], found["strides"]) == (3, None, None)
    address, read_only = found["data"]
    count = int(np.prod(found["shape"])) * np.dtype(found["typestr"]).itemsize
    data = ctypes.string_at(address, count)
    assert not read_only
    return np.frombuffer(data, found["typestr"]).reshape(found["shape"])


def test_it_is_the_map_and_nothing_is_copied(
    gpu: Detector, device: Device, frame: np.ndarray
) -> None:
    result = gpu.score(frame)
    before = device.count_of("download", "copy", "allocate")
    lent = result.map_on_device()
    found = read(lent)
    assert device.count_of("download", "copy", "allocate") == before
    np.testing.assert_array_equal(found, result.map)
    assert (lent.shape, lent.dtype) == (result.map.shape, np.float32)
    np.testing.assert_array_equal(read(result.map_on_device()), found)  # also once it was copied


def test_dlpack_says_where_it_lies(gpu: Detector, frame: np.ndarray) -> None:
    """Read again by what reads frames."""
    lent = gpu.score(frame).map_on_device()
    assert lent.__dlpack_device__() == (CUDA, 0) and lies_on_gpu(lent)
    again = device_array(lent)
    assert again.__cuda_array_interface__["data"] == lent.__cuda_array_interface__["data"]
    assert (again.shape, again.dtype) == (lent.shape, np.float32)


def test_numpy_and_torch_read_it(gpu: Detector, frame: np.ndarray, seen_by_hosts: None) -> None:
    torch = pytest.importorskip("torch")
    result = gpu.score(frame)
    lent = result.map_on_device()
    numpy_s, torch_s = np.from_dlpack(lent), torch.from_dlpack(lent)
    np.testing.assert_array_equal(numpy_s, result.map)
    np.testing.assert_array_equal(torch_s.numpy(), result.map)
    torch_s[3, 4] = 1234.5  # of the same memory
    assert numpy_s[3, 4] == 1234.5 and result.map[3, 4] != 1234.5


def test_what_was_lent_outlives_result_frames_and_detector(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, seen_by_hosts: None
) -> None:
    torch = pytest.importorskip("torch")
    frames = [make_frame(seed, (40, 50, 3)) for seed in range(6)]
    with Detector(half_bundle, device="cuda") as gpu:
        expected = [gpu.score(frame).map for frame in frames]
        results = [gpu.score(frame) for frame in frames[:1]]
        tensor = torch.from_dlpack(results[0].map_on_device())
        for frame, own in zip(frames[1:], expected[1:], strict=True):
            results.append(gpu.score(frame))
            np.testing.assert_array_equal(tensor.numpy(), expected[0])
            np.testing.assert_array_equal(results[-1].map, own)
        np.testing.assert_array_equal(results[0].map, expected[0])
    del results, gpu
    gc.collect()
    assert device.living("device") == 1
    np.testing.assert_array_equal(tensor.numpy(), expected[0])
    del tensor
    assert device.living("device") == 0


def test_memory_is_taken_for_lent_maps_alone(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    frame = make_frame(1, (40, 50, 3))
    for _ in range(4):
        gpu.score(frame)
    before = device.count_of("allocate"), device.living("device")
    for _ in range(4):
        gpu.score(frame)
    assert (device.count_of("allocate"), device.living("device")) == before
    for _ in range(4):
        gpu.score(frame).map_on_device()
    gpu.score(frame), gpu.score(frame)
    assert (device.count_of("allocate"), device.living("device")) == (before[0] + 4, before[1])


def test_a_map_whose_place_was_needed(gpu: Detector, make_frame: MakeFrame) -> None:
    first, *others = (make_frame(seed, (40, 50, 3)) for seed in range(3))
    result = gpu.score(first)
    expected = result.map
    gpu.score(others[0])
    np.testing.assert_array_equal(read(result.map_on_device()), expected)
    gpu.score(others[1])
    with pytest.raises(InputError, match=r"not on the GPU any more: two more .* use result\.map"):
        result.map_on_device()


def test_a_map_of_a_detector_that_was_closed(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with Detector(half_bundle, device="cuda") as gpu:
        result = gpu.score(frame)
    with pytest.raises(InputError, match=r"or the Detector was closed: use result\.map"):
        result.map_on_device()
    assert result.map.max() > 0


def test_another_thread_may_ask(gpu: Detector, frame: np.ndarray) -> None:
    result, found = gpu.score(frame), []
    thread = threading.Thread(target=lambda: found.append(read(result.map_on_device())))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], result.map)


def test_maps_in_host_memory(cpu: Detector, frame: np.ndarray) -> None:
    """Of the CPU, and of tiles that the host joined, whose frame lies on a GPU."""
    result = cpu.score(frame)
    held = {field.name: getattr(result, field.name) for field in fields(Result)}
    for one in (result, LazyResult(**held, frame=frame)):
        with pytest.raises(InputError, match=r"lies in host memory, .* tiles .*result\.map"):
            one.map_on_device()
        np.testing.assert_array_equal(np.from_dlpack(one.map), result.map)


def test_a_copy_and_another_device_are_the_borrower_s_business(
    gpu: Detector, frame: np.ndarray
) -> None:
    lent = gpu.score(frame).map_on_device()
    for asked in ({"copy": True}, {"dl_device": (CPU, 0)}):
        with pytest.raises(BufferError, match=r"lies on DLPack device \(2, 0\) .*copy it with"):
            lent.__dlpack__(**asked)
    lent.__dlpack__(stream=7, max_version=(1, 0), dl_device=(CUDA, 0), copy=False)


def test_memory_that_runs_out_is_an_error_of_the_frame_that_needs_it(
    gpu: Detector, device: Device, frame: np.ndarray
) -> None:
    """The frame whose place is the lent one; the next one goes on."""
    lent = gpu.score(frame).map_on_device()
    expected = gpu.score(frame)
    free, device.free_bytes = device.free_bytes, 0
    with pytest.raises(DeviceError, match="out of memory"):
        gpu.score(frame)
    device.free_bytes = free
    assert gpu.score(frame).score == expected.score
    np.testing.assert_array_equal(read(lent), expected.map)
