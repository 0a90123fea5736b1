"""Which GPU this is, as plans are keyed by it; asks the driver, not PyCUDA."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from typing import Any

from edgead.errors import DeviceError

CUDA_SUCCESS = 0
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
_CURE = "install NVIDIA's driver, and see that nvidia-smi (on a Jetson: tegrastats) finds the GPU"


def device_word(
    name: str, capability: tuple[int, int], multiprocessors: int, total_bytes: int
) -> str:
    """A GPU as plans are keyed by it: "Orin sm_87 8 SM 7 GiB".

    All modules of a family may have one name, and a plan is tuned for the one that it was built on:
    its multiprocessors and its memory, in whole GiB (a driver sets some MiB of it aside).

    Args:
        capability: (major, minor).
    """
    memory = int(total_bytes / 2**30 + 0.5)
    return "{} sm_{}{} {} SM {} GiB".format(
        " ".join(name.split()), *capability, multiprocessors, memory
    )


def capability_of(word: str) -> int | None:
    """The number behind sm_ in a device's word: 87; None where there is none."""
    found = re.search(r"\bsm_(\d+)\b", word)
    return int(found[1]) if found else None


def find_device(index: int = 0) -> str:
    """The ``device_word`` of the GPU ``index``.

    Raises:
        DeviceError: there is no driver or no such GPU.
    """
    cuda = _driver()
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= index < count.value:
        raise DeviceError(f"GPU {index}: the driver finds {count.value}, counted from 0; {_CURE}")
    device = _handle(cuda, index)
    name = ctypes.create_string_buffer(256)
    _call(cuda, "cuDeviceGetName", name, len(name), device)
    found = []
    for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS):
        value = ctypes.c_int()
        _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        found.append(value.value)
    total = ctypes.c_size_t()
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
    major, minor, multiprocessors = found
    named = name.value.decode(errors="replace")
    return device_word(named, (major, minor), multiprocessors, total.value)


@contextlib.contextmanager
def current_device(index: int) -> Iterator[None]:
    """Make the primary context of GPU ``index`` current, so that TensorRT builds for it.

    Raises:
        DeviceError: there is no driver or no such GPU.
    """
    cuda = _driver()
    device = _handle(cuda, index)
    context = ctypes.c_void_p()
    _call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        _call(cuda, "cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def load_driver() -> Any:
    """The driver's library; OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


def _driver() -> Any:
    try:
        cuda = load_driver()
    except OSError as error:
        raise DeviceError(f"there is no NVIDIA driver (libcuda.so.1): {_CURE}") from error
    _call(cuda, "cuInit", 0)
    return cuda


def _handle(cuda: Any, index: int) -> ctypes.c_int:
    device = ctypes.c_int()
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    return device


def _call(cuda: Any, function: str, *arguments: Any) -> None:
    code = getattr(cuda, function)(*arguments)
    if code != CUDA_SUCCESS:
        raise DeviceError(f"NVIDIA's driver fails ({function}: error {code}); {_CURE}")
