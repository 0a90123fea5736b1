"""Plan files that are named to a Detector, on a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_tensorrt import plan_bytes
from simulation import Device

from edgead import Detector
from edgead.bundle.storage import Bundle
from edgead.nvidia.plans.cache import PlanCache
from edgead.nvidia.plans.plan import BuildOptions


@pytest.fixture
def dla_plan(half_bundle: Bundle) -> Path:
    """As ``edgead build --static-batch 1 --dla 1`` would leave it in the cache."""
    model = half_bundle.read("model.fp16.onnx")
    about = {
        "onnx_sha256": hashlib.sha256(model).hexdigest(),
        "precision": "float16",
        "device": "Simulated GPU sm_87",
        "options": BuildOptions((1, 1, 1), dla=1).to_json(),
    }
    return PlanCache().store("0" * 32, plan_bytes(model), about).path


def test_one_of_the_cache_serves_without_trust_and_on_the_dla_it_was_built_for(
    device: Device, half_bundle: Bundle, plans: dict[str, Any], dla_plan: Path, frame: np.ndarray
) -> None:
    with Detector(half_bundle, device="cuda", plan=dla_plan) as detector:
        assert detector.score(frame).score > 0
    assert ("deserialize_cuda_engine", 1) in device.log
    assert plans["asked"] == []  # the plan with the default options was not looked for


def test_without_a_dla_none_is_named(device: Device, half_bundle: Bundle) -> None:
    Detector(half_bundle, device="cuda").close()
    assert ("deserialize_cuda_engine", -1) in device.log


def test_the_collector_waits_while_the_runtime_gets_its_logger(
    device: Device, half_bundle: Bundle
) -> None:
    Detector(half_bundle, device="cuda").close()
    assert [details for name, details in device.log if name == "Runtime"] == [False]
