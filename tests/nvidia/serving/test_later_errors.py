"""Errors of a SIMULATED device that come with another call than the one that caused them."""

from __future__ import annotations

import numpy as np
import pytest
from simulation import CudaError, Device

from edgead import Detector, DeviceError
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceLostError


@pytest.mark.parametrize("call", ["enter", "leave"])
def test_a_context_that_cannot_be_entered_or_left_ends_the_detector(
    device: Device, half_bundle: Bundle, frame: np.ndarray, call: str
) -> None:
    """An earlier error of the device may come from either; the thread gets its context back."""
    with device.foreign_context("torch"):
        detector = Detector(half_bundle, device="cuda")
        detector.score(frame)
        device.plant(call, 1, CudaError("too bad"))
        with pytest.raises(DeviceLostError, match=r"ing the context .*: too bad \(error 719\)"):
            detector.score(frame)
        assert device.stack == ["torch"]
        with pytest.raises(DeviceError, match="scores no more"):
            detector.score(frame)
        detector.close()


@pytest.mark.parametrize("calls", range(9))
def test_an_error_that_surfaces_later_ends_the_detector_and_not_the_process(
    device: Device, half_bundle: Bundle, frame: np.ndarray, calls: int
) -> None:
    """The engine faults on the device; some call after it hears of it, whichever it is."""
    with device.foreign_context("torch"):
        detector = Detector(half_bundle, device="cuda")
        device.fail_later("engine", CudaError("an illegal memory access", 700), calls)
        with pytest.raises(DeviceLostError, match=r"illegal memory access \(error 700\)"):
            for _ in range(3):
                detector.score(frame)
        assert device.stack == ["torch"]
        detector.close()
        with Detector(half_bundle, device="cpu") as cpu:
            assert cpu.score(frame).score > 0


def test_the_block_s_own_error_is_told_and_not_the_context_s(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    detector = Detector(half_bundle, device="cuda")
    detector.score(frame)
    device.plant("launch", 1, CudaError("the cause"))
    device.plant("leave", 1, CudaError("a consequence"))
    with pytest.raises(DeviceLostError, match="the cause"):
        detector.score(frame)
    detector.close()
