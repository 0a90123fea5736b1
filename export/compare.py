"""The exported graphs against the trained model, on real images, up to map, score and verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Tolerance
from edgead.calibration import Ranked, best_false_reject_rate, ranked, ranked_p_value
from edgead.errors import ExportError
from edgead.learning.golden import ScoreFrame
from edgead.learning.tolerance import BOUNDS
from edgead.serving.qualification import growth

Infer = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
"""Images [N, 3, H, W] float32 to the outputs of a graph, each [N, C_k, H_k, W_k] float32."""

HALF_PEAK = 65504 / 2
"""Largest activation in half: a defect may drive it twice as high as good parts do."""

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""False-reject rates at which verdicts are compared, besides the bundle's own: what people use."""

TIES = 2.0
"""Tie tolerance in units of the largest difference from torch that was measured: two engines may be
off by as much in opposite directions. Less than what tells a wrong engine from a right one: what
counts as a tie is a defect that is not found."""

CURES = {
    "float32": "give calibration images that are less alike, if the spread of their scores is "
    "small, or try another --opset or torch version",
    "float16": "train longer (scores of a model that was hardly trained lie close together), give "
    "calibration images that are less alike, or omit the float16 graph with --float32-only",
}
"""What to do when a graph of that precision does not match the trained model."""


@dataclass(frozen=True)
class ScoringPath:
    """One way from a frame to its map and score."""

    name: str
    precision: str  # float32 | float16 | int8
    run: ScoreFrame


@dataclass(frozen=True)
class PathScores:
    """Scores and differences of P paths on n images; row 0 is the trained model in torch."""

    paths: tuple[tuple[str, str], ...]
    images: tuple[str, ...]
    scores: NDArray[np.float64]  # [P, n]
    peaks: NDArray[np.float64]  # [P, n]
    map_largest: NDArray[np.float64]  # [P, n], difference from row 0 over its ``growth``
    map_mean: NDArray[np.float64]  # [P, n], likewise


@dataclass(frozen=True)
class Difference:
    """One path against torch: largest and mean difference of score and map over all images."""

    path: str
    precision: str
    score_largest: float
    score_mean: float
    map_largest: float
    map_mean: float
    image: str  # where the map differs most


def score_paths(
    paths: Sequence[ScoringPath], frames: Iterable[tuple[str, NDArray[Any]]], usual: float = np.inf
) -> PathScores:
    """Run every path, torch first, on every (name, frame); ExportError for maps not finite.

    ``usual`` is the largest map value of the calibration images, infinity while those are scored.
    """
    names, rows = [], []
    for name, frame in frames:
        row: list[tuple[float, float, float, float]] = []
        expected = np.empty(0, np.float32)
        for path in paths:
            values, score = path.run(frame)
            if not (np.isfinite(values).all() and np.isfinite(score)):
                raise ExportError(
                    f"{path.name} ({path.precision}) gives a map that is not finite on {name}; "
                    "train longer or at a lower rate, or keep that part of the method in float32"
                )
            if not row:
                expected = values.copy()
            gap = np.abs(values.astype(np.float64) - expected) / growth(expected, usual)
            row.append((score, float(values.max()), float(gap.max()), float(gap.mean())))
        names.append(name)
        rows.append(row)
    kinds = tuple((path.name, path.precision) for path in paths)
    return PathScores(kinds, tuple(names), *np.array(rows, np.float64).transpose(2, 1, 0))


def join(a: PathScores, b: PathScores) -> PathScores:
    """The images of ``a``, then those of ``b``."""
    both = (
        np.concatenate([getattr(a, key), getattr(b, key)], axis=1)
        for key in ("scores", "peaks", "map_largest", "map_mean")
    )
    return PathScores(a.paths, a.images + b.images, *both)


def differences(scored: PathScores, usual: float) -> list[Difference]:
    """Every path but torch, against torch; ``usual``: the largest calibration score."""
    gaps = np.abs(scored.scores - scored.scores[0]) / growth(scored.scores[0], usual)
    found = []
    for row, (name, precision) in enumerate(scored.paths[1:], 1):
        scores, maps = gaps[row], scored.map_largest[row]
        of_score = float(scores.max()), float(scores.mean())
        of_map = float(maps.max()), float(scored.map_mean[row].mean())
        image = scored.images[int(maps.argmax())]
        found.append(Difference(name, precision, *of_score, *of_map, image))
    return found


def check_differences(found: Sequence[Difference], score_spread: float, map_spread: float) -> None:
    """Hold the differences against ``BOUNDS``; ExportError with numbers, image and path."""
    for d in found:
        for what, largest, share, scale in (
            ("score", d.score_largest, BOUNDS[d.precision].score, score_spread),
            ("map", d.map_largest, BOUNDS[d.precision].map, map_spread),
        ):
            allowed = share * scale
            if not largest <= allowed:
                raise ExportError(
                    f"{d.path} ({d.precision}) does not match the trained model: the {what} "
                    f"differs by {largest:.3g}, allowed {allowed:.3g} ({share:g} of the "
                    f"spread {scale:.3g} of the calibration images); worst image {d.image}. "
                    f"Nothing was written; {CURES[d.precision]}"
                )


def agreeing_ties(
    scored: PathScores,
    calibration: Sequence[float],
    rate: float,
    score_spread: float,
    map_spread: float,
    parts: Sequence[int] | None = None,
) -> Tolerance:
    """Tie tolerance with which every path gives torch's verdicts at ``rate`` and ``RATES``.

    It is at most what the bounds allow, at least what they allow in float32. Where a score lies
    within rounding of a threshold, up to twice of it is tried. ``calibration``: the scores of the
    same images by the embedded engine; ``parts``: which part each shows. ExportError names the
    first image whose verdict differs.
    """
    least = BOUNDS["float32"]
    bounds = [BOUNDS[precision] for _, precision in scored.paths]
    apart = TIES * float(np.abs(scored.scores - scored.scores[0]).max())
    most = max(bound.score for bound in bounds) * score_spread
    first = min(max(apart, least.score * score_spread), most)
    most = max(bound.map for bound in bounds) * map_spread
    map_apart = min(TIES * float(scored.map_largest.max()), most)
    faults = []
    for step in (1.0, 1.25, 1.5, 1.75, 2.0):
        fault = _disagreement(scored, ranked(calibration, step * first, parts), rate)
        if fault is None:
            return Tolerance(step * first, max(map_apart, least.map * map_spread))
        faults.append(fault)
    raise ExportError(faults[0])


def _disagreement(scored: PathScores, values: Ranked, rate: float) -> str | None:
    """A sentence on the first verdict of a path that is not torch's."""
    best = best_false_reject_rate(values.size)
    rates = [rate, *(r for r in RATES if r >= best and r != rate)]
    for row, (name, kind) in enumerate(scored.paths):
        for image, ours, theirs in zip(
            scored.images, scored.scores[0], scored.scores[row], strict=True
        ):
            p_torch, p_path = ranked_p_value(ours, values), ranked_p_value(theirs, values)
            for r in rates:
                if (p_torch <= r) != (p_path <= r):
                    return (
                        f"{name} ({kind}) gives another verdict than the trained model on {image} "
                        f"at a false-reject rate of {r:g}: scores {theirs:.6g} and {ours:.6g}, "
                        f"p-values {p_path:.4g} and {p_torch:.4g}. Nothing was written; "
                        f"{CURES[kind]}"
                    )
    return None


def check_batch(precision: str, infer: Infer, images: NDArray[np.float32]) -> None:
    """Hold a graph on ``images`` [N, 3, H, W] at once against each alone; ExportError."""
    singles = [[np.array(output) for output in infer(image[None])] for image in images]
    for batch, *each in zip(infer(images), *singles, strict=True):
        alone = np.concatenate(each)
        if not np.isfinite(alone).all():
            raise ExportError(
                f"the {precision} graph gives features that are not finite; train longer or at a "
                "lower rate, or keep that part of the method in float32"
            )
        gap = float(np.abs(batch - alone).max()) if batch.shape == alone.shape else np.inf
        allowed = BOUNDS[precision].batch * float(np.abs(alone).max())
        if not gap <= allowed:
            raise ExportError(
                f"the {precision} graph gives other features for a batch of {len(images)} than for "
                f"single images (by {gap:.3g}, allowed {allowed:.3g}); keep the batch size out "
                "of the method's shapes and constants"
            )


def table(found: Sequence[Difference], scale: float) -> list[str]:
    """The differences as lines for people; ``scale`` is the spread of the calibration scores."""
    lines = [f"{'difference from torch':32}{'score':>18}{'map':>20}{'of spread':>12}"]
    for d in found:
        score = f"{d.score_largest:.1e} ~{d.score_mean:.1e}"
        maps = f"{d.map_largest:.1e} ~{d.map_mean:.1e}"
        kind, share = f"{d.path}, {d.precision}", d.score_largest / scale
        lines.append(f"  {kind:30}{score:>18}{maps:>20}{share:>12.1e}")
    lines.append("  (largest ~mean over the calibration images and a synthetic defect)")
    return lines


@dataclass(frozen=True)
class Comparison:
    """What the comparison of all paths gave."""

    scored: PathScores  # on the calibration images
    found: list[Difference]
    spreads: dict[str, float]
    half_peak: float | None  # None without float16
    shown: list[NDArray[Any]]  # frames over the range of scores, and the synthetic defect
