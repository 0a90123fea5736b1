"""What was learnt, read from the files of a bundle and checked, and what frames are from it.

Read, checked and computed by ``csrc/runtime/memory.cpp``, ``whitening.cpp`` and ``signals.cpp``,
which the C library shares. Features of a frame are compared with each memory and whitening of the
bundle; their distances are summed for the map, and in another way for the score.
"""

from __future__ import annotations

from collections.abc import Callable

from edgead import _cpu
from edgead._cpu import OpenedSignals, ReadMemory, ReadWhitening, Signals
from edgead.bundle.storage import Bundle

__all__ = [
    "OpenedSignals",
    "ReadMemory",
    "ReadWhitening",
    "Signals",
    "open_signals",
    "read_memories",
    "read_whitenings",
]

INDEXED = 24
"""Bytes for each value of a memory while it is read and its index made; 13 to 24 were measured, the
most with 24 channels and float32."""


def read_memories(bundle: Bundle) -> tuple[ReadMemory, ...]:
    """Read the memories of a bundle.

    Args:
        bundle: its files are read, and their digests checked.

    Returns:
        For each: ``rows`` [rows, channels] float32 or float16, finite; ``counts`` [height, width],
        what a distance counts in the map; ``scored``, the same in the score, and ``shares``, what
        features are multiplied by, or None. float32 where not said otherwise.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    files = bundle.in_core()
    return tuple(files.read_memory(i) for i in range(len(bundle.manifest.memories)))


def read_whitenings(bundle: Bundle) -> tuple[ReadWhitening, ...]:
    """Read the whitenings of a bundle.

    Args:
        bundle: its files are read, and their digests checked.

    Returns:
        For each: ``mean`` [C, height, width], ``factors`` [regions, C, C], ``centre`` [C, 1, 1] or
        None, ``counts`` and ``scored`` as of a memory, or None. float32.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    files = bundle.in_core()
    return tuple(files.read_whitening(i) for i in range(len(bundle.manifest.whitenings)))


def open_signals(bundle: Bundle, free: Callable[[], int | None] = lambda: None) -> OpenedSignals:
    """Read the memories and whitenings of a bundle, for ``Signals`` of any number of threads.

    Args:
        bundle: its files are read, and their digests checked.
        free: bytes that may be taken; None where that is not known.

    Raises:
        BundleError: a file that is not the array the manifest describes.
        DeviceError: more than is free; says the largest that fits.
    """
    return _cpu.open_signals(bundle.in_core(), free, INDEXED)
