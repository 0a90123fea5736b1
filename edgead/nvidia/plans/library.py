"""Which TensorRT there is: the full one of a device, or TensorRT-RTX of desktop GPUs."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass
from importlib.util import find_spec

from edgead.errors import DeviceError, InputError
from edgead.installation import cure, two_tensorrts
from edgead.nvidia.plans.api import TensorRT
from edgead.nvidia.plans.log import clean

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""Flavour to module; the first that is usable is taken when none is asked for."""

OLDEST = {"tensorrt": (8, 5), "rtx": (1, 0)}
"""8.5 is the first with I/O tensors by name, and what JetPack 5 has."""

NAMES = {"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}
EXTRA_OF = {"tensorrt": "nvidia-cu13", "rtx": "rtx"}


@dataclass(frozen=True)
class Library:
    """A TensorRT that was imported."""

    flavour: str  # "tensorrt" or "rtx"
    version: tuple[int, ...]
    module: TensorRT

    @property
    def version_text(self) -> str:
        """The version as people write it: "10.3.0.26"."""
        return ".".join(map(str, self.version))

    def __str__(self) -> str:
        return f"{NAMES[self.flavour]} {self.version_text}"


def find_library(flavour: str | None = None) -> Library:
    """Import TensorRT.

    Args:
        flavour: "tensorrt" or "rtx"; None for the first that is usable.

    Raises:
        InputError: another flavour.
        DeviceError: not installed, does not load or is too old, for each that was tried.
    """
    if flavour is not None and flavour not in MODULES:
        raise InputError(f"flavour {flavour!r}: expected one of {', '.join(MODULES)}")
    reasons = []
    for name in MODULES if flavour is None else (flavour,):
        try:
            return _load(name)
        except DeviceError as error:
            reasons.append(error)
    raise DeviceError("; ".join(map(str, reasons))) from reasons[0]


def installed(flavour: str) -> bool:
    """Whether the module is there; it is not imported, so it may still fail to load."""
    return find_spec(MODULES[flavour]) is not None


def _load(flavour: str) -> Library:
    name, module_name = NAMES[flavour], MODULES[flavour]
    if not installed(flavour):
        raise DeviceError(
            f"{name} is not installed (no module {module_name}): {cure(EXTRA_OF[flavour])}"
            + ("; a Jetson has it from JetPack" if flavour == "tensorrt" else "")
        )
    try:
        module: TensorRT = importlib.import_module(module_name)
        text = str(module.__version__)
    except Exception as error:  # the loader of a native library raises whatever it likes
        said = clean(f"{type(error).__name__}: {error}")
        if flavour == "tensorrt" and (two := two_tensorrts()) is not None:
            raise DeviceError(f"{two[0]} ({said}); {two[1]}") from error
        raise DeviceError(
            f"{name} is installed and does not load: {said}; "
            f"see that its libraries and NVIDIA's driver belong together, or install it again: "
            f"{cure(EXTRA_OF[flavour])}"
        ) from error
    version = parse_version(text)
    if version < OLDEST[flavour]:
        oldest = ".".join(map(str, OLDEST[flavour]))
        raise DeviceError(
            f"{name} {text} is too old; edgead needs {oldest} or newer: {cure(EXTRA_OF[flavour])}"
            + ("; on a Jetson: JetPack 5.1 or newer" if flavour == "tensorrt" else "")
        )
    return Library(flavour, version, module)


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: "10.3.0.post12.dev1" gives (10, 3, 0)."""
    return tuple(map(int, itertools.takewhile(str.isdecimal, text.split("."))))
