"""What int8 costs: float32 beside int8 on calibration images and on synthetic defects in them.

Both are judged by the engine that serves, in the pipeline of a Detector. A test set has no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from edgead_training.data import Dataset, Sample
from edgead_training.data.synthetic_defects import add_defect
from edgead_training.evaluation import metrics
from edgead_training.evaluation.evaluate import evaluate
from numpy.typing import NDArray

from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import Bundle
from edgead.calibration import threshold
from edgead.detector import Detector
from edgead.learning.int8_cost import Cost, Int8Bounds
from edgead.learning.int8_cost import faults as cost_faults
from edgead.learning.tolerance import spread
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import check_golden

from ..options import Frames, Log
from ..variants import engine_path

COPIES = 2
"""Copies of each calibration image with a synthetic defect."""


@dataclass(frozen=True)
class Judged(Cost):
    """``Cost`` on several synthetic defects in each image, and what export knows besides."""

    image_auroc: tuple[float, float]
    pixel_auroc: tuple[float, float]
    tolerance: Tolerance  # what would qualify int8
    ties: Tolerance  # tie tolerance of int8's own calibration


class Shown(NamedTuple):
    """Calibration images, each followed by its copies with a defect."""

    frames: tuple[NDArray[Any], ...]
    masks: tuple[NDArray[np.bool_], ...]  # [H, W] at frame size
    synthetic: NDArray[np.bool_]  # [n], where there is a defect


class Scored(NamedTuple):
    """All that is shown, by one engine."""

    maps: tuple[NDArray[np.float32], ...]  # [h, w]
    scores: NDArray[np.float64]  # [n]


def show(frames: Frames, bit_depth: int | None = None) -> Shown:
    """``frames`` with ``COPIES`` copies of each that have a defect; the same ones every time."""
    rng = np.random.default_rng(0)
    shown: list[tuple[NDArray[Any], NDArray[np.bool_], bool]] = []
    for frame in frames:
        image = frame.read()
        shown.append((image, np.zeros(image.shape[:2], bool), False))
        shown += [(*add_defect(image, rng, bit_depth)[:2], True) for _ in range(COPIES)]
    images, masks, synthetic = zip(*shown, strict=True)
    return Shown(images, masks, np.array(synthetic))


def score(bundle: Bundle, precision: str, shown: Shown) -> Scored:
    """All that is shown, by the engine that serves ``precision`` on the CPU."""
    path = engine_path(open_engine(bundle, "cpu", precision=precision), bundle)
    maps, scores = zip(*map(path.run, shown.frames), strict=True)
    return Scored(maps, np.array(scores))


def judge(
    bundle: Bundle, exact: Scored, coarse: Scored, shown: Shown, bounds: Int8Bounds
) -> Judged:
    """float32 (``exact``) beside int8 (``coarse``) of ``bundle``, which has both graphs."""
    good = ~shown.synthetic
    checks = check_golden(bundle, open_engine(bundle, "cpu", precision="int8"))
    gaps = np.abs(exact.scores - coarse.scores)[good]
    map_gaps = [np.abs(a - b).max() for a, b in zip(exact.maps, coarse.maps, strict=True)]
    largest = max(float(gaps.max()), *(check.score_difference for check in checks))
    map_largest = max(
        float(np.max(map_gaps, where=good, initial=0)), *(c.map_difference for c in checks)
    )
    ties = Tolerance(bounds.ties * largest, bounds.ties * map_largest)
    held = bundle.manifest.calibration
    exact_ties = bundle.manifest.calibration_of("float32").ties
    before = exact.scores > threshold(
        held.scores, held.false_reject_rate, exact_ties.score, held.parts
    )
    own_scores = coarse.scores[good].tolist()
    after = coarse.scores > threshold(own_scores, held.false_reject_rate, ties.score, held.parts)
    sized = [metrics.resize_mask(m, v.shape) for m, v in zip(shown.masks, exact.maps, strict=True)]
    return Judged(
        image_auroc=_aurocs(exact.scores, coarse.scores, shown.synthetic),
        pixel_auroc=_aurocs(_flat(exact.maps), _flat(coarse.maps), _flat(sized)),
        score_largest=largest,
        map_largest=map_largest,
        score_spread=spread(np.array(held.scores)),
        map_spread=spread(np.array(held.peaks)),
        found=(int(before[~good].sum()), int(after[~good].sum())),
        painted=int((~good).sum()),
        verdicts_changed=int((before != after)[good].sum()),
        images=int(good.sum()),
        tolerance=Tolerance(bounds.margin * largest, bounds.margin * map_largest),
        ties=ties,
    )


def _aurocs(
    exact: NDArray[Any], coarse: NDArray[Any], labels: NDArray[np.bool_]
) -> tuple[float, float]:
    """AUROC of both; NaN where a defect is too small for one pixel of the map."""
    areas = (metrics.pixel_auroc(values, labels) for values in (exact, coarse))
    before, after = (float("nan") if area is None else area for area in areas)
    return before, after


def _flat(maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([values.ravel() for values in maps])


def faults(judged: Judged, bounds: Int8Bounds) -> list[str]:
    """What is over a bound, each as a clause with both numbers."""
    found = []
    for what, (before, after), allowed in (
        ("image", judged.image_auroc, max(bounds.auroc, 1 / (judged.images * judged.painted))),
        ("pixel", judged.pixel_auroc, bounds.auroc),
    ):
        if not before - after <= allowed + 1e-9:  # roundings of a difference of two shares
            found.append(
                f"{what} AUROC falls from {before:.4f} to {after:.4f}, allowed {allowed:.2g}"
            )
    return [*found, *cost_faults(judged, bounds)]


def tell_test_set(bundle: Bundle, samples: Sequence[Sample], log: Log) -> None:
    """Say the AUROC of a labelled test set in float32 and int8: a report, which decides nothing."""
    dataset = Dataset(bundle.path, "", (), tuple(samples))
    figures = []
    for precision in ("float32", "int8"):
        with Detector(bundle, device="cpu", precision=precision) as detector:
            figures.append(evaluate(detector, dataset).metrics)
    said = []
    for what in ("image", "pixel"):
        before, after = (found[f"{what}_auroc"] for found in figures)
        if before is not None and after is not None:
            said.append(f"{what} AUROC {before:.4f} -> {after:.4f}")
    if said:
        log(f"report on {len(samples)} test images, float32 -> int8: {', '.join(said)}")
