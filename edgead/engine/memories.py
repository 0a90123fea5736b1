"""Distances of a frame's features to the memories of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, InputError
from edgead.nearest import Blend, Nearest, NearestMemory

_DTYPES = ("float32", "float16")


def only_on_the_cpu(manifest: Manifest) -> str | None:
    """Why no GPU serves a bundle, in a sentence; None where one may.

    Args:
        manifest: of the bundle.
    """
    apart = manifest.scored_size() is not None or any(m.shares for m in manifest.memories)
    if not apart and not manifest.whitenings:
        return None
    return (
        "the bundle compares with what is usual at each place, or at the border, which is served "
        'on the CPU so far: use device="cpu"'
    )


@dataclass(frozen=True)
class OpenedMemory:
    """A memory in its index, which all threads share, and what each position counts."""

    entry: Memory
    index: NearestMemory
    counts: NDArray[np.float32]  # [height, width], of the mean over channels; their root, too
    root: bool  # of the distance: the map's own squares
    scored: NDArray[np.float32] | None = None  # as counts, in the sum of the score
    shares: NDArray[np.float32] | None = None  # [height, width], what features are multiplied by


@dataclass(frozen=True)
class ReadMemory:
    """A memory as the bundle holds it: [rows, channels] float32 or float16, C-contiguous, finite;
    the rest as in ``OpenedMemory``."""

    entry: Memory
    rows: NDArray[Any]
    counts: NDArray[np.float32]
    root: bool
    scored: NDArray[np.float32] | None = None
    shares: NDArray[np.float32] | None = None


def weights_of(entry: Memory) -> tuple[float, ...] | Blend:
    """Of the nearest features, as ``Nearest`` takes them."""
    if entry.temperature is None:
        return (1 / entry.neighbours,) * entry.neighbours
    return Blend(entry.neighbours, entry.channels * entry.temperature)


def open_memories(bundle: Bundle) -> tuple[OpenedMemory, ...]:
    """Read the memories of a bundle.

    Args:
        bundle: its files are read, and their digests checked, once.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_open(bundle, entry) for entry in bundle.manifest.memories)


class MemoryDistances:
    """The distances of one thread's frames, as pairs for anomaly_map: (distance, 0).

    ``far``: of each memory, [1, H, W], before it is told how much it counts.
    """

    def __init__(self, memories: tuple[OpenedMemory, ...]) -> None:
        self._memories = memories
        self._nearest = [
            Nearest(m.index, m.entry.size, weights=weights_of(m.entry), root=m.root)
            for m in memories
        ]
        self.far = [np.zeros((1, *m.entry.size), np.float32) for m in memories]
        self._distances = [np.zeros((1, 1, *m.entry.size), np.float32) for m in memories]
        self._zeros = [np.zeros_like(distance) for distance in self._distances]

    def run(
        self, features: list[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The pairs of one frame; the views are valid until the next ``run``.

        Args:
            features: of each memory, [1, C, H, W], as ``Session.features`` has them.
        """
        parts = zip(features, self._nearest, self.far, self._distances, self._memories, strict=True)
        for values, nearest, far, distance, memory in parts:
            nearest.run(values if memory.shares is None else values * memory.shares, far)
            np.multiply(far, memory.counts, out=distance[0])
        return list(zip(self._distances, self._zeros, strict=True))


def read_memories(bundle: Bundle) -> tuple[ReadMemory, ...]:
    """Read the memories of a bundle for a device.

    Args:
        bundle: its files are read, and their digests checked.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_read(bundle, entry) for entry in bundle.manifest.memories)


def _read(bundle: Bundle, entry: Memory) -> ReadMemory:
    kept, root = bundle.read_array(entry.file), bundle.manifest.map.distance == "l2"
    if kept.ndim != 2 or kept.shape[1] != entry.channels or kept.dtype.name not in _DTYPES:
        raise bundle.unlike(entry.file, kept, f"[rows, {entry.channels}], float32 or float16")
    blended = entry.temperature is not None
    if entry.neighbours > len(kept) and not blended:
        raise bundle.unlike(entry.file, kept, f"at least {entry.neighbours} rows")
    if not np.isfinite(kept).all():
        raise BundleError(
            f"bundle {bundle.path}: {entry.file} holds a NaN or an infinity, expected finite "
            "features: copy the bundle again, or learn it again"
        )
    counts, scored = (
        None if name is None else bundle.read_places(name, entry.size) / np.float32(entry.channels)
        for name in (entry.places, entry.scored)
    )
    if root:
        counts, scored = (None if x is None else np.sqrt(x) for x in (counts, scored))
    shares = None if entry.shares is None else bundle.read_places(entry.shares, entry.size)
    assert counts is not None  # a memory always counts in the map
    return ReadMemory(entry, np.ascontiguousarray(kept), counts, root, scored, shares)


def _open(bundle: Bundle, entry: Memory) -> OpenedMemory:
    read = _read(bundle, entry)
    try:
        index = NearestMemory(read.rows)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.file}: {error}") from error
    return OpenedMemory(entry, index, read.counts, read.root, read.scored, read.shares)
