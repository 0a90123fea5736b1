"""What int8 costs: float32 beside int8 on calibration images and on defects painted on them.

Both are judged by the engine that serves, in the pipeline of a Detector. A test set has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from edgead_training.data import Dataset, Sample
from edgead_training.data.synthetic_defects import add_defect
from edgead_training.evaluation import metrics
from edgead_training.evaluation.evaluate import evaluate
from numpy.typing import NDArray

from edgead.bundle.entries import OwnCalibration, Tolerance
from edgead.bundle.storage import Bundle
from edgead.calibration import threshold
from edgead.detector import Detector
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import check_golden

from ..compare import spread
from ..variants import engine_path

if TYPE_CHECKING:
    from ..frames import CalibrationFrame

COPIES = 2
"""Painted copies of each calibration image."""


@dataclass(frozen=True)
class Int8Bounds:
    """What int8 may cost, beside float32 on the same engine.

    auroc: loss of image and of pixel AUROC, at least one pair of images. found: painted defects
    that float32 calls anomalous at the bundle's rate and int8 misses, as a share of all. verdicts:
    calibration images whose verdict changes at that rate, likewise; one of either may, always.
    score, map: largest difference on a calibration image or golden frame, as a share of the spread
    of the scores and of the maps' peaks. ties: of two int8 engines, as a share of these largest
    differences; margin: of the tolerance over them.
    """

    # The project's bar for int8.
    auroc: float = 0.005
    # Faint on purpose, and many lie at the threshold, where the roundings of eight bits decide.
    found: float = 0.1
    # Both precisions flag as many; near the threshold it may be another one.
    verdicts: float = 0.05
    # The whole spread of good scores. Beyond, the golden frames would prove nothing.
    score: float = 1.0
    map: float = 1.0
    # OpenVINO and onnxruntime differ by 0.26 of it in the score, 0.19 in the map: AGPNet, bottles.
    ties: float = 0.3
    margin: float = 1.3


INT8_BOUNDS = Int8Bounds()

_ROUNDING = 1e-9  # of a difference of two shares


@dataclass(frozen=True)
class Judged:
    """float32 beside int8; pairs are (float32, int8).

    ``tolerance``: what would qualify int8; ``ties``: of its own calibration, see ``Manifest``.
    """

    image_auroc: tuple[float, float]
    pixel_auroc: tuple[float, float]
    score_largest: float  # difference on a calibration image or golden frame
    map_largest: float
    score_spread: float  # of the calibration images
    map_spread: float
    found: tuple[int, int]  # painted defects called anomalous
    painted: int
    verdicts_changed: int  # on calibration images
    images: int
    tolerance: Tolerance
    ties: Tolerance


@dataclass(frozen=True)
class Shown:
    """Calibration images, each followed by its painted copies; masks [H, W] at frame size."""

    frames: tuple[NDArray[Any], ...]
    masks: tuple[NDArray[np.bool_], ...]
    painted: NDArray[np.bool_]  # [n]


@dataclass(frozen=True)
class Scored:
    """Maps [h, w] float32 and scores [n] of all that is shown."""

    maps: tuple[NDArray[np.float32], ...]
    scores: NDArray[np.float64]


def show(frames: Sequence[CalibrationFrame]) -> Shown:
    """``frames`` with ``COPIES`` painted copies of each; the same ones every time."""
    rng = np.random.default_rng(0)
    shown: list[tuple[NDArray[Any], NDArray[np.bool_], bool]] = []
    for frame in frames:
        image = frame.read()
        shown.append((image, np.zeros(image.shape[:2], bool), False))
        shown += [(*add_defect(image, rng)[:2], True) for _ in range(COPIES)]
    images, masks, painted = zip(*shown, strict=True)
    return Shown(images, masks, np.array(painted))


def score(bundle: Bundle, precision: str, shown: Shown) -> Scored:
    """All that is shown, by the engine that serves ``precision`` on the CPU."""
    path = engine_path(open_engine(bundle, "cpu", precision=precision), bundle)
    found = [path.run(frame) for frame in shown.frames]
    return Scored(tuple(values for values, _ in found), np.array([score for _, score in found]))


def judge(
    bundle: Bundle, exact: Scored, coarse: Scored, shown: Shown, bounds: Int8Bounds = INT8_BOUNDS
) -> Judged:
    """float32 (``exact``) beside int8 (``coarse``) of ``bundle``, which has both graphs."""
    good = ~shown.painted
    sized = [metrics.resize_mask(m, v.shape) for m, v in zip(shown.masks, exact.maps, strict=True)]
    pixels = np.concatenate([mask.ravel() for mask in sized])
    checks = check_golden(bundle, open_engine(bundle, "cpu", precision="int8"))
    gaps = np.abs(exact.scores - coarse.scores)[good]
    map_gaps = [float(np.abs(a - b).max()) for a, b in zip(exact.maps, coarse.maps, strict=True)]
    largest = max(float(gaps.max()), *(check.score_difference for check in checks))
    map_largest = max(
        *(gap for gap, is_good in zip(map_gaps, good, strict=True) if is_good),
        *(check.map_difference for check in checks),
    )
    tolerance = Tolerance(bounds.margin * largest, bounds.margin * map_largest)
    ties = Tolerance(bounds.ties * largest, bounds.ties * map_largest)
    held = bundle.manifest.calibration
    before, after = (
        scored.scores > threshold(values, held.false_reject_rate, width)
        for scored, values, width in (
            (exact, held.scores, bundle.manifest.calibration_of("float32").ties.score),
            (coarse, coarse.scores[good].tolist(), ties.score),
        )
    )
    return Judged(
        image_auroc=(_auroc(exact.scores, shown.painted), _auroc(coarse.scores, shown.painted)),
        pixel_auroc=(_auroc(_flat(exact), pixels), _auroc(_flat(coarse), pixels)),
        score_largest=largest,
        map_largest=map_largest,
        score_spread=spread(np.array(held.scores)),
        map_spread=spread(np.array(held.peaks)),
        found=(int(before[~good].sum()), int(after[~good].sum())),
        painted=int((~good).sum()),
        verdicts_changed=int((before != after)[good].sum()),
        images=int(good.sum()),
        tolerance=tolerance,
        ties=ties,
    )


def calibration(judged: Judged, coarse: Scored, shown: Shown) -> OwnCalibration:
    """Of the calibration images, which int8 moves too far to be judged by float32's scores."""
    rows = np.flatnonzero(~shown.painted)
    return OwnCalibration(
        scores=tuple(float(coarse.scores[row]) for row in rows),
        peaks=tuple(float(coarse.maps[row].max()) for row in rows),
        ties=judged.ties,
    )


def faults(judged: Judged, bounds: Int8Bounds = INT8_BOUNDS) -> list[str]:
    """What is over a bound, each as a clause with both numbers."""
    found = []
    for what, (before, after), least in (
        ("image", judged.image_auroc, 1 / (judged.images * judged.painted)),
        ("pixel", judged.pixel_auroc, 0.0),
    ):
        allowed = max(bounds.auroc, least)
        if not before - after <= allowed + _ROUNDING:
            found.append(
                f"{what} AUROC falls from {before:.4f} to {after:.4f}, allowed {allowed:.2g}"
            )
    lost, most = judged.found[0] - judged.found[1], max(1, int(bounds.found * judged.painted))
    if lost > most:
        found.append(
            f"{lost} painted defects of {judged.painted} are no longer found, allowed {most}"
        )
    most = max(1, int(bounds.verdicts * judged.images))
    if judged.verdicts_changed > most:
        found.append(
            f"{judged.verdicts_changed} of {judged.images} verdicts on calibration images change, "
            f"allowed {most}"
        )
    for what, largest, share, scale in (
        ("score", judged.score_largest, bounds.score, judged.score_spread),
        ("map", judged.map_largest, bounds.map, judged.map_spread),
    ):
        if not largest <= share * scale:
            found.append(
                f"the {what} differs by {largest:.3g}, allowed {share * scale:.3g} ({share:g} of "
                "the spread of the calibration images)"
            )
    return found


def tell_test_set(bundle: Bundle, samples: Sequence[Sample], log: Callable[[str], None]) -> None:
    """Say the AUROC of a labelled test set in float32 and int8: a report, which decides nothing."""
    dataset = Dataset(bundle.path, "", (), tuple(samples))
    figures = []
    for precision in ("float32", "int8"):
        with Detector(bundle, device="cpu", precision=precision) as detector:
            figures.append(evaluate(detector, dataset).metrics)
    said = [
        f"{what} AUROC {figures[0][key]:.4f} -> {figures[1][key]:.4f}"
        for what, key in (("image", "image_auroc"), ("pixel", "pixel_auroc"))
        if figures[0][key] is not None and figures[1][key] is not None
    ]
    if said:
        log(f"report on {len(samples)} test images, float32 -> int8: {', '.join(said)}")


def _auroc(values: NDArray[Any], labels: NDArray[np.bool_]) -> float:
    area = metrics.pixel_auroc(values, labels)
    return float("nan") if area is None else area  # a defect too small for one pixel of the map


def _flat(scored: Scored) -> NDArray[np.float32]:
    return np.concatenate([values.ravel() for values in scored.maps])
