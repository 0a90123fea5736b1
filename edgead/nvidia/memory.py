"""A CUDA device: its memory, pinned host memory, streams and copies.

Everything happens in the device's PRIMARY context, the one that TensorRT, torch and the CUDA
runtime use too. A context is current only inside ``with memory.current()``; what the thread had
comes back afterwards. Everything but ``current`` and ``free`` is called inside.

Raises:
    DeviceError: memory runs out.
    DeviceLostError: whatever else CUDA says.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DeviceError, DeviceLostError
from edgead.nvidia.backend import VARIABLE, Backend, NativeStream
from edgead.nvidia.devices import device_word
from edgead.nvidia.own_backend import OwnBackend

Bytes = NDArray[np.uint8]


def open_memory(index: int) -> Memory:
    """The device ``cuda:index``; one object for the life of the process.

    Its primary context is retained until then: the CUDA runtime in TensorRT and edgead's kernels
    holds on to it anyway.

    Raises:
        DeviceError: edgead's CUDA module, the driver or the device is missing.
    """
    with _opening:
        if index not in _opened:
            backend = find_backend()
            count = backend.count()
            if not 0 <= index < count:
                there = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
                raise DeviceError(f'device "cuda:{index}": this machine has {there}')
            _opened[index] = Memory(backend, index)
        return _opened[index]


def find_backend() -> Backend:
    """The backend that ``EDGEAD_CUDA_MEMORY`` names, edgead's own where it is not set.

    PyCUDA keeps a stack of contexts of its own, which a fault on the device can leave in disorder,
    up to ending the process: it serves only by name.

    Raises:
        DeviceError: another word, or the backend is missing.
    """
    word = os.environ.get(VARIABLE, "")
    if word in ("", "edgead"):
        return OwnBackend()
    if word == "pycuda":
        # Loaded here: without EDGEAD_CUDA_MEMORY=pycuda it need not be installed.
        from edgead.nvidia.pycuda_backend import PyCudaBackend

        return PyCudaBackend()
    raise DeviceError(f'{VARIABLE}={word!r}: expected "edgead" or "pycuda", or leave it unset')


_opening = threading.Lock()
_opened: dict[int, Memory] = {}


@atexit.register  # before edgead.nvidia.pipeline does so: what is registered last runs first
def _release_all() -> None:
    for memory in list(_opened.values()):
        memory.release()


class Memory:
    """One device, its memory and streams.

    Attributes:
        name: as in "NVIDIA H100".
        index: N of "cuda:N".
        capability: compute capability, (8, 7) for Orin.
        integrated: device and host share their memory, as on a Jetson.
        multiprocessors: how many there are: two modules of one name differ in it.
        total_bytes: of device memory.
    """

    def __init__(self, backend: Backend, index: int) -> None:
        self._backend = backend
        self._process = os.getpid()
        self.index = index
        self.name = f"cuda:{index}"
        with self.errors("opening the device"):
            device = self._device = backend.open(index)
            self.name = " ".join(device.name.split())
            major, minor = device.capability
            self.capability = (int(major), int(minor))
            self.integrated = device.integrated
            self.multiprocessors = device.multiprocessors
            self.total_bytes = device.total_bytes

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device's context current, for the ``with`` block.

        An error on the way out is of work that was enqueued before. It is raised, unless the block
        itself failed and has its own to tell.
        """
        if self.lost_by_fork():
            raise DeviceError(
                f"cuda:{self.index} cannot be used in a forked process, as CUDA was started before "
                'the fork: start processes with multiprocessing\'s "spawn", or make the first '
                "Detector on a GPU after the fork"
            )
        with self.errors("making the context current"):
            before = self._device.enter()
        try:
            yield
        except BaseException:
            with suppress(*self._backend.failures):
                self._device.leave(before)
            raise
        with self.errors("giving the context back"):
            self._device.leave(before)

    @property
    def word(self) -> str:
        """See ``device_word``."""
        return device_word(self.name, self.capability, self.multiprocessors, self.total_bytes)

    def lost_by_fork(self) -> bool:
        """Whether this is a fork of the process that opened the device."""
        return os.getpid() != self._process

    def allocate(self, count: int) -> Block:
        """``count`` bytes of device memory."""
        with self.errors(f"allocating {count / 1e6:.1f} MB"):
            return Block(self._device.allocate(count))

    def free_bytes(self) -> int:
        """Bytes of device memory that nobody has."""
        with self.errors("asking for free memory"):
            return int(self._device.memory_info()[0])

    def pinned(self, count: int) -> Pinned:
        """``count`` bytes of pinned host memory, mapped where the device is integrated."""
        with self.errors(f"allocating {count / 1e6:.1f} MB of pinned host memory"):
            return Pinned(self._device.pinned(count))

    def registered(self, memory: Bytes) -> Pinned:
        """Page-lock host memory that is there, as ``pinned``, until the object goes."""
        with self.errors(f"page-locking {memory.nbytes / 1e6:.1f} MB"):
            return Pinned(self._device.registered(memory), memory)

    def stream(self) -> Stream:
        """A new stream."""
        with self.errors("making a stream"):
            return Stream(self, self._device.stream())

    def read(self, source: int, count: int) -> Bytes:
        """Copy from the device to the host, at once, after the work of blocking streams."""
        found = np.empty(count, np.uint8)
        with self.errors("copying to the host"):
            self._device.read(found, source)
        return found

    def release(self) -> None:
        """Let go of the context when the process ends."""
        if not self.lost_by_fork():
            self._backend.release(self._device)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what the backend and edgead's kernels (RuntimeError with "(error N)") raise inside
        the block into sentences about ``doing``."""
        try:
            yield
        except self._backend.failures as error:
            if self._backend.no_memory(error):
                raise self._out_of_memory(doing) from error
            said = str(error).removeprefix("CUDA: ")
            raise DeviceLostError(
                f"cuda:{self.index} ({self.name}) failed when {doing}: {said}; make a new "
                "Detector; if that fails too, start the process again: some errors end CUDA for a "
                "process"
            ) from error

    def _out_of_memory(self, doing: str) -> DeviceError:
        try:
            free, total = self._device.memory_info()
            state = f"{free / 1e6:.0f} of {total / 1e6:.0f} MB are free"
        except self._backend.failures:
            state = "how much is free is not known"
        return DeviceError(
            f"cuda:{self.index} ({self.name}) is out of memory when {doing}; {state}: close other "
            "programs and Detectors, use fewer threads or smaller frames"
        )


class Block:
    """Memory of the device at ``address``, at least 256-byte aligned, freed with the object."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.address = int(native.address)

    def free(self) -> None:
        """Give it back, from any thread; a second call does nothing."""
        self._native = None


class Pinned:
    """Page-locked host memory, freed with the object and the views of ``array``.

    ``address``: where an integrated device (Jetson) reaches it without a copy, else None.
    """

    def __init__(self, native: Any, array: Bytes | None = None) -> None:
        self._native = native
        self.address: int | None = native.address
        self.array: Bytes = np.asarray(native) if array is None else array


class Stream:
    """A stream that waits for no other, its CUstream in ``handle``. What is enqueued is done only
    after ``synchronize``."""

    def __init__(self, memory: Memory, native: NativeStream) -> None:
        self._memory, self._native = memory, native
        self.handle = int(native.handle)

    def upload(self, to: int, source: Bytes) -> None:
        """Enqueue a copy from pinned memory to the device."""
        with self._memory.errors("copying to the device"):
            self._native.upload(to, source)

    def download(self, to: Bytes, source: int) -> None:
        """Enqueue a copy from the device to the host."""
        with self._memory.errors("copying to the host"):
            self._native.download(to, source)

    def copy(self, to: int, source: int, count: int) -> None:
        """Enqueue a copy of ``count`` bytes on the device."""
        with self._memory.errors("copying on the device"):
            self._native.copy(to, source, count)

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""
        with self._memory.errors("computing"):
            self._native.synchronize()
