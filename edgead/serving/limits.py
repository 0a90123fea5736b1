"""What serves, and what follows for verdicts from the allowed false-reject rate."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from edgead import calibration
from edgead._cpu import Ranked
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Served
from edgead.engine.interface import Engine, Qualified
from edgead.result import Scale


class Limits(NamedTuple):
    """What follows from the allowed false-reject rate and the engine's tolerance."""

    rate: float
    threshold: float
    scale: Scale


class Serving(NamedTuple):
    """What serves and what follows from it; replaced as a whole, for other threads."""

    engine: Engine | None  # None: closed, or failed
    info: dict[str, str]
    served: Served
    ranked: Ranked
    limits: Limits


def serving_of(bundle: Bundle, opened: Qualified, rate: float, settings: Served) -> Serving:
    """What serves with an engine; ``settings``: what else digests tell."""
    engine, manifest = opened.engine, bundle.manifest
    info = {
        "device": engine.device,
        "precision": engine.precision,
        "kernels": opened.kernels,
        "version": engine.version,
        "bundle_sha256": bundle.sha256,
    }
    served: Served = {**info, "kernels": engine.kernels, **settings}
    held = manifest.calibration_of(engine.precision)
    ranked = calibration.ranked(held.scores, held.ties.score, manifest.calibration.parts)
    return Serving(engine, info, served, ranked, limits_of(manifest, rate, engine.precision))


def limits_of(manifest: Manifest, rate: float, precision: str) -> Limits:
    """The limits of an engine of ``precision``; CalibrationError for a rate not promised."""
    held = manifest.calibration_of(precision)
    ties = manifest.core.peak_ties(precision)
    peak = calibration.threshold(held.peaks, rate, ties, manifest.calibration.parts)
    scale = Scale(typical=statistics.median(held.peaks), threshold=peak)
    return Limits(float(rate), manifest.limit(precision, rate), scale)
