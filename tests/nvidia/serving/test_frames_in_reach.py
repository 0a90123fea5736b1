"""Frames that a GPU can read where they lie, and those that it cannot, on a SIMULATED device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from simulation import Device, Fault
from test_device_frames import OnDevice

import edgead
from edgead import Detector, DeviceError, InputError
from edgead.bundle.storage import Bundle
from edgead.nvidia.device_frame import DeviceFrame

MakeFrame = Callable[..., np.ndarray]


def at_an_odd_address(device: Device, frame: np.ndarray) -> OnDevice:
    """uint16 samples that begin one byte into their memory."""
    there = OnDevice(device, np.zeros(frame.nbytes + 1, np.uint8))
    there.memory.bytes[1:] = frame.reshape(-1).view(np.uint8)
    there.__cuda_array_interface__ |= {
        "shape": frame.shape, "typestr": "<u2", "data": (there.memory.address + 1, False),
    }  # fmt: skip
    return there


@pytest.mark.parametrize("strides", [None, (161, 2)])
def test_samples_that_the_gpu_cannot_read_where_they_lie(
    gpu: Detector, device: Device, make_frame: MakeFrame, strides: tuple[int, int] | None
) -> None:
    """Error 716 on hardware, which ends CUDA for the process."""
    frame = make_frame(5, (60, 80), np.uint16)
    if strides is None:
        there = at_an_odd_address(device, frame)
    else:
        there = OnDevice(device, np.zeros((70, 80), np.uint16), strides=strides)
        there.__cuda_array_interface__["shape"] = (60, 80)
    with pytest.raises(InputError, match=r"uint16 samples lie at .* multiples of 2: copy it"):
        gpu.score(there)
    assert gpu.score(OnDevice(device, frame)).score == gpu.score(frame).score


def test_the_simulation_ends_at_an_odd_address(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check above is for: without it the Detector ends, and CUDA with it."""
    with Detector(half_bundle, device="cuda") as detector:
        frame = make_frame(5, (60, 80), np.uint16)
        there, odd = OnDevice(device, frame), at_an_odd_address(device, frame)
        check = DeviceFrame.__init__

        def unchecked(self: DeviceFrame, array: Any, color: str) -> None:
            check(self, there, color)
            self.address = odd.memory.address + 1

        monkeypatch.setattr(DeviceFrame, "__init__", unchecked)
        with pytest.raises(DeviceError, match=r"misaligned address \(error 716\)"):
            detector.score(odd)
        with pytest.raises(DeviceError, match="error 716"):
            Detector(half_bundle, device="cuda")


@pytest.mark.parametrize("device", [{"integrated": True}], indirect=True)
def test_mapped_host_memory_is_taken_where_it_lies_on_an_integrated_device(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    """What jetson-utils gives: the pointer's kind is Host, and the device has one of its own."""
    frame = make_frame(5, (60, 80, 3))
    expected = gpu.score(frame)
    there = OnDevice(device, frame, kind="mapped")
    uploads = device.count_of("upload")
    for _ in range(3):
        found = gpu.score(there)
        assert found.score == expected.score
    np.testing.assert_array_equal(found.frame, frame)
    assert device.count_of("upload") == uploads


@pytest.mark.parametrize("kind", ["mapped", "pinned"])
def test_host_memory_is_refused_on_a_gpu_with_memory_of_its_own(
    gpu: Detector, device: Device, make_frame: MakeFrame, kind: str
) -> None:
    there = OnDevice(device, make_frame(5, (60, 80, 3)), kind=kind)
    with pytest.raises(InputError, match=r"in no device's memory.* give as a NumPy array"):
        gpu.score(there)


@pytest.mark.parametrize("device", [{"integrated": True}], indirect=True)
def test_pinned_memory_that_is_not_mapped_is_found_by_the_simulation(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = OnDevice(device, make_frame(5, (60, 80, 3)), kind="pinned")
    with Detector(half_bundle, device="cuda") as detector:
        with pytest.raises(InputError, match="in no device's memory"):
            detector.score(there)
        monkeypatch.setattr(
            edgead.nvidia._cuda, "place_of", lambda address, integrated: (0, address)
        )
        with pytest.raises(Fault, match="host memory that is not mapped"):
            detector.score(there)
    assert len(device.faults) == 1
    device.faults.clear()
