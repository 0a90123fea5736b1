"""What is asked of a library that gives a device its memory: edgead's own module, or PyCUDA."""

from __future__ import annotations

from typing import Any, Protocol

VARIABLE = "EDGEAD_CUDA_MEMORY"
CPU_SERVES = 'the CPU serves without it: device="cpu"'


class NativeStream(Protocol):
    """A stream that waits for no other; ``handle`` is its CUstream. ``source`` and ``to`` are
    C-contiguous, or addresses on the device."""

    handle: int

    def upload(self, to: int, source: Any) -> None:
        """Enqueue a copy to the device."""

    def download(self, to: Any, source: int) -> None:
        """Enqueue a copy to the host."""

    def copy(self, to: int, source: int, count: int) -> None:
        """Enqueue a copy of ``count`` bytes on the device."""

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""


class NativeDevice(Protocol):
    """A device whose primary context is retained. All but ``enter`` and ``leave`` is called inside.

    What they give is let go with the object, in that context, whichever thread does it.
    """

    name: str
    capability: tuple[int, int]
    integrated: bool  # memory is that of the host, as on a Jetson
    multiprocessors: int
    total_bytes: int

    def enter(self) -> Any:
        """Make the context the thread's; gives what ``leave`` needs."""

    def leave(self, before: Any) -> None:
        """Give the thread back what it had."""

    def memory_info(self) -> tuple[int, int]:
        """Bytes that are free, and all."""

    def allocate(self, count: int) -> Any:
        """Memory of the device; ``address``."""

    def pinned(self, count: int) -> Any:
        """Page-locked host memory, mapped where the device is integrated: a buffer, and
        ``address`` on the device or None."""

    def registered(self, memory: Any) -> Any:
        """Page-lock a buffer that is there; ``address`` as of ``pinned``."""

    def stream(self) -> NativeStream:
        """A new stream."""

    def read(self, to: Any, source: int) -> None:
        """Copy to the host at once, after the work of blocking streams."""


class Backend(Protocol):
    """A library that opens devices; ``failures``: what it raises when CUDA says no."""

    name: str
    failures: tuple[type[Exception], ...]

    def count(self) -> int:
        """Devices of this machine, at least one; DeviceError where none can be used."""

    def open(self, index: int) -> NativeDevice:
        """Retain the device's primary context."""

    def no_memory(self, error: Exception) -> bool:
        """Whether one of ``failures`` says that memory ran out."""

    def release(self, device: NativeDevice) -> None:
        """When the process ends."""


def says_no_memory(error: Exception) -> bool:
    """Whether edgead.nvidia._cuda says that memory ran out."""
    return "(error 2)" in str(error)
