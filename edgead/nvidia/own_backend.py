"""A CUDA device's memory by edgead's own module."""

from __future__ import annotations

from typing import Any

from edgead.errors import DeviceError
from edgead.nvidia.backend import CPU_SERVES, NativeDevice, says_no_memory
from edgead.nvidia.devices import load_driver
from edgead.nvidia.kernels import import_kernels

_NO_DEVICE, _OLD_DRIVER = 100, 35  # cudaErrorNoDevice, cudaErrorInsufficientDriver


class OwnBackend:
    """edgead.nvidia._cuda, which has the CUDA runtime in it."""

    name = "edgead's own"
    failures: tuple[type[Exception], ...] = (RuntimeError,)

    def __init__(self) -> None:
        self._cuda: Any = import_kernels()

    def count(self) -> int:
        """See ``Backend``."""
        code, text = self._cuda.status()
        if code == 0:
            return int(self._cuda.device_count())
        said = f"{text} (error {code})"
        if code == _NO_DEVICE:
            raise DeviceError(
                f"NVIDIA's driver finds no GPU: {said}: see what nvidia-smi says; in a container, "
                f"give it the GPU; {CPU_SERVES}"
            )
        if code != _OLD_DRIVER:
            raise DeviceError(
                f"NVIDIA's driver does not start: {said}: see what nvidia-smi says; in a "
                f"container, give it the GPU; {CPU_SERVES}"
            )
        try:
            load_driver()
        except OSError as error:
            raise DeviceError(
                f"NVIDIA's driver is not installed (libcuda.so.1): install it, and see that "
                f"nvidia-smi finds the GPU; {CPU_SERVES}"
            ) from error
        raise DeviceError(
            f"edgead's CUDA kernels, built for {self._cuda.ARCHITECTURES}, cannot be used: {said}: "
            f"install a newer driver, or edgead with an older CUDA; {CPU_SERVES}"
        )

    def open(self, index: int) -> NativeDevice:
        """See ``Backend``."""
        device: NativeDevice = self._cuda.Device(index)
        return device

    def no_memory(self, error: Exception) -> bool:
        """See ``Backend``."""
        return says_no_memory(error)

    def release(self, device: NativeDevice) -> None:
        """See ``Backend``: the context goes with the process."""
