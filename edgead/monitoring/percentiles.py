"""Percentiles at the nearest rank: always a value that was measured, never one between two."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def rank(percent: float, count: int) -> int:
    """Nearest rank, from 1: the smallest k with k / count >= percent / 100.

    Args:
        percent: in (0, 100]
        count: number of samples, at least 1
    """
    # Rounded first: 99.9 * 1000 / 100 must not become rank 1000 by the last bit of 99.9.
    return min(count, max(1, math.ceil(round(percent * count / 100, 9))))


def percentile(samples: ArrayLike, percent: float) -> float:
    """The sample at the nearest rank.

    Args:
        samples: [n] finite numbers, n at least 1, in any order
        percent: in (0, 100]
    """
    values = np.asarray(samples, np.float64)
    index = rank(percent, values.size) - 1
    return float(np.partition(values, index)[index])
