"""Puts a SIMULATED device where edgead looks for PyCUDA, TensorRT and its own CUDA kernels."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from simulated_driver import driver_module, make_module
from simulated_kernels import kernels_module
from simulated_tensorrt import tensorrt_module
from simulation import Device

import edgead.nvidia


def install(
    patch: pytest.MonkeyPatch, device: Device, flavour: str = "tensorrt", **kernels: Any
) -> None:
    """Let edgead find the simulated device; everything else of the process stays."""
    driver = driver_module(device)
    patch.setitem(sys.modules, "pycuda", make_module("pycuda", driver=driver))
    patch.setitem(sys.modules, "pycuda.driver", driver)
    module = tensorrt_module(device, flavour)
    patch.setitem(sys.modules, module.__name__, module)
    cuda = kernels_module(device, **kernels)
    patch.setitem(sys.modules, "edgead.nvidia._cuda", cuda)
    patch.setattr(edgead.nvidia, "_cuda", cuda, raising=False)
    patch.setattr("edgead.nvidia.memory._opened", {})
