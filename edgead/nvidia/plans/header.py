"""The first bytes of a plan: which TensorRT wrote it. Plans are kept plain, as trtexec reads them.

    0   "ftrt" (TensorRT) or "vtrt" (TensorRT-RTX)
    16  RTX: size of the whole plan, uint64
    24  version of the library: major, minor, patch, build, a byte each, where bytes 4 to 7 are 0

Source: NVIDIA's developer guide for the version; the rest seen in plans of TensorRT-RTX 1.7.1. Read
for messages: whether a plan is sound is known by its digest, and said by TensorRT when it loads it.
A version only warns: TensorRT may load plans of another one that were built to be compatible.
"""

from __future__ import annotations

from typing import NamedTuple

from edgead.errors import DeviceError
from edgead.nvidia.plans.library import NAMES, OLDEST, Library

HEADER_BYTES = 32
_FLAVOURS = {b"ftrt": "tensorrt", b"vtrt": "rtx"}
_NEWEST_MAJOR = 40  # far above what there is; more means that these bytes are no version
AGAIN = "build it again on this machine: edgead build NAME.edgead"


class PlanHeader(NamedTuple):
    """What the first bytes say."""

    flavour: str
    version: tuple[int, int, int] | None  # (major, minor, patch); None where the bytes are none
    size: int | None  # RTX only


def read_header(data: bytes, where: str) -> PlanHeader:
    """Read the header of a plan; ``where`` names it in messages.

    Raises:
        DeviceError: not a plan, or too short to be one.
    """
    if len(data) < HEADER_BYTES:
        raise DeviceError(
            f"{where} is not a plan or was truncated: {len(data)} bytes, fewer than a "
            f"header has; {AGAIN}"
        )
    flavour = _FLAVOURS.get(data[:4])
    if flavour is None:
        hint = ""
        if any(tag in data[: 1 << 16] for tag in _FLAVOURS):
            hint = " (one seems to follow after other data, as some exporters write: cut that off)"
        raise DeviceError(f"{where} is not a plan of TensorRT{hint}; {AGAIN}")
    major, minor, patch = data[24:27]
    sane = OLDEST[flavour][0] <= major <= _NEWEST_MAJOR and not any(data[4:8])
    size = int.from_bytes(data[16:24], "little") if flavour == "rtx" else None
    return PlanHeader(flavour, (major, minor, patch) if sane else None, size)


def check_header(data: bytes, library: Library, where: str) -> None:
    """Hold a plan's header against the library that is to load it.

    Raises:
        DeviceError: not a plan, of the other flavour, or truncated.
    """
    header = read_header(data, where)
    if header.flavour != library.flavour:
        raise DeviceError(
            f"{where} is a plan of {NAMES[header.flavour]}, and here runs {library}; "
            f"use that library, or {AGAIN}"
        )
    if header.size is not None and header.size != len(data):
        raise DeviceError(
            f"{where} was truncated or altered: {len(data)} bytes, and its header says "
            f"{header.size}; copy it again, or {AGAIN}"
        )


def said_by_header(data: bytes, library: Library) -> str:
    """ " (its header says TensorRT 10.4.0)" where that is not the library's version, else nothing:
    for the message when TensorRT does not load the plan."""
    version = read_header(data, "the plan").version
    if version is None or version == library.version[:3]:
        return ""
    return f" (its header says {NAMES[library.flavour]} {'.'.join(map(str, version))})"
