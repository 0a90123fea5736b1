"""Distances of a frame's features to the memories of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory
from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, InputError
from edgead.nearest import Nearest, NearestMemory

F32 = NDArray[np.float32]

ONLY_ON_THE_CPU = (
    "the bundle compares with a memory of good parts, which is served on the CPU so far: use "
    'device="cpu"'
)


@dataclass(frozen=True)
class OpenedMemory:
    """A memory in its index, which all threads share, and what each position counts."""

    entry: Memory
    index: NearestMemory
    shown: F32  # [height, width], what a distance counts in the map
    scored: F32 | None  # the same in the score
    shares: F32 | None

    def distances(self) -> MemoryDistances:
        """What computes the distances of one thread's frames."""
        return MemoryDistances(self)


def open_memories(bundle: Bundle) -> tuple[OpenedMemory, ...]:
    """Read the memories of a bundle.

    Args:
        bundle: its files are read, and their digests checked, once.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_open(bundle, entry) for entry in bundle.manifest.memories)


class MemoryDistances:
    """The distances of one thread's frames to one memory."""

    def __init__(self, memory: OpenedMemory) -> None:
        entry = memory.entry
        self._shares, self._channels = memory.shares, np.float32(entry.channels)
        weights = (1 / entry.neighbours,) * entry.neighbours
        self._nearest = Nearest(memory.index, entry.size, weights=weights)
        self._shared = (
            None
            if memory.shares is None
            else np.empty((1, entry.channels, *entry.size), np.float32)
        )

    def run(self, features: F32, out: F32) -> None:
        """Write the mean squared differences of a frame.

        Args:
            features: [1, C, H, W], as ``Session.features`` has them.
            out: [1, H, W].
        """
        if self._shared is not None and self._shares is not None:
            features = np.multiply(features, self._shares, out=self._shared)
        self._nearest.run(features, out)
        out /= self._channels


def _open(bundle: Bundle, entry: Memory) -> OpenedMemory:
    kept = bundle.read_array(entry.file)
    if kept.ndim != 2 or kept.shape[1] != entry.channels or kept.dtype.name == "int8":
        raise bundle.unlike(entry.file, kept, f"[rows, {entry.channels}], float32 or float16")
    shown = bundle.read_places(entry.places, entry.size)
    scored, shares = (
        None if name is None else bundle.read_places(name, entry.size)
        for name in (entry.scored, entry.shares)
    )
    if entry.neighbours > len(kept):
        raise bundle.unlike(entry.file, kept, f"at least {entry.neighbours} rows")
    try:
        index = NearestMemory(np.ascontiguousarray(kept))
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.file}: {error}") from error
    return OpenedMemory(entry, index, shown, scored, shares)
