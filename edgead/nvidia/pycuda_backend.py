"""A CUDA device's memory by PyCUDA, for ``EDGEAD_CUDA_MEMORY=pycuda``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from edgead.errors import DeviceError
from edgead.nvidia.backend import CPU_SERVES, VARIABLE, NativeDevice, says_no_memory

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for others' work on the default stream


class PyCudaBackend:
    """See ``Backend``."""

    name = "PyCUDA"

    def __init__(self) -> None:
        self._driver, self._count = _load_driver()
        self.failures: tuple[type[Exception], ...] = (self._driver.Error, RuntimeError)

    def count(self) -> int:
        """See ``Backend``."""
        return self._count

    def open(self, index: int) -> NativeDevice:
        """See ``Backend``."""
        return PyCudaDevice(self._driver, index)

    def no_memory(self, error: Exception) -> bool:
        """See ``Backend``."""
        return isinstance(error, self._driver.MemoryError) or says_no_memory(error)

    def release(self, device: NativeDevice) -> None:
        """Let go of the context: PyCUDA itself would detach a primary one, which is an error."""
        with suppress(self._driver.Error):
            device.context.detach()  # type: ignore[attr-defined]


class PyCudaDevice:
    """See ``NativeDevice``."""

    def __init__(self, driver: Any, index: int) -> None:
        self._driver, self.process = driver, os.getpid()
        device = driver.Device(index)
        attribute = driver.device_attribute
        self.name = str(device.name())
        major, minor = device.compute_capability()
        self.capability = (int(major), int(minor))
        self.integrated = bool(device.get_attribute(attribute.INTEGRATED))
        self.multiprocessors = int(device.get_attribute(attribute.MULTIPROCESSOR_COUNT))
        self.total_bytes = int(device.total_memory())
        self.context = device.retain_primary_context()

    def enter(self) -> Any:
        """See ``NativeDevice``."""
        self.context.push()

    def leave(self, before: Any) -> None:
        """See ``NativeDevice``."""
        self._driver.Context.pop()

    def memory_info(self) -> tuple[int, int]:
        """See ``NativeDevice``."""
        free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def allocate(self, count: int) -> Any:
        """See ``NativeDevice``."""
        return _Held(self, self._driver.mem_alloc(count))

    def pinned(self, count: int) -> Any:
        """See ``NativeDevice``."""
        flags = self._driver.host_alloc_flags.DEVICEMAP if self.integrated else 0
        return _Pinned(self, self._driver.pagelocked_empty(count, np.uint8, mem_flags=flags), flags)

    def registered(self, memory: Any) -> Any:
        """See ``NativeDevice``."""
        raise DeviceError(
            f"PyCUDA page-locks no memory that is there: unset {VARIABLE} for isolate=True"
        )

    def stream(self) -> Any:
        """See ``NativeDevice``."""
        return _Stream(self, self._driver)

    def read(self, to: Any, source: int) -> None:
        """See ``NativeDevice``."""
        self._driver.memcpy_dtoh(to, source)


class _Held:
    """Something of PyCUDA that has to be let go while its context is current."""

    def __init__(self, device: PyCudaDevice, thing: Any) -> None:
        self._device, self._thing = device, thing

    @property
    def address(self) -> int | None:
        return int(self._thing)

    def __del__(self) -> None:
        if sys.is_finalizing() or os.getpid() != self._device.process:
            return  # the driver takes it all back; a fork has no CUDA
        with suppress(Exception):  # of a device that is lost nothing can be freed
            self._device.enter()
            try:
                self._thing = None
            finally:
                self._device.leave(None)


class _Pinned(_Held):
    """Its memory goes with the last array that refers to it."""

    def __init__(self, device: PyCudaDevice, array: Any, mapped: int) -> None:
        super().__init__(device, array)
        self.__array_interface__ = array.__array_interface__
        self._address = int(array.base.get_device_pointer()) if mapped else None

    @property
    def address(self) -> int | None:
        return self._address


class _Stream(_Held):
    """See ``NativeStream``."""

    def __init__(self, device: PyCudaDevice, driver: Any) -> None:
        super().__init__(device, driver.Stream(_NON_BLOCKING))
        self._driver = driver
        self.handle = int(self._thing.handle)

    def upload(self, to: int, source: Any) -> None:
        self._driver.memcpy_htod_async(to, source, self._thing)

    def download(self, to: Any, source: int) -> None:
        self._driver.memcpy_dtoh_async(to, source, self._thing)

    def copy(self, to: int, source: int, count: int) -> None:
        self._driver.memcpy_dtod_async(to, source, count, self._thing)

    def synchronize(self) -> None:
        self._thing.synchronize()


def _load_driver() -> tuple[Any, int]:
    """PyCUDA's module ``driver``, initialised, and the number of devices, at least one."""
    try:
        driver = import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "pycuda":
            raise DeviceError(
                f"{VARIABLE}=pycuda, and PyCUDA is not installed: leave {VARIABLE} unset, or pip "
                "install pycuda, where there is nvcc"
            ) from error
        raise DeviceError(f"PyCUDA cannot be loaded ({error}): install it again") from error
    except ImportError as error:
        raise DeviceError(
            f"PyCUDA cannot be loaded ({error}): is NVIDIA's driver installed? {CPU_SERVES}"
        ) from error
    try:
        driver.init()
        count = int(driver.Device.count())
    except driver.Error as error:
        raise DeviceError(
            f"NVIDIA's driver does not start ({error}): see what nvidia-smi says; in a container, "
            f"give it the GPU; {CPU_SERVES}"
        ) from error
    if count == 0:
        raise DeviceError(f"NVIDIA's driver finds no GPU; {CPU_SERVES}")
    return driver, count
