"""The compiled CUDA kernels, if this device can run them, and the precision around them."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgead.errors import DeviceError

PRECISION = "float16"
"""What a GPU computes in when nothing else is asked for."""


def load_kernels(capability: tuple[int, int]) -> Any:
    """The module ``edgead._cuda``, which a device of this compute capability can run.

    Errors: DeviceError: not built, or not for this driver or device.
    """
    if find_spec("edgead._cuda") is None:
        raise DeviceError(
            "edgead's CUDA kernels were not built here: install edgead where there is nvcc, with "
            "EDGEAD_CUDA=ON pip install --no-binary edgead edgead"
        )
    cuda = import_module("edgead._cuda")
    code, text = cuda.status()
    if code != 0:
        raise DeviceError(
            f"edgead's CUDA kernels, built for {cuda.ARCHITECTURES}, cannot be used: {text} (error "
            f"{code}): install a newer driver, or edgead with an older CUDA"
        )
    built = [(int(n[:-1]), int(n[-1])) for n in re.findall(r"sm_(\d+)", cuda.ARCHITECTURES)]
    major, minor = capability
    # Code runs on later devices of its generation; what is newer than all compiles it for itself.
    if capability <= max(built) and not any(a == major and b <= minor for a, b in built):
        raise DeviceError(
            f"edgead's CUDA kernels were built for {cuda.ARCHITECTURES}, and this GPU is "
            f"sm_{major}{minor}: install edgead where there is nvcc, with EDGEAD_CUDA=ON "
            f"EDGEAD_CUDA_ARCHITECTURES={major}{minor}-real"
        )
    return cuda
