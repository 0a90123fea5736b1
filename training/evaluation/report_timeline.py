"""The report's panels of scores over time, inline SVG: one for each video."""

from __future__ import annotations

from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .timeline import Timeline

WIDTH, HEIGHT = 1160, 150
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 10, 26
COLUMNS = 900  # of the curve: a longer video is drawn as least and largest score of each column


def panel(timeline: Timeline, threshold: float) -> str:
    """The scores of a video over its frames, anomalous spans shaded, with the threshold.

    The axis ends at the largest score or the threshold; it begins at the least score.
    """
    scores = timeline.scores
    low, high = float(scores.min()), float(max(scores.max(), threshold))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(frame: float) -> float:
        return LEFT + (right - LEFT) * frame / scores.size

    def y(score: float) -> float:
        return bottom - (bottom - TOP) * (score - low) / (high - low)

    label = f"Score over the frames of {escape(timeline.video)}, anomalous spans shaded"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for first, end in timeline.spans():
        parts.append(
            f'<rect class="span" x="{x(first):.2f}" y="{TOP}" width="{x(end) - x(first):.2f}" '
            f'height="{bottom - TOP}"><title>frames {first} to {end - 1}</title></rect>'
        )
    curve = " L".join(f"{x(at):.1f} {y(score):.1f}" for at, score in _thinned(scores))
    parts.append(f'<path class="score" d="M{curve}"/>')
    if threshold >= low:
        parts.append(_line(LEFT, y(threshold), right, y(threshold), "threshold"))
    parts.append(_line(LEFT, bottom, right, bottom, "axis"))
    for score in (low, high):
        parts.append(_text(LEFT - 8, y(score) + 4, f"{score:.3g}", "end"))
    for frame in _ticks(scores.size):
        parts.append(_text(x(frame), HEIGHT - 8, str(frame), "middle"))
    return "".join(parts) + "</svg>"


def _thinned(scores: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(frame, score) points of the curve, at frames' middles; no peak is lost."""
    if scores.size <= COLUMNS:
        return [(at + 0.5, float(score)) for at, score in enumerate(scores)]
    edges = np.linspace(0, scores.size, COLUMNS + 1).astype(int)
    points = []
    for first, end in pairwise(edges):
        column = scores[first:end]
        for at in sorted({int(column.argmin()), int(column.argmax())}):
            points.append((first + at + 0.5, float(column[at])))
    return points


def _ticks(frames: int) -> list[int]:
    power = 10 ** max(len(str(frames)) - 2, 0)
    step = next(m * power for m in (1, 2, 5, 10) if frames <= 10 * m * power)
    return list(range(0, frames, step))


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{text}</text>'
