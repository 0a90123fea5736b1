"""What TensorRT's error lines mean for the person who reads them, and the cure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgead.nvidia.plans.header import AGAIN
from edgead.nvidia.plans.library import Library

_NO_DRIVER = re.compile(
    r"cudaError 35\b|driver version is insufficient|no CUDA-capable device|cudaError 100\b"
    r"|CUDA initialization failure"
)
_NO_MEMORY = re.compile(r"out of memory|OutOfMemory|MEM_ALLOC_FAILED|cudaError 2\b", re.IGNORECASE)
_FALLS_OUTSIDE = re.compile(r"Cannot compile operation '([^']+)' for (\w+) \(SM(\d+)\): ([^.]+)\.")
_ELSEWHERE = {
    "rtx": "leave --device out to build ahead of time",
    "tensorrt": "build on the device itself, or ahead of time for desktop GPUs: --flavour rtx",
}
_OTHER_DEVICE = re.compile(r"incompatible device|compute capability|different (?:GPU|device)")


def no_device(errors: Sequence[str]) -> bool:
    """Whether the first error line says that there is no driver or no GPU: without one, TensorRT
    adds a line about that to every other failure too."""
    return bool(errors) and bool(_NO_DRIVER.search(errors[0]))


def reason_of(errors: Sequence[str], library: Library) -> str:
    """One sentence from error lines, oldest first: the cause that is known with its cure, else the
    first line as it stands."""
    text = "\n".join(errors)
    outside = _FALLS_OUTSIDE.search(text)
    if outside is not None:
        node, family, capability, why = outside.groups()
        return (
            f"node {node!r} has no kernel on sm_{capability} ({family}): {why}; leave sm_"
            f"{capability} out of --device, or build with the full TensorRT on that GPU"
        )
    if _NO_MEMORY.search(text):
        return (
            "out of device memory; stop what else uses the GPU, or bound the build, as with "
            "--workspace 512"
        )
    if no_device(errors) or not errors:
        cause = (
            "no usable NVIDIA driver or GPU here" if errors else "no reason given, as without a GPU"
        )
        cure = f"install the driver (edgead doctor looks for it), or {_ELSEWHERE[library.flavour]}"
        return f"{cause}; {cure}"
    if _OTHER_DEVICE.search(text):
        return f"the plan is for another GPU ({errors[0]}); build it on this one: edgead build"
    return errors[0]


def load_reason(errors: Sequence[str]) -> str:
    """As ``reason_of``, for a plan that a GPU which is there did not load; else the last line."""
    text = "\n".join(errors)
    if _NO_MEMORY.search(text):
        return (
            "out of device memory; close other programs and Detectors, or bound the scratch memory "
            "(edgead build NAME.edgead --workspace 512) and name that plan with plan="
        )
    if no_device(errors):
        return f"{errors[0]}; install a newer driver, or an older TensorRT"
    return f"{errors[-1] if errors else 'it does not say why'}; {AGAIN}"
