"""``EDGEAD_CUDA_MEMORY``: PyCUDA in the place of edgead's own memory, on a SIMULATED device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_same
from simulated_driver import CudaMemoryError, LogicError
from simulation import Device

from edgead import Detector, DeviceError
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceLostError
from edgead.nvidia import memory


@pytest.fixture(autouse=True)
def asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_CUDA_MEMORY", "pycuda")


def refused(bundle: Bundle) -> str:
    with pytest.raises(DeviceError) as error:
        Detector(bundle, device="cuda")
    return str(error.value)


@pytest.mark.parametrize("device", [{}, {"integrated": True}], indirect=True, ids=str)
def test_frames_are_scored_by_pycuda_s_memory(
    device: Device, half_bundle: Bundle, cpu: Detector, frame: np.ndarray
) -> None:
    with device.foreign_context("torch"), Detector(half_bundle, device="cuda") as detector:
        for _ in range(3):
            check_same(detector.score(frame), cpu.score(frame), half_bundle)
        assert device.count_of("retain_primary_context") == 1
    memory._release_all()
    assert device.count_of("detach") == 1


def test_another_word(device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_CUDA_MEMORY", "cupy")
    said = refused(half_bundle)
    assert "EDGEAD_CUDA_MEMORY='cupy'" in said and 'expected "edgead" or "pycuda"' in said


def test_pycuda_that_is_not_there(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    said = refused(half_bundle)
    assert "PyCUDA is not installed: leave EDGEAD_CUDA_MEMORY unset" in said


def test_a_driver_that_does_not_start(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = sys.modules["pycuda.driver"]

    def no_device() -> None:
        raise LogicError("cuInit failed: no CUDA-capable device is detected")

    monkeypatch.setattr(driver, "init", no_device)
    said = refused(half_bundle)
    assert "driver does not start" in said and "no CUDA-capable device" in said
    assert "nvidia-smi" in said and 'device="cpu"' in said
    monkeypatch.setattr(driver, "init", lambda: None)
    device.count = 0
    assert "finds no GPU" in refused(half_bundle)


def test_a_driver_library_that_is_missing(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What importing PyCUDA says without libcuda."""
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("")
    text = "raise ImportError('libcuda.so.1: cannot open shared object file')"
    (tmp_path / "pycuda" / "driver.py").write_text(text)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused(half_bundle)
    assert "libcuda.so.1" in said and "is NVIDIA's driver installed?" in said


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (CudaMemoryError, DeviceError, "out of memory when"),
        (LogicError, DeviceLostError, "failed when .*: too bad"),
    ],
)
def test_what_pycuda_says_is_a_sentence(
    device: Device, half_bundle: Bundle, error: type[Exception], kind: Any, said: str
) -> None:
    device.plant("allocate", 1, error("too bad"))
    with pytest.raises(kind, match=said) as caught:
        Detector(half_bundle, device="cuda")
    assert isinstance(caught.value, DeviceLostError) == (kind is DeviceLostError)
