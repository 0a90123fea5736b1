"""The compiled CUDA kernels, if this device can run them, and the precision around them."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgead.errors import DeviceError
from edgead.installation import nvidia_driver
from edgead.nvidia.backend import CPU_SERVES

TEGRA = {(7, 2), (8, 7), (11, 0)}
"""Compute capabilities of Jetsons: Xavier, Orin, Thor."""
_NO_DEVICE, _OLD_DRIVER = 100, 35  # cudaErrorNoDevice, cudaErrorInsufficientDriver
PRECISION = "float16"
"""What a GPU computes in when nothing else is asked for."""


def import_kernels() -> Any:
    """The module ``edgead.nvidia._cuda``, whether or not there is a device for it.

    Raises:
        DeviceError: not built.
    """
    if find_spec("edgead.nvidia._cuda") is None:
        raise DeviceError(
            "edgead's CUDA kernels were not built here: edgead doctor says why, and what to do; "
            'the CPU serves without them: device="cpu"'
        )
    return import_module("edgead.nvidia._cuda")


def check_driver(cuda: Any) -> None:
    """Raise DeviceError where edgead.nvidia._cuda finds no GPU, or none any more."""
    code, text = cuda.status()
    if code == 0:
        return
    said = f"{text} (error {code})"
    if code == _NO_DEVICE:
        raise DeviceError(
            f"NVIDIA's driver finds no GPU: {said}: see what nvidia-smi says; in a container, "
            f"give it the GPU; {CPU_SERVES}"
        )
    if code != _OLD_DRIVER:
        raise DeviceError(
            f"NVIDIA's driver does not start: {said}: see what nvidia-smi says; in a "
            f"container, give it the GPU; {CPU_SERVES}"
        )
    if nvidia_driver() is None:
        raise DeviceError(
            f"NVIDIA's driver is not installed (libcuda.so.1): install it, and see that "
            f"nvidia-smi finds the GPU; {CPU_SERVES}"
        )
    raise DeviceError(
        f"edgead's CUDA kernels, built for {cuda.ARCHITECTURES}, cannot be used: {said}: "
        f"install a newer driver, or edgead with an older CUDA; {CPU_SERVES}"
    )


def load_kernels(capability: tuple[int, int]) -> Any:
    """The module ``edgead.nvidia._cuda``, which a device of this compute capability can run.

    Raises:
        DeviceError: not built, or not for this driver or device.
    """
    cuda = import_kernels()
    check_driver(cuda)
    if not _runs_on(capability, cuda.ARCHITECTURES):
        number = "{}{}".format(*capability)
        raise DeviceError(
            f"edgead's CUDA kernels were built for {cuda.ARCHITECTURES}, and this GPU is "
            f"sm_{number}: where there is nvcc, in a clone of edgead: EDGEAD_CUDA=ON "
            f"EDGEAD_CUDA_ARCHITECTURES={number}-real pip install ."
        )
    return cuda


def _runs_on(capability: tuple[int, int], built: str) -> bool:
    """Whether ``built``, such as "sm_75 sm_87 compute_87", serves this compute capability.

    Code (sm_) runs on later devices of its major version, but that of a Tegra there alone, and no
    other there; PTX (compute_) on every later device.

    Source: CUDA C++ Programming Guide, 6.1.2 Binary Compatibility and 6.1.3 PTX Compatibility.
    """
    for kind, major, minor in re.findall(r"(sm|compute)_(\d+)(\d)", built):
        made_for = (int(major), int(minor))
        family = made_for[0] == capability[0] and not {made_for, capability} & TEGRA
        if made_for == capability or (made_for < capability and (kind == "compute" or family)):
            return True
    return False
