"""Distances of a frame's features to what is usual at each place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Whitening
from edgead.engine.whiten import Whiten

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class OpenedWhitening:
    """Mean, factors and centre, which all threads share, and what each position counts."""

    entry: Whitening
    mean: F32  # [C, H, W]
    factors: F32  # [regions, C, C]
    centre: F32 | None  # [C, 1, 1]
    counts: F32 | None  # [height, width], what a distance counts in the map; None: nothing
    scored: F32 | None  # the same in the score

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        held = (self.mean, self.factors, self.centre, self.counts, self.scored)
        return sum(array.nbytes for array in held if array is not None)


class WhitenedDistances:
    """The distances of one thread's frames by one whitening."""

    def __init__(self, whitening: OpenedWhitening) -> None:
        entry = whitening.entry
        self._of, self._channels = whitening, slice(entry.first, entry.first + entry.count)
        self._kernel = whiten_by(whitening.mean, whitening.factors, entry.side, whitening.centre)
        self._centred = np.zeros((1, entry.count, *entry.size), np.float32)
        self._far = np.zeros((1, *entry.size), np.float32)
        self._shown = np.zeros((1, 1, *entry.size), np.float32)
        self._zeros = np.zeros_like(self._shown)

    def run(self, features: F32) -> F32:
        """The mean squares [1, H, W] of the whitened features of a frame.

        Args:
            features: [1, C, H, W], as ``Session.features`` has them.
        """
        values = features[:, self._channels]
        if self._of.centre is not None:
            values = np.subtract(values, self._of.centre, out=self._centred)
        return self._kernel.run(values, self._far)

    def pair(self) -> tuple[F32, F32]:
        """The distances that ``run`` gave, as the map counts them, as a pair: (distance, 0)."""
        if self._of.counts is not None:
            np.multiply(self._far, self._of.counts, out=self._shown[0])
        return self._shown, self._zeros


def whiten_by(mean: F32, factors: F32, side: int, centre: F32 | None) -> Whiten:
    """The kernel for one thread.

    Args:
        mean: [C, H, W].
        factors: [regions, C, C].
        side: of a region in positions.
        centre: what was taken off the features, which then are normal over their channels; None:
            nothing, and they are compared as they are.
    """
    return Whiten(mean, factors, side, channel_normal=centre is not None)
