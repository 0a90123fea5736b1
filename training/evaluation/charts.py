"""The report's charts: scores, ROC, and scores over time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgead.bench.charts import Axis, Chart

if TYPE_CHECKING:  # which needs scikit-learn, and a device that learns has none
    from .timeline import Timeline

WIDTH, HEIGHT = 680, 330
LEFT, RIGHT, TOP, BOTTOM = 14, 14, 36, 46
BINS = 44
SIDE, MARGIN, EDGE = 330, 46, 12  # the ROC's square; room for its labels and opposite them
PANEL_WIDTH, PANEL_HEIGHT, PANEL_LEFT, PANEL_RIGHT = 1160, 150, 58, 24
COLUMNS = 900  # of the curve: a longer video is drawn as least and largest score of each column


def histogram(
    good: NDArray[np.float64],
    defective: NDArray[np.float64],
    threshold: float,
    line_name: str = "threshold",
) -> Chart:
    """Scores of good images upwards, of defective ones downwards, on one axis with the threshold.

    Each class is drawn to its own tallest bar, so that few images of one class stay visible beside
    many of the other.

    Args:
        good, defective: [n] float64, not both empty
        threshold: a score above it is anomalous
        line_name: what the line at `threshold` is called
    """
    chart = Chart(WIDTH, HEIGHT, "Histogram of scores: good up, defective down, threshold line")
    axis = _score_axis(np.concatenate([good, defective, [threshold]]))
    bottom = HEIGHT - BOTTOM
    middle = (TOP + bottom) / 2 if defective.size else bottom
    chart.grid_x(axis, TOP, bottom)
    for name, scores in (("good", good), ("defective", defective)):
        bins = axis.bins(scores, BINS)
        for x, width, low, high, count in bins:
            height = max((middle - TOP - 8) * count / max(most for *_, most in bins), 2.0)
            chart.add(
                "rect",
                name,
                title=f"{count} {name}, score {low:.4g} to {high:.4g}",
                x=x + 0.75,
                y=middle - height if name == "good" else middle,
                width=width - 1.5,
                height=height,
                rx="1.5",
            )
    chart.line(LEFT, middle, WIDTH - RIGHT, middle, "axis")
    line = axis.at(threshold)
    chart.line(line, TOP - 6, line, bottom, "threshold")
    anchor = "start" if line < WIDTH / 2 else "end"
    chart.text(line, TOP - 14, f"{line_name} {threshold:.4g}", "strong", anchor)
    chart.text(WIDTH / 2, HEIGHT - 6, "score", anchor="middle")
    return chart


def _score_axis(values: NDArray[np.float64]) -> Axis:
    """A little wider than the values; logarithmic where positive scores have a long tail."""
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 30 * float(np.median(values)):
        room = (high / low) ** 0.02
        return Axis(low / room, high * room, LEFT, WIDTH - RIGHT, logarithmic=True)
    pad = 0.02 * (high - low) or 0.5
    return Axis(low - pad, high + pad, LEFT, WIDTH - RIGHT)


def roc(
    false: NDArray[np.float64],
    true: NDArray[np.float64],
    reached: tuple[float, float],
    promised: float,
) -> Chart:
    """The ROC with the operating point and the promised false-reject rate.

    Args:
        false, true: [n] rates, from (0, 0) to (1, 1)
        reached: (false-reject rate, share of defects caught) of the verdicts
        promised: the false-reject rate that was asked for
    """
    chart = Chart(SIDE, SIDE, "ROC: share of defects caught over share of good parts rejected")
    left, right, top, bottom = MARGIN, SIDE - EDGE, EDGE, SIDE - MARGIN
    across, up = Axis(0, 1, left, right), Axis(0, 1, bottom, top)
    chart.grid_x(across, top, bottom)
    chart.grid_y(up, left, right)
    chart.line(across.at(promised), top, across.at(promised), bottom, "threshold")
    path = _path((across.at(x), up.at(y)) for x, y in zip(false, true, strict=True))
    chart.add("path", "area", d=f"M{left} {bottom} L{path} L{right} {bottom} Z")
    chart.add("path", "curve", d=f"M{path}")
    title = f"{reached[1]:.1%} of defects caught, {reached[0]:.1%} of good parts rejected"
    x, y = across.at(reached[0]), up.at(reached[1])
    chart.add("circle", "point", title=title, cx=x, cy=y, r=6)
    middle = (left + right) / 2
    chart.text(middle, SIDE - 4, "good parts rejected", anchor="middle")
    turned = f"translate(11 {(top + bottom) / 2}) rotate(-90)"
    chart.add("text", "", transform=turned, text_anchor="middle").text = "defects caught"
    return chart


def panel(timeline: Timeline, threshold: float) -> Chart:
    """The scores of a video over its frames, anomalous spans shaded, with the threshold.

    The axis ends at the largest score or the threshold; it begins at the least score.
    """
    scores = timeline.scores
    low, high = float(scores.min()), float(max(scores.max(), threshold))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    right, top, bottom = PANEL_WIDTH - PANEL_RIGHT, 10, PANEL_HEIGHT - 26
    label = f"Score over the frames of {timeline.video}, anomalous spans shaded"
    chart = Chart(PANEL_WIDTH, PANEL_HEIGHT, label)
    across, up = Axis(0, scores.size, PANEL_LEFT, right), Axis(low, high, bottom, top)
    for first, end in timeline.spans():
        x = across.at(first)
        title = f"frames {first} to {end - 1}"
        width = across.at(end) - x
        chart.add("rect", "span", title=title, x=x, y=top, width=width, height=bottom - top)
    curve = _path((across.at(at), up.at(score)) for at, score in _thinned(scores))
    chart.add("path", "score", d=f"M{curve}")
    if threshold >= low:
        chart.line(PANEL_LEFT, up.at(threshold), right, up.at(threshold), "threshold")
    chart.line(PANEL_LEFT, bottom, right, bottom, "axis")
    for score in (low, high):
        chart.text(PANEL_LEFT - 8, up.at(score) + 4, f"{score:.3g}", anchor="end")
    for frame in across.ticks():
        if frame.is_integer() and frame < scores.size:
            chart.text(across.at(frame), PANEL_HEIGHT - 8, f"{frame:.0f}", anchor="middle")
    return chart


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " L".join(f"{x:.2f} {y:.2f}" for x, y in points)


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
