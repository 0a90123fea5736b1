"""What this machine and this installation offer. Every probe looks; none changes or downloads."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from edgead.cli.console import count
from edgead.cpu.processor import cores, processor_name
from edgead.errors import DeviceError
from edgead.installation import EXTRAS, cure, missing

CUDA_SUCCESS = 0


@dataclass(frozen=True)
class Finding:
    """One line of ``edgead doctor``.

    ``state``: "ok"; "missing" for something optional; "broken" for what scoring needs.
    ``cure``: what to type or do, "" where nothing is to be done.
    """

    name: str
    state: str
    detail: str
    cure: str = ""


def findings() -> list[Finding]:
    """All findings, the needed ones first. Never raises: a probe that fails is a finding."""
    found: list[Finding] = []
    for name, probe in PROBES.items():
        try:
            found += probe()
        except Exception as error:  # a broken package may raise anything at import
            reason = f"{type(error).__name__}: {error}"
            hint = "in a clone of edgead: pip install --force-reinstall ."
            found.append(Finding(name, "broken", reason, hint))
    return found


def _python() -> Iterator[Finding]:
    from edgead.installation import __version__

    yield Finding("edgead", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")


def _processor() -> Iterator[Finding]:
    yield Finding("processor", "ok", f"{processor_name()}, {cores()} cores for this process")


def _numpy() -> Iterator[Finding]:
    import numpy

    yield Finding("numpy", "ok", numpy.__version__)


def _opencv() -> Iterator[Finding]:
    import cv2

    yield Finding("opencv", "ok", cv2.__version__)


def _openvino() -> Iterator[Finding]:
    import openvino

    core = openvino.Core()
    devices = [f"{d} ({core.get_property(d, 'FULL_DEVICE_NAME')})" for d in core.available_devices]
    detail = f"{openvino.__version__.split('-')[0]}, devices: {', '.join(devices) or 'none'}"
    if any(device.startswith("CPU") for device in devices):
        yield Finding("openvino", "ok", detail)
    else:
        yield Finding("openvino", "broken", detail, "pip install --force-reinstall openvino")


def _kernels() -> Iterator[Finding]:
    from edgead.cli.kernels import built

    kinds = built()
    yield Finding("kernels cpu", "ok", f"{kinds['cpu']} instructions")
    if "device:" in kinds["cuda"]:
        yield Finding("kernels cuda", "ok", kinds["cuda"])
    elif kinds["cuda"].startswith("not built"):
        hint = "with nvcc 11.7 or newer, in a clone of edgead: EDGEAD_CUDA=ON pip install ."
        yield Finding("kernels cuda", "missing", kinds["cuda"], hint)
    else:
        hint = "install NVIDIA's driver; the CPU serves without it"
        yield Finding("kernels cuda", "missing", kinds["cuda"], hint)


def _driver() -> Iterator[Finding]:
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        hint = "with an NVIDIA GPU in this machine: install NVIDIA's driver"
        yield Finding("nvidia driver", "missing", "no libcuda.so.1", hint)
        return
    code, number, version = cuda.cuInit(0), ctypes.c_int(), ctypes.c_int()
    if code != CUDA_SUCCESS:
        hint = "see what nvidia-smi says; in a container: give it the GPU"
        yield Finding("nvidia driver", "missing", f"cuInit fails with error {code}", hint)
        return
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(number))
    devices = ", ".join(_device_names(cuda, number.value)) or "no device"
    major, minor = version.value // 1000, version.value % 1000 // 10
    yield Finding("nvidia driver", "ok", f"CUDA up to {major}.{minor}: {devices}")


def _device_names(cuda: ctypes.CDLL, number: int) -> Iterator[str]:
    for index in range(number):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        if cuda.cuDeviceGetName(name, len(name), device) == CUDA_SUCCESS:
            yield name.value.decode(errors="replace")


def _tensorrt() -> Iterator[Finding]:
    from edgead.nvidia.plans.library import EXTRA_OF, MODULES, find_library, installed

    for flavour, module in MODULES.items():
        if not installed(flavour):
            hint = f"to build and run plans on a GPU: {cure(EXTRA_OF[flavour])}"
            yield Finding(module, "missing", "not installed; the CPU serves without it", hint)
            continue
        try:
            yield Finding(module, "ok", f"{find_library(flavour)} builds plans: edgead build")
        except DeviceError as error:
            reason, _, hint = str(error).rpartition("; ")
            yield Finding(module, "missing", reason, hint)


def _pycuda() -> Iterator[Finding]:
    if find_spec("pycuda") is None:
        hint = f"to run plans on a GPU: {cure('nvidia')}"
        yield Finding("pycuda", "missing", "not installed; the CPU serves without it", hint)
    else:
        yield Finding("pycuda", "ok", _version_of("pycuda"))


def _plan_cache() -> Iterator[Finding]:
    from edgead.nvidia.plans.cache import PlanCache, plans_directory

    directory = plans_directory()
    if not os.path.lexists(directory):
        yield Finding("plan cache", "ok", f"{directory}, not made yet")
        return
    try:
        entries = PlanCache(directory).entries()
    except DeviceError as error:
        yield Finding("plan cache", "missing", str(error), "see docs/nvidia.md, the plan cache")
        return
    size = sum(entry.size for entry in entries)
    detail = f"{directory}: {count(len(entries), 'plan')}, {size / 1e6:.1f} MB"
    if os.access(directory, os.W_OK):
        yield Finding("plan cache", "ok", detail)
    else:
        hint = "set EDGEAD_CACHE to a directory that you may write"
        yield Finding("plan cache", "missing", f"{detail}, not writable", hint)


def _auto() -> Iterator[Finding]:
    from edgead.serving.choice import choose

    choice = choose("auto")
    where = "the CPU" if choice.index is None else choice.device
    yield Finding("device auto", "ok", f"{where} ({choice.reason})")


def _extras() -> Iterator[Finding]:
    for extra in EXTRAS:
        absent = missing(extra)
        if absent:
            yield Finding(
                f"extra {extra}", "missing", f"not installed: {', '.join(absent)}", cure(extra)
            )
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(EXTRAS[extra]))


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown version"


PROBES: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": _python,
    "processor": _processor,
    "numpy": _numpy,
    "opencv": _opencv,
    "openvino": _openvino,
    "kernels": _kernels,
    "nvidia driver": _driver,
    "tensorrt": _tensorrt,
    "pycuda": _pycuda,
    "plan cache": _plan_cache,
    "device auto": _auto,
    "extras": _extras,
}
