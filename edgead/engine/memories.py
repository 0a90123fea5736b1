"""Distances of a frame's features to the memories of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory
from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, InputError
from edgead.nearest import Blend, Nearest, NearestMemory

_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class OpenedMemory:
    """A memory in its index, which all threads share, and what each position counts."""

    entry: Memory
    index: NearestMemory
    counts: NDArray[np.float32]  # [height, width], of the mean over channels; their root, too
    root: bool  # of the distance: the map's own squares


@dataclass(frozen=True)
class ReadMemory:
    """A memory as the bundle holds it: [rows, channels] float32 or float16, C-contiguous, finite;
    the rest as in ``OpenedMemory``."""

    entry: Memory
    rows: NDArray[Any]
    counts: NDArray[np.float32]
    root: bool


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
    """The distances of one thread's frames, as pairs for anomaly_map: (distance, 0)."""

    def __init__(self, memories: tuple[OpenedMemory, ...]) -> None:
        self._memories = memories
        self._nearest = [
            Nearest(m.index, m.entry.size, weights=weights_of(m.entry), root=m.root)
            for m in memories
        ]
        self._distances = [np.zeros((1, 1, *m.entry.size), np.float32) for m in memories]
        self._zeros = [np.zeros_like(distance) for distance in self._distances]

    def run(
        self, features: list[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The pairs of one frame; the views are valid until the next ``run``.

        Args:
            features: of each memory, [1, C, H, W], as ``Session.features`` has them.
        """
        parts = zip(features, self._nearest, self._distances, self._memories, strict=True)
        for values, nearest, distance, memory in parts:
            nearest.run(values, distance[0])
            distance *= memory.counts
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
    kept, places = bundle.read_array(entry.file), bundle.read_array(entry.places)
    if kept.ndim != 2 or kept.shape[1] != entry.channels or kept.dtype.name not in _DTYPES:
        raise _wrong(bundle, entry.file, kept, f"[rows, {entry.channels}], float32 or float16")
    fits = places.shape == entry.size and places.dtype == np.float32
    if not fits or not np.isfinite(places).all() or places.min() < 0:
        expected = f"{list(entry.size)} float32, finite and not negative"
        raise _wrong(bundle, entry.places, places, expected)
    blended = entry.temperature is not None
    if entry.neighbours > len(kept) and not blended:
        raise _wrong(bundle, entry.file, kept, f"at least {entry.neighbours} rows")
    if not np.isfinite(kept).all():
        raise BundleError(
            f"bundle {bundle.path}: {entry.file} holds a NaN or an infinity, expected finite "
            "features: copy the bundle again, or learn it again"
        )
    counts = (places / np.float32(entry.channels)).astype(np.float32)
    root = bundle.manifest.map.distance == "l2"
    return ReadMemory(entry, np.ascontiguousarray(kept), np.sqrt(counts) if root else counts, root)


def _open(bundle: Bundle, entry: Memory) -> OpenedMemory:
    read = _read(bundle, entry)
    try:
        index = NearestMemory(read.rows)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.file}: {error}") from error
    return OpenedMemory(entry, index, read.counts, read.root)


def _wrong(bundle: Bundle, name: str, found: NDArray[Any], expected: str) -> BundleError:
    return BundleError(
        f"bundle {bundle.path}: {name} is {list(found.shape)} {found.dtype}; expected {expected}: "
        "copy the bundle again, or learn it again"
    )
