"""Intervals of figures by drawing parts anew: images of one part are drawn together. No torch.

A test set is a draw of parts. Each resample draws as many parts as there are, with replacement, and
a figure's interval is what the middle 95 % of the resamples' figures span (percentile bootstrap).
Two bundles on the same images have the same resamples, so the interval of their difference does not
count what a part does to both.

Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.4 and 13.3; of figures
of clustered images, Rutter, Academic Radiology 7(6), 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95
FEW_PARTS = 20  # of fewer, intervals are too narrow
_VALUES = 1 << 22  # of weights times images at once

Interval = tuple[float, float]


@dataclass(frozen=True)
class Resamples:
    """The draws.

    Args:
        part_of: [images] int64, the part that each image shows, 0 … parts - 1.
        weights: [RESAMPLES, parts] float64, how often each part is drawn.
    """

    part_of: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, shown: Sequence[str], count: int = RESAMPLES, seed: int = 0) -> Resamples:
        """Draws of the parts ``shown`` by the images, in their order; the same for the same."""
        _, part_of = np.unique(np.array(shown, dtype=object).astype(str), return_inverse=True)
        parts = int(part_of.max()) + 1
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(parts, np.full(parts, 1 / parts), size=count)
        return cls(part_of.ravel().astype(np.int64), weights.astype(np.float64))

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return int(self.weights.shape[1])

    def only(self, used: NDArray[np.bool_]) -> Resamples:
        """The same draws for some of the images."""
        return Resamples(self.part_of[used], self.weights)

    def auroc(self, scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
        """The AUROC of each resample, NaN where it has one class only; as ``metrics.auroc``.

        Args:
            scores: [images] finite floats.
            labels: [images] bool, True = defect.
        """
        values, positive = np.asarray(scores, np.float64), np.asarray(labels, bool)
        order = np.argsort(values, kind="stable")
        part_of, positive = self.part_of[order], positive[order]
        first = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # of each distinct score
        rows = max(1, _VALUES // len(values))
        return np.concatenate([
            _auroc(weights[:, part_of], positive, first)
            for weights in np.array_split(self.weights, -(-len(self.weights) // rows))
        ])  # fmt: skip


def _auroc(
    weights: NDArray[np.float64], positive: NDArray[np.bool_], first: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of images [n] in the order of their scores, by weights [rows, n]."""
    defects = np.add.reduceat(np.where(positive, weights, 0.0), first, axis=1)
    good = np.add.reduceat(np.where(positive, 0.0, weights), first, axis=1)
    below = good.cumsum(1) - good / 2  # a tie is half a win
    with np.errstate(invalid="ignore"):
        return np.asarray((defects * below).sum(1) / (defects.sum(1) * good.sum(1)))


def interval(values: NDArray[np.float64]) -> Interval | None:
    """The middle ``LEVEL`` of the resamples' figures; None where most have no meaning."""
    known = values[np.isfinite(values)]
    if 2 * known.size < values.size:
        return None
    low, high = np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
