"""What follows for verdicts from the allowed false-reject rate."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from edgead import calibration
from edgead.bundle.manifest import Manifest
from edgead.result import Scale


class Limits(NamedTuple):
    """What follows from the allowed false-reject rate and the engine's tolerance."""

    rate: float
    threshold: float
    scale: Scale


def limits_of(manifest: Manifest, rate: float, precision: str) -> Limits:
    """The limits of an engine of ``precision``; CalibrationError for a rate not promised."""
    held = manifest.calibration_of(precision)
    # With max pooling a map's peak is its score, so both share one tolerance.
    ties = held.ties.score if manifest.map_params().pooling == "max" else held.ties.map
    peak = calibration.threshold(held.peaks, rate, ties)
    scale = Scale(typical=statistics.median(held.peaks), threshold=peak)
    return Limits(float(rate), held.limit(rate), scale)
