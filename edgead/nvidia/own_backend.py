"""A CUDA device's memory by edgead's own module."""

from __future__ import annotations

from typing import Any

from edgead.nvidia.backend import NativeDevice, says_no_memory
from edgead.nvidia.kernels import check_driver, import_kernels


class OwnBackend:
    """edgead.nvidia._cuda, which has the CUDA runtime in it."""

    name = "edgead's own"
    failures: tuple[type[Exception], ...] = (RuntimeError,)

    def __init__(self) -> None:
        self._cuda: Any = import_kernels()

    def count(self) -> int:
        """See ``Backend``."""
        check_driver(self._cuda)
        return int(self._cuda.device_count())

    def open(self, index: int) -> NativeDevice:
        """See ``Backend``."""
        device: NativeDevice = self._cuda.Device(index)
        return device

    def no_memory(self, error: Exception) -> bool:
        """See ``Backend``."""
        return says_no_memory(error)

    def release(self, device: NativeDevice) -> None:
        """See ``Backend``: the context goes with the process."""
