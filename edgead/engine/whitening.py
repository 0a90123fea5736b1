"""Distances of a frame's features to what is usual at each place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Whitening
from edgead.bundle.storage import Bundle
from edgead.engine.whiten import Whiten
from edgead.errors import BundleError, InputError

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


def open_whitenings(bundle: Bundle) -> tuple[OpenedWhitening, ...]:
    """Read the whitenings of a bundle.

    Args:
        bundle: its files are read, and their digests checked, once.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_open(bundle, entry) for entry in bundle.manifest.whitenings)


class WhitenedDistances:
    """The distances of one thread's frames by one whitening."""

    def __init__(self, whitening: OpenedWhitening) -> None:
        entry = whitening.entry
        self._of, self._channels = whitening, slice(entry.first, entry.first + entry.count)
        self._kernel = whiten_by(whitening.mean, whitening.factors, entry.side, whitening.centre)
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
            values = values - self._of.centre
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


def _open(bundle: Bundle, entry: Whitening) -> OpenedWhitening:
    height, width = entry.size
    count, regions = entry.count, -(-height // entry.side) * -(-width // entry.side)
    mean = bundle.read_floats(entry.mean, (count, height, width))
    factors = bundle.read_floats(entry.factors, (regions, count, count))
    centre = None
    if entry.centre is not None:
        centre = bundle.read_floats(entry.centre, (count,))[:, None, None]
    counts, scored = (
        None if name is None else bundle.read_places(name, entry.size)
        for name in (entry.places, entry.scored)
    )
    try:
        whiten_by(mean, factors, entry.side, centre)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.factors}: {error}") from error
    return OpenedWhitening(entry, mean, factors, centre, counts, scored)
