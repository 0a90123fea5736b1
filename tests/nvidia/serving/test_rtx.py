"""TensorRT-RTX: its own settings on a SIMULATED device, and the real library as far as it goes."""

from __future__ import annotations

import inspect
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated_tensorrt
from simulated_machine import install
from simulated_tensorrt import COMPILED, plan_bytes, tensorrt_module
from simulation import Device

from edgead import Detector, DeviceError
from edgead.bundle.storage import Bundle
from edgead.nvidia import engine as tensorrt
from edgead.nvidia.plans import store as real_plans
from edgead.nvidia.plans.library import Library


@pytest.fixture
def rtx_device(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """The simulated device with TensorRT-RTX in place of TensorRT."""
    install(monkeypatch, device, "rtx")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return device


def test_kernels_are_compiled_before_the_first_frame_and_kept(
    rtx_device: Device, half_bundle: Bundle, tmp_path: Path, frame: np.ndarray
) -> None:
    kept = tmp_path / "cache" / "plans" / "simulated.jit"
    with Detector(half_bundle, device="cuda") as detector:
        assert detector.info()["version"] == "TensorRT-RTX 10.3.0"
        score = detector.score(frame).score
    configs = {c for name, c in rtx_device.log if name == "create_execution_context"}
    (config,) = configs
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert kept.read_bytes() == COMPILED
    assert stat.S_IMODE(kept.stat().st_mode) & 0o022 == 0
    before = kept.stat().st_mtime_ns
    with Detector(half_bundle, device="cuda") as detector:
        assert detector.score(frame).score == score
    assert rtx_device.count_of("RuntimeCache.deserialize") == 1
    assert kept.stat().st_mtime_ns == before  # nothing new, nothing written


def test_what_was_compiled_for_another_driver_is_compiled_anew(
    rtx_device: Device, half_bundle: Bundle, tmp_path: Path, frame: np.ndarray
) -> None:
    kept = tmp_path / "cache" / "plans" / "simulated.jit"
    kept.parent.mkdir(parents=True, mode=0o700)
    kept.write_bytes(b"of another driver")
    with Detector(half_bundle, device="cuda") as detector:
        assert detector.score(frame).score > 0
    assert kept.read_bytes() == COMPILED
    kept.chmod(0o666)
    with pytest.raises(DeviceError, match=r"simulated\.jit"):
        Detector(half_bundle, device="cuda")


def test_a_cache_that_has_nothing_to_keep(
    rtx_device: Device, half_bundle: Bundle, tmp_path: Path, frame: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """serialize() gives None then; an older one stays as it is."""
    kept = tmp_path / "cache" / "plans" / "simulated.jit"
    monkeypatch.setattr(simulated_tensorrt, "COMPILED", b"")
    with Detector(half_bundle, device="cuda") as detector:
        assert detector.score(frame).score > 0
    assert rtx_device.count_of("RuntimeCache.serialize") > 0
    assert not kept.exists()


def test_nothing_is_kept_of_a_foreign_plan(
    rtx_device: Device, half_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.plan"
    path.write_bytes(plan_bytes(half_bundle.read("model.fp16.onnx"), "rtx"))
    Detector(half_bundle, device="cuda", plan=path, trust_plan=True).close()
    assert not path.with_suffix(".jit").exists()


def test_the_simulation_has_no_names_that_the_real_library_lacks(rtx: Library) -> None:
    """The control flow was tested against names and arguments that exist."""
    real: Any = rtx.module
    simulated = tensorrt_module(Device(), "rtx")
    looked_at = []
    for name in ("ICudaEngine", "IExecutionContext", "Runtime", "IRuntimeConfig", "IRuntimeCache"):
        for member, value in inspect.getmembers(getattr(simulated, name).__mro__[1]):
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                if member in ("device", "let_go") or inspect.isclass(value):
                    continue
                assert hasattr(getattr(real, name), member), f"{name}.{member}"
                looked_at.append(member)
    assert {"execute_async_v3", "set_tensor_address", "deserialize_cuda_engine"} <= set(looked_at)
    for enum, members in (
        ("DataType", ("FLOAT", "HALF")),
        ("TensorIOMode", ("INPUT", "OUTPUT")),
        ("DynamicShapesKernelSpecializationStrategy", ("EAGER",)),
    ):
        assert all(hasattr(getattr(real, enum), member) for member in members)
    assert issubclass(simulated_tensorrt.ILogger, object) and callable(real.ILogger.log)


def test_the_real_library_without_a_gpu_refuses_in_a_sentence(
    rtx: Library, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    """A real plan of the real RTX, whose loading asks the real CUDA for a device."""
    from edgead.nvidia.devices import load_driver

    try:
        load_driver()
        pytest.skip("there is an NVIDIA driver here")
    except OSError:
        pass
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(tensorrt, "own_plan", real_plans.own_plan)
    with pytest.raises(DeviceError) as error:
        Detector(half_bundle, device="cuda")
    assert "does not load this plan on cuda:0" in str(error.value)
    assert "CUDA driver version is insufficient" in str(error.value)
    assert str(error.value).isprintable()
