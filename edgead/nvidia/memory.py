"""A CUDA device by PyCUDA: its memory, pinned host memory, streams and copies.

Everything happens in the device's PRIMARY context, the one that TensorRT, torch and the CUDA
runtime use too. A context is current only inside ``with memory.current()``, on top of whatever the
thread had, which comes back afterwards; everything but ``current`` and ``free`` is called inside.

Raises:
    DeviceError: memory runs out.
    DeviceLostError: whatever else CUDA says.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DeviceError, DeviceLostError

Bytes = NDArray[np.uint8]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for others' work on the default stream
_OUT_OF_MEMORY = re.compile(r"\(error 2\)")


def open_memory(index: int) -> Memory:
    """The device ``cuda:index``; one object for the life of the process.

    Its primary context is retained until then: the CUDA runtime in TensorRT and edgead's kernels
    holds on to it anyway, and PyCUDA leaves one that it releases on the thread's stack.

    Raises:
        DeviceError: PyCUDA, the driver or the device is missing.
    """
    with _opening:
        if index not in _opened:
            driver, count = _load_driver()
            if not 0 <= index < count:
                there = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
                raise DeviceError(f'device "cuda:{index}": this machine has {there}')
            _opened[index] = Memory(driver, index)
        return _opened[index]


_opening = threading.Lock()
_opened: dict[int, Memory] = {}


@atexit.register  # before edgead.nvidia.pipeline does so: what is registered last runs first
def _release_all() -> None:
    for memory in list(_opened.values()):
        memory.release()


def _load_driver() -> tuple[Any, int]:
    """PyCUDA's module ``driver``, initialised, and the number of devices, at least one."""
    cpu = 'the CPU serves without it: device="cpu"'
    try:
        driver = import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "pycuda":
            raise DeviceError(
                f"PyCUDA is not installed: pip install pycuda, where there is nvcc; {cpu}"
            ) from error
        raise DeviceError(f"PyCUDA cannot be loaded ({error}): install it again") from error
    except ImportError as error:
        raise DeviceError(
            f"PyCUDA cannot be loaded ({error}): is NVIDIA's driver installed? {cpu}"
        ) from error
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise DeviceError(
            f"NVIDIA's driver does not start ({error}): see what nvidia-smi says; in a container, "
            f"give it the GPU; {cpu}"
        ) from error
    if count == 0:
        raise DeviceError(f"NVIDIA's driver finds no GPU; {cpu}")
    return driver, count


class Memory:
    """One device, its memory and streams.

    Attributes:
        name: as in "NVIDIA H100".
        index: N of "cuda:N".
        capability: compute capability, (8, 7) for Orin.
    """

    def __init__(self, driver: Any, index: int) -> None:
        self._driver = driver
        self._process = os.getpid()
        self.index = index
        self.name = f"cuda:{index}"
        with self.errors("opening the device"):
            device = driver.Device(index)
            self.name = " ".join(str(device.name()).split())
            major, minor = device.compute_capability()
            self.capability = (int(major), int(minor))
            # Device and host share their memory, as on a Jetson.
            self._integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context = device.retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device's context current, for the ``with`` block."""
        if self.lost_by_fork():
            raise DeviceError(
                f"cuda:{self.index} cannot be used in a forked process, as CUDA was started before "
                'the fork: start processes with multiprocessing\'s "spawn", or make the first '
                "Detector on a GPU after the fork"
            )
        with self.errors("making the context current"):
            self._context.push()
        try:
            yield
        finally:
            with self.errors("giving the context back"):
                self._driver.Context.pop()

    def lost_by_fork(self) -> bool:
        """Whether this is a fork of the process that opened the device."""
        return os.getpid() != self._process

    def allocate(self, count: int) -> Block:
        """``count`` bytes of device memory."""
        with self.errors(f"allocating {count / 1e6:.1f} MB"):
            return Block(self, self._driver.mem_alloc(count))

    def free_bytes(self) -> int:
        """Bytes of device memory that nobody has."""
        with self.errors("asking for free memory"):
            return int(self._driver.mem_get_info()[0])

    def pinned(self, count: int) -> Pinned:
        """``count`` bytes of pinned host memory, mapped where the device is integrated."""
        flags = self._driver.host_alloc_flags.DEVICEMAP if self._integrated else 0
        with self.errors(f"allocating {count / 1e6:.1f} MB of pinned host memory"):
            array = self._driver.pagelocked_empty(count, np.uint8, mem_flags=flags)
            address = int(array.base.get_device_pointer()) if flags else None
            return Pinned(self, array, address)

    def stream(self) -> Stream:
        """A new stream."""
        with self.errors("making a stream"):
            return Stream(self, self._driver)

    def read(self, source: int, count: int) -> Bytes:
        """Copy from the device to the host, at once, after the work of blocking streams."""
        found = np.empty(count, np.uint8)
        with self.errors("copying to the host"):
            self._driver.memcpy_dtoh(found, source)
        return found

    def release(self) -> None:
        """Let go of the context when the process ends: PyCUDA itself would detach a primary one,
        which is an error."""
        if not self.lost_by_fork():
            with suppress(self._driver.Error):
                self._context.detach()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what PyCUDA and edgead.nvidia._cuda (RuntimeError with "(error N)") raise inside the
        block into sentences about ``doing``."""
        try:
            yield
        except (self._driver.Error, RuntimeError) as error:
            if isinstance(error, self._driver.MemoryError) or (
                not isinstance(error, self._driver.Error) and _OUT_OF_MEMORY.search(str(error))
            ):
                raise self._out_of_memory(doing) from error
            said = str(error).removeprefix("CUDA: ")
            raise DeviceLostError(
                f"cuda:{self.index} ({self.name}) failed when {doing}: {said}; make a new "
                "Detector; if that fails too, start the process again: some errors end CUDA for a "
                "process"
            ) from error

    def _out_of_memory(self, doing: str) -> DeviceError:
        try:
            free, total = self._driver.mem_get_info()
            state = f"{free / 1e6:.0f} of {total / 1e6:.0f} MB are free"
        except self._driver.Error:
            state = "how much is free is not known"
        return DeviceError(
            f"cuda:{self.index} ({self.name}) is out of memory when {doing}; {state}: close other "
            "programs and Detectors, use fewer threads or smaller frames"
        )


class _Owned:
    """Something of PyCUDA that has to be let go while its context is current, in any thread."""

    def __init__(self, memory: Memory, thing: Any) -> None:
        self._memory = memory
        self._thing = thing

    def free(self) -> None:
        """Give it back, from any thread; a second call does nothing."""
        if self._thing is not None:
            with self._memory.current():
                self._thing = None

    def __del__(self) -> None:
        if not sys.is_finalizing():  # else the driver takes it all back
            # Of a device that is lost nothing can be freed; its memory went with it.
            with suppress(Exception):
                self.free()


class Block(_Owned):
    """Memory of the device at ``address``, at least 256-byte aligned, freed with the object."""

    def __init__(self, memory: Memory, allocation: Any) -> None:
        super().__init__(memory, allocation)
        self.address = int(allocation)


class Pinned(_Owned):
    """Page-locked host memory, freed with the object and the views of ``array``.

    ``address``: where an integrated device (Jetson) reaches it without a copy, else None.
    """

    def __init__(self, memory: Memory, array: Bytes, address: int | None) -> None:
        super().__init__(memory, array)
        self.address = address

    @property
    def array(self) -> Bytes:
        """Its bytes."""
        array: Bytes = self._thing
        return array


class Stream(_Owned):
    """A stream that waits for no other, its CUstream in ``handle``. What is enqueued is done only
    after ``synchronize``."""

    def __init__(self, memory: Memory, driver: Any) -> None:
        super().__init__(memory, driver.Stream(_NON_BLOCKING))
        self._driver = driver
        self.handle = int(self._thing.handle)

    def upload(self, to: int, source: Bytes) -> None:
        """Enqueue a copy from pinned memory to the device."""
        with self._memory.errors("copying to the device"):
            self._driver.memcpy_htod_async(to, source, self._thing)

    def download(self, to: Bytes, source: int) -> None:
        """Enqueue a copy from the device to the host."""
        with self._memory.errors("copying to the host"):
            self._driver.memcpy_dtoh_async(to, source, self._thing)

    def copy(self, to: int, source: int, count: int) -> None:
        """Enqueue a copy of ``count`` bytes on the device."""
        with self._memory.errors("copying on the device"):
            self._driver.memcpy_dtod_async(to, source, count, self._thing)

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""
        with self._memory.errors("computing"):
            self._thing.synchronize()
