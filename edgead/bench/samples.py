"""Percentiles of latencies, and the interval in which a ratio of them lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgead.monitoring.percentiles import percentile

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9}
RESAMPLES = 1000
CONFIDENCE = 0.99  # of an interval: several ratios are judged at once, so 95 % would cry wolf


class Interval(NamedTuple):
    """A ratio and the bounds of its confidence interval."""

    ratio: float
    low: float
    high: float


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Percentiles, maximum, mean and all samples of at least one latency in milliseconds."""
    values = np.asarray(samples, np.float64)
    return {
        **{key: percentile(values, percent) for key, percent in PERCENTILES.items()},
        "max_ms": float(values.max()),
        "mean_ms": float(values.mean()),
        "samples_ms": values.tolist(),
    }


def ratio_interval(
    above: ArrayLike, below: ArrayLike, percent: float, *, paired: bool = False
) -> Interval:
    """A percentile of ``above`` over that of ``below``, with its bootstrap interval.

    Whole blocks of neighbours are drawn, because neighbours in time resemble each other and single
    samples would make the interval too narrow: a circular block bootstrap with blocks of
    count ** (1 / 3). The draw is the same every time.

    Args:
        above, below: [n] and [m] positive numbers; n = m where ``paired``
        percent: in (0, 100]
        paired: sample i of both was measured in the same turn, so both are drawn at the same places
            and what the machine did to a turn cancels

    Source: Politis and Romano, A circular block-resampling procedure, 1992; the block's length:
    Hall, Horowitz and Jing, Biometrika 82, 1995.
    """
    upper, lower = np.asarray(above, np.float64), np.asarray(below, np.float64)
    random = np.random.default_rng(0)
    ratios = np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        places = _blocks(upper.size, random)
        others = places if paired else _blocks(lower.size, random)
        ratios[draw] = percentile(upper[places], percent) / percentile(lower[others], percent)
    tail = 50 * (1 - CONFIDENCE)
    return Interval(
        percentile(upper, percent) / percentile(lower, percent),
        percentile(ratios, tail),
        percentile(ratios, 100 - tail),
    )


def _blocks(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """``count`` indices below ``count``, in runs of neighbours; the first follows the last."""
    length = max(1, round(count ** (1 / 3)))
    starts = random.integers(0, count, math.ceil(count / length))
    places = (starts[:, None] + np.arange(length)).ravel()[:count] % count
    return np.asarray(places, np.int64)
