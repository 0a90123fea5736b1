"""Features, means and factors for whiten, and how far float32 may be from float64."""

from __future__ import annotations

from typing import Any

import numpy as np

UNIT = 2.0**-24  # half a unit in the last place of a float32 near 1


def made(
    rng: np.random.Generator,
    size: tuple[int, int],
    channels: int,
    outputs: int,
    side: int,
    *,
    batch: int = 1,
    triangular: bool = False,
) -> tuple[Any, Any, Any]:
    """features [N, C, H, W], mean [C, H, W], factors [regions, outputs, C], float32.

    The features are 3 away from 0, so that the mean matters, and the channels differ in scale.
    """
    height, width = size
    regions = -(-height // side) * -(-width // side)
    spread = np.geomspace(0.1, 4, channels)[:, None, None]
    mean = 3 + spread * rng.standard_normal((channels, *size))
    features = mean + spread * rng.standard_normal((batch, channels, *size))
    factors = rng.standard_normal((regions, outputs, channels)) / spread[:, 0, 0]
    if triangular:
        factors = np.triu(factors)
    return tuple(a.astype(np.float32) for a in (features, mean, factors))


def tolerance(
    features: Any, mean: Any, factors: Any, side: int, *, channel_normal: bool = False
) -> Any:
    """What rounding may do to each distance [N, H, W].

    A sum of n products is off by n roundings of the sum of their sizes, in any order (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1). Of the normal form, mean and
    deviation are sums over channels, too.
    """
    x = np.asarray(features, np.float64)
    channels, outputs = factors.shape[2], factors.shape[1]
    off = np.zeros_like(x)
    if channel_normal:
        middle, size = x.mean(1, keepdims=True), np.abs(x).mean(1, keepdims=True)
        deviation = np.sqrt(x.var(1, keepdims=True) + 1e-5)
        off_middle = (channels + 2) * UNIT * size
        off_deviation = (channels + 6) * UNIT + off_middle / deviation
        x = (x - middle) / deviation
        off = off_middle / deviation + np.abs(x) * (off_deviation + 4 * UNIT)
    d = x - mean
    off += UNIT * np.abs(d)
    height, width = x.shape[2:]
    found = np.zeros((len(x), height, width))
    for n, row, column in np.ndindex(found.shape):
        factor = factors[row // side * -(-width // side) + column // side].astype(np.float64)
        y = factor @ d[n, :, row, column]
        far = np.abs(factor) @ (
            off[n, :, row, column] + (channels + 2) * UNIT * np.abs(d[n, :, row, column])
        )
        rounding = (outputs + 3) * UNIT * np.square(np.abs(y) + far)
        found[n, row, column] = (2 * np.abs(y) * far + far**2 + rounding).mean()
    return found


def close(found: Any, exact: Any, allowed: Any) -> bool:
    """Whether every distance is within what rounding may do."""
    return bool((np.abs(found - exact) <= allowed).all())
