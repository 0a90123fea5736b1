"""How far one engine may be from another that serves the same bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GraphBounds:
    """How far an exported graph of one precision may be from the trained model."""

    score: float  # largest difference, as a share of the spread of the calibration images
    map: float  # likewise, of a map's value
    batch: float  # of three images at once from each alone, relative to the largest feature


BOUNDS = {
    # Sums in another order, or of another batch size, give about 1e-6 of a feature; a wrong weight,
    # padding or normalisation over 1e-2. Between them, and far under what moves a verdict.
    "float32": GraphBounds(score=1e-3, map=1e-3, batch=1e-4),
    # Eleven bits per value, 5e-4 each, through some forty layers: about 5e-3 of a feature, measured
    # on ReDi. The squared distance of two nearly equal features magnifies that to 2 to 3 % of a
    # high score, and of the map where it peaks. Verdicts are compared besides.
    "float16": GraphBounds(score=5e-2, map=5e-2, batch=1e-2),
}


def spread(values: NDArray[np.float64]) -> float:
    """Range of the calibration values; a tenth of the largest where few or equal ones have none."""
    return float(max(np.ptp(values), 0.1 * np.abs(values).max(), np.finfo(np.float32).tiny))
