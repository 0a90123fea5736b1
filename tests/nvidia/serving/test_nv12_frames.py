"""Frames in NV12 on a SIMULATED device: planes there, and planes in host memory."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from simulation import Device
from test_device_frames import OnDevice

from edgead import Detector, InputError, Nv12


@pytest.fixture
def planes() -> np.ndarray:
    """Both planes of 60 x 80 pixels."""
    return np.random.default_rng(4).integers(0, 256, (90, 80), np.uint8)


def test_planes_on_the_device_become_colours_there(
    gpu: Detector, device: Device, planes: np.ndarray
) -> None:
    """Score and frame are those of OpenCV's conversion; nothing is uploaded."""
    expected = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12)
    score = gpu.score(expected).score
    light, chroma = OnDevice(device, planes[:60]), OnDevice(device, planes[60:])
    uploads = device.count_of("upload")
    for _ in range(3):  # in steps, captured, and as a graph
        found = gpu.score(Nv12(light, chroma))
        assert found.score == score
    assert device.count_of("upload") == uploads
    np.testing.assert_array_equal(found.frame, expected)
    other = Nv12(planes[:60], planes[60:], "bt709_full").colors("bgr")
    assert gpu.score(Nv12(light, chroma, "bt709_full")).score == gpu.score(other).score


def test_planes_with_gaps_between_rows_and_pairs_of_samples(
    gpu: Detector, device: Device, planes: np.ndarray
) -> None:
    wide = np.zeros((60, 96), np.uint8)
    wide[:, :80] = planes[:60]
    light = OnDevice(device, wide, strides=(96, 1))
    light.__cuda_array_interface__["shape"] = (60, 80)
    chroma = OnDevice(device, planes[60:].reshape(30, 40, 2))
    expected = gpu.score(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12)).score
    assert gpu.score(Nv12(light, chroma)).score == expected


def test_a_larger_frame_takes_larger_memory(
    gpu: Detector, device: Device, planes: np.ndarray
) -> None:
    large = np.random.default_rng(5).integers(0, 256, (180, 160), np.uint8)
    for whole, rows in ((planes, 60), (large, 120), (planes, 60)):
        there = Nv12(OnDevice(device, whole[:rows]), OnDevice(device, whole[rows:]))
        expected = gpu.score(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_NV12)).score
        assert gpu.score(there).score == expected


def test_planes_in_host_memory_are_brought_as_colours(gpu: Detector, planes: np.ndarray) -> None:
    expected = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12)
    assert gpu.score(Nv12(planes)).score == gpu.score(expected).score


def test_planes_that_cannot_be_taken(gpu: Detector, device: Device, planes: np.ndarray) -> None:
    light = OnDevice(device, planes[:60])
    with pytest.raises(InputError, match="one lies in GPU memory and one does not"):
        Nv12(light, planes[60:])
    chroma = OnDevice(device, planes[60:], kind="pinned")
    with pytest.raises(InputError, match="in no device's memory"):
        gpu.score(Nv12(light, chroma))
    there = Nv12(light, OnDevice(device, planes[60:]))
    with pytest.raises(InputError, match="NV12 frame lies in GPU memory and the CPU scores"):
        there.colors("bgr")
