"""Distances of a frame's features to what is usual at each place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Whitening
from edgead.bundle.storage import Bundle

F32 = NDArray[np.float32]

LEAST_VARIANCE = np.float32(1e-5)  # added to that over the channels of a position


@dataclass(frozen=True)
class OpenedWhitening:
    """Mean, factors and centre, which all threads share, and what each position counts."""

    entry: Whitening
    mean: F32  # [C, H, W]
    factors: F32  # [regions, C, C]
    centre: F32 | None  # [C, 1, 1]
    shown: F32 | None  # [height, width], what a distance counts in the map; None: nothing
    scored: F32 | None  # the same in the score

    def distances(self) -> WhitenedDistances:
        """What computes the distances of one thread's frames."""
        return WhitenedDistances(self)


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
        self._of = whitening

    def run(self, features: F32, out: F32) -> None:
        """Write the mean squares of the whitened features of a frame.

        Args:
            features: [1, C, H, W], as ``Session.features`` has them.
            out: [1, H, W].
        """
        entry, centre = self._of.entry, self._of.centre
        values = features[:, entry.first : entry.first + entry.count]
        if centre is not None:
            values = channel_normal(values, centre)
        out[:] = whitened(values, self._of.mean, self._of.factors, entry.side)


def whitened(values: F32, mean: F32, factors: F32, side: int) -> F32:
    """Mean squares [N, H, W] of ``values`` [N, C, H, W] beyond ``mean`` [C, H, W], times the factor
    [C, C] of the square of ``side`` positions that each is in."""
    count, channels, height, width = values.shape
    unusual, found = values - mean, np.empty((count, height, width), np.float32)
    for factor, (rows, columns) in zip(factors, blocks((height, width), side), strict=True):
        block = unusual[:, :, rows, columns]
        white = factor @ block.reshape(count, channels, -1)
        squares = np.einsum("ncp,ncp->np", white, white)
        found[:, rows, columns] = squares.reshape(count, *block.shape[2:])
    found /= np.float32(channels)
    return found


def blocks(size: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """The squares of ``side`` positions of a map of ``size`` (height, width), row by row.

    The last of a row or a column may be smaller.
    """
    rows, columns = ([slice(at, at + side) for at in range(0, n, side)] for n in size)
    return [(row, column) for row in rows for column in columns]


def channel_normal(values: F32, centre: F32) -> F32:
    """``values`` [..., C, H, W] less ``centre`` [C, 1, 1], each position's channels brought to mean
    0 and variance 1; a position whose channels are all one becomes 0."""
    values = values - centre
    values -= values.mean(axis=-3, keepdims=True)
    variance = np.square(values).mean(axis=-3, keepdims=True)
    values /= np.sqrt(variance + LEAST_VARIANCE)
    return values


def _open(bundle: Bundle, entry: Whitening) -> OpenedWhitening:
    count, regions = entry.count, len(blocks(entry.size, entry.side))
    mean = bundle.read_floats(entry.mean, (count, *entry.size))
    factors = bundle.read_floats(entry.factors, (regions, count, count))
    centre = None
    if entry.centre is not None:
        centre = bundle.read_floats(entry.centre, (count,))[:, None, None]
    shown, scored = (
        None if name is None else bundle.read_places(name, entry.size)
        for name in (entry.places, entry.scored)
    )
    return OpenedWhitening(entry, mean, factors, centre, shown, scored)
