"""Qualification: an engine serves only after it has reproduced the bundle's golden frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Golden, Tolerance
from edgead.bundle.storage import Bundle
from edgead.engine.interface import Engine, FramePipeline, Qualified
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError, DeviceError, InputError, QualificationError
from edgead.images import decode_image
from edgead.serving.choice import Choice
from edgead.serving.open_engine import Asked, open_engine
from edgead.serving.open_pipeline import open_pipeline

_CAUSES = (
    "either the engine computes differently here: export the bundle again with the OpenVINO of "
    "this machine, or install the one it was made with",
    "or settings in manifest.json were changed: copy the bundle again",
)


def causes(precision: str) -> tuple[str, ...]:
    """Why an engine of ``precision`` may not reproduce golden frames, each with its cure."""
    coarse = f"{precision} has too few bits for this model: serve it in float32"
    return _CAUSES if precision == "float32" else (coarse, *_CAUSES)


def growth(values: NDArray[np.floating], usual: float) -> NDArray[np.float64]:
    """How many times a tolerance counts at expected ``values`` of a score or a map: once up to
    ``usual``, the largest of the calibration images, beyond it in proportion, as rounding grows."""
    values = np.abs(np.asarray(values, np.float64))
    return np.maximum(1.0, values / usual) if usual > 0 else np.ones_like(values)


@dataclass(frozen=True)
class GoldenCheck:
    """One golden frame: what the engine gives, what the bundle promises, what may lie between."""

    image: str
    score: float
    expected_score: float
    score_difference: float  # absolute
    map_difference: float  # of the map value that is off most, for what it may
    tolerance: Tolerance  # of this score and of that map value; see ``growth``
    kernels: str  # what they ran on; see ``PipelineOutput``

    @property
    def passed(self) -> bool:
        """Whether score and map are within the tolerance."""
        return (
            self.score_difference <= self.tolerance.score
            and self.map_difference <= self.tolerance.map
        )


def check_golden(bundle: Bundle, engine: Engine) -> tuple[GoldenCheck, ...]:
    """Score every golden frame of ``bundle`` on ``engine`` and compare, without judging.

    Raises:
        BundleError: golden files that are not an image or a map, or no tolerance for the precision.
        DeviceError: the engine fails or gives values that are not finite.
    """
    tolerance = bundle.manifest.tolerance_of(engine.precision)
    for golden in bundle.manifest.golden:  # before memory is taken for a map of another size
        shape = bundle.read_array(golden.map).shape
        if len(shape) != 2 or any(np.less(shape, bundle.manifest.map.size)):
            read_map(bundle, golden.map, _read_golden(bundle, golden)[1])
    pipeline = open_pipeline(bundle, engine)
    try:
        return tuple(_check(bundle, pipeline, g, tolerance) for g in bundle.manifest.golden)
    finally:
        pipeline.close()


def qualify(bundle: Bundle, engine: Engine) -> tuple[GoldenCheck, ...]:
    """``check_golden``, and refuse the engine when a golden frame is over the tolerance.

    Args:
        bundle: has the golden frames and the tolerance.
        engine: of ``open_engine`` for the same bundle.

    Returns:
        What was found on each golden frame.

    Raises:
        QualificationError: the frame, the difference and the tolerance.
        BundleError, DeviceError: as ``check_golden``.
    """
    checks = check_golden(bundle, engine)
    failed = [check for check in checks if not check.passed]
    if failed:
        worst = max(failed, key=lambda check: check.score_difference)
        raise QualificationError(
            f"{engine.device} ({engine.version}, {engine.precision}) does not reproduce "
            f"{len(failed)} of {len(checks)} golden frames of {bundle.path}: {worst.image} scores "
            f"{worst.score:.7g} instead of {worst.expected_score:.7g} (off by "
            f"{worst.score_difference:.3g}, allowed {worst.tolerance.score:.3g}), its map is off "
            f"by up to {worst.map_difference:.3g} (allowed {worst.tolerance.map:.3g}): "
            f"{'; '.join(causes(engine.precision))}"
        )
    return checks


def open_qualified(bundle: Bundle, choice: Choice, asked: Asked) -> Qualified:
    """``open_engine`` and ``qualify``."""
    engine = open_engine(bundle, choice, **asked)
    return Qualified(engine, qualify(bundle, engine)[-1].kernels)


def changed_verdicts(bundle: Bundle, precision: str, checks: Sequence[GoldenCheck]) -> int:
    """How many golden frames an engine of ``precision`` judges otherwise than the bundle, whose
    golden scores are float32's, at the bundle's false-reject rate."""
    manifest = bundle.manifest
    rate = manifest.calibration.false_reject_rate
    ours, theirs = (manifest.limit(p, rate) for p in (precision, "float32"))
    return sum((check.score > ours) != (check.expected_score > theirs) for check in checks)


def _read_golden(bundle: Bundle, golden: Golden) -> tuple[NDArray[Any], tuple[int, int]]:
    """A golden frame and the (height, width) of its map."""
    try:
        frame = decode_image(bundle.read(golden.image), golden.image)
    except InputError as error:  # which names it
        raise BundleError(f"bundle {bundle.path}: {error}") from error
    try:
        return frame, bundle.manifest.map_size(frame.shape[:2])
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {golden.image}: {error}") from error


def _check(
    bundle: Bundle, pipeline: FramePipeline, golden: Golden, tolerance: Tolerance
) -> GoldenCheck:
    frame, size = _read_golden(bundle, golden)
    expected = read_map(bundle, golden.map, size)
    try:
        found = pipeline.run(frame)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {golden.image}: {error}") from error
    except DeviceError as error:
        raise DeviceError(f"golden frame {golden.image}: {error}") from error
    calibration = bundle.manifest.calibration
    at_score = float(growth(np.array(golden.score), max(calibration.scores)))
    at_map = growth(expected, max(calibration.peaks))
    gap = np.abs(as_array(found.map).astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(gap / at_map), gap.shape)
    return GoldenCheck(
        image=golden.image,
        score=found.score,
        expected_score=golden.score,
        score_difference=abs(found.score - golden.score),
        map_difference=float(gap[worst]),
        tolerance=Tolerance(tolerance.score * at_score, tolerance.map * float(at_map[worst])),
        kernels=found.kernels,
    )


def read_map(bundle: Bundle, name: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """A golden frame's expected map, float32 [height, width] of ``size``; else BundleError."""
    array = bundle.read_array(name)
    if array.dtype != np.float32 or array.shape != size or not np.isfinite(array).all():
        raise BundleError(
            f"bundle {bundle.path}: {name} is {array.shape} {array.dtype}; expected a finite map "
            f"of {size} float32"
        )
    return array
