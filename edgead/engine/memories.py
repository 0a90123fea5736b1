"""Distances of a frame's features to the memories of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory
from edgead.errors import DeviceError
from edgead.nearest import Blend, Nearest, NearestMemory


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


def check_room(where: str, free: int, rows: int, each: int, instead: str = "") -> None:
    """Refuse a memory that is larger than what is free.

    Args:
        where: it shall lie, for people.
        free: bytes, of which the whitenings of the bundle have had theirs.
        rows: of the memory.
        each: bytes that a row takes.
        instead: what else may be used, as device="cpu".

    Raises:
        DeviceError: says the largest that fits.
    """
    fits = max(0, free) // each
    if rows > fits:
        cures = [f"learn with --memory {max(1, fits)}", "close other programs"]
        cures += [f"use {instead}"] if instead else []
        raise DeviceError(
            f"{where} has {max(0, free) / 1e6:.1f} MB free, and the memory of {rows} features "
            f"takes {rows * each / 1e6:.1f} MB; at most {fits} features fit: "
            f"{', '.join(cures[:-1])}, or {cures[-1]}"
        )


def weights_of(entry: Memory) -> tuple[float, ...] | Blend:
    """Of the nearest features, as ``Nearest`` takes them."""
    if entry.temperature is None:
        return (1 / entry.neighbours,) * entry.neighbours
    return Blend(entry.neighbours, entry.channels * entry.temperature)


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
        self._shared = [  # features times shares, where there are any
            None if m.shares is None else np.zeros((1, m.entry.channels, *m.entry.size), np.float32)
            for m in memories
        ]

    def run(
        self, features: list[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The pairs of one frame; the views are valid until the next ``run``.

        Args:
            features: of each memory, [1, C, H, W], as ``Session.features`` has them.
        """
        own = zip(self._memories, self._nearest, self._shared, self._distances, strict=True)
        for values, far, (memory, nearest, shared, distance) in zip(
            features, self.far, own, strict=True
        ):
            if shared is not None and memory.shares is not None:
                values = np.multiply(values, memory.shares, out=shared)
            nearest.run(values, far)
            np.multiply(far, memory.counts, out=distance[0])
        return list(zip(self._distances, self._zeros, strict=True))
