"""Which GPU this is: the real driver's absence, and a simulation of the driver's functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from edgead.errors import DeviceError
from edgead.nvidia import devices
from edgead.nvidia.devices import capability_of, current_device, device_word, find_device

GPUS = (("NVIDIA GeForce  RTX 4090", 8, 9, 128, 24), ("Orin", 8, 7, 16, 61))
ATTRIBUTES = {75: 1, 76: 2, 16: 3}  # of the driver, to places in GPUS


class SimulatedDriver:
    """A SIMULATION of libcuda with two GPUs; ``calls`` has the names of what was called."""

    def __init__(self, **codes: int) -> None:
        self.codes, self.calls = codes, []

    def __getattr__(self, function: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(function)
            if function in self.codes:
                return self.codes[function]
            if function == "cuDeviceGetCount":
                arguments[0]._obj.value = len(GPUS)
            elif function == "cuDeviceGet":
                arguments[0]._obj.value = arguments[1]
            elif function == "cuDeviceGetName":
                arguments[0].value = GPUS[arguments[2].value][0].encode()
            elif function == "cuDeviceGetAttribute":
                arguments[0]._obj.value = GPUS[arguments[2].value][ATTRIBUTES[arguments[1]]]
            elif function == "cuDeviceTotalMem_v2":
                arguments[0]._obj.value = GPUS[arguments[1].value][4] << 30
            return 0

        return call


@pytest.fixture
def driver(monkeypatch) -> SimulatedDriver:
    simulated = SimulatedDriver()
    monkeypatch.setattr(devices, "load_driver", lambda: simulated)
    return simulated


def test_the_word_of_a_gpu() -> None:
    gib = 2**30
    found = device_word("NVIDIA GeForce  RTX 4090", (8, 9), 128, 24 * gib - 500 * 2**20)
    assert found == "NVIDIA GeForce RTX 4090 sm_89 128 SM 24 GiB"
    assert device_word("NVIDIA Thor", (11, 0), 20, 123 * gib) == "NVIDIA Thor sm_110 20 SM 123 GiB"


def test_modules_of_one_name_have_different_words() -> None:
    """All Orin modules may report "Orin": a plan is tuned for one of them."""
    modules = ((4, 4), (8, 8), (8, 16), (14, 32), (16, 64))  # multiprocessors, GiB
    words = {device_word("Orin", (8, 7), count, gib << 30) for count, gib in modules}
    assert len(words) == len(modules)


@pytest.mark.parametrize(
    ("word", "capability"),
    [
        ("Orin sm_87", 87),
        ("Orin sm_87 8 SM 7 GiB", 87),
        ("NVIDIA Thor sm_110", 110),
        ("sm_89", 89),
        ("", None),
        ("any", None),
    ],
)
def test_the_capability_in_a_word(word: str, capability: int | None) -> None:
    assert capability_of(word) == capability


def test_the_gpus_of_a_simulated_driver(driver) -> None:
    assert find_device() == "NVIDIA GeForce RTX 4090 sm_89 128 SM 24 GiB"
    assert find_device(1) == "Orin sm_87 16 SM 61 GiB"


@pytest.mark.parametrize("index", [2, -1])
def test_a_gpu_that_is_not_there(driver, index: int) -> None:
    with pytest.raises(DeviceError, match=rf"GPU {index}: the driver finds 2, counted from 0"):
        find_device(index)


def test_no_driver(monkeypatch) -> None:
    def missing() -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(devices, "load_driver", missing)
    with pytest.raises(DeviceError, match=r"there is no NVIDIA driver.*install.*nvidia-smi"):
        find_device()


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGetCount", "cuDeviceGetName"])
def test_a_driver_that_fails(monkeypatch, function: str) -> None:
    monkeypatch.setattr(devices, "load_driver", lambda: SimulatedDriver(**{function: 999}))
    with pytest.raises(DeviceError, match=rf"driver fails \({function}: error 999\); install"):
        find_device()


def test_the_primary_context_is_current_meanwhile_and_given_back(driver) -> None:
    with current_device(1):
        assert driver.calls[-2:] == ["cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2"]
    assert driver.calls[-2:] == ["cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_a_failed_push_gives_the_context_back(monkeypatch) -> None:
    simulated = SimulatedDriver(cuCtxPushCurrent_v2=201)
    monkeypatch.setattr(devices, "load_driver", lambda: simulated)
    with pytest.raises(DeviceError, match="cuCtxPushCurrent_v2: error 201"), current_device(0):
        pass
    assert simulated.calls[-1] == "cuDevicePrimaryCtxRelease_v2"
    assert "cuCtxPopCurrent_v2" not in simulated.calls


def test_the_real_driver_answers_or_is_named_as_missing() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(DeviceError, match="there is no NVIDIA driver"):
            find_device()
