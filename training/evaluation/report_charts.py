"""The report's two charts as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 680, 330
LEFT, RIGHT, TOP, BOTTOM = 14, 14, 36, 46
BINS = 44
SIDE, MARGIN = 330, 46  # the ROC's square and the room for its labels


class _Axis:
    """Scores along the width; logarithmic where positive scores have a long tail."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        low, high = float(values.min()), float(values.max())
        self.logarithmic = low > 0 and high > 30 * float(np.median(values))
        self.start, self.end = (float(end) for end in self.warp(np.array([low, high])))
        pad = 0.02 * (self.end - self.start) or 0.5
        self.start, self.end = self.start - pad, self.end + pad
        self.edges = np.linspace(self.start, self.end, BINS + 1)

    def warp(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(values) if self.logarithmic else values

    def score(self, warped: float) -> float:
        return 10.0**warped if self.logarithmic else warped

    def x(self, score: float) -> float:
        warped = math.log10(score) if self.logarithmic else score
        return LEFT + (WIDTH - LEFT - RIGHT) * (warped - self.start) / (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            decades = range(math.floor(self.start), math.ceil(self.end) + 1)
            factors = (1, 2, 5) if len(decades) <= 4 else (1,)
            ticks = [factor * 10.0**decade for decade in decades for factor in factors]
            inside = [t for t in ticks if self.start <= math.log10(t) <= self.end]
            return inside[:: 1 + len(inside) // 10]
        rough = (self.end - self.start) / 7
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.start / step)
        return [step * k for k in range(first, math.floor(self.end / step) + 1)]


def histogram(good: NDArray[np.float64], defective: NDArray[np.float64], threshold: float) -> str:
    """Scores of good images upwards, of defective ones downwards, on one axis with the threshold.

    good, defective  [n] float64, not both empty
    Each class is drawn to its own tallest bar, so that few images of one class stay visible beside
    many of the other.
    """
    axis = _Axis(np.concatenate([good, defective, [threshold]]))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    counts = {
        "good": np.histogram(axis.warp(good), axis.edges)[0],
        "defective": np.histogram(axis.warp(defective), axis.edges)[0],
    }
    lane = middle - TOP - 8
    parts = [_open(WIDTH, HEIGHT, "Histogram of scores: good up, defective down, threshold line")]
    for tick in axis.ticks():
        parts.append(_line(axis.x(tick), TOP, axis.x(tick), HEIGHT - BOTTOM, "grid"))
        parts.append(_text(axis.x(tick), HEIGHT - BOTTOM + 18, f"{tick:.4g}", "middle"))
    for name, count in counts.items():
        up = name == "good"
        for index in np.flatnonzero(count):
            height = max(lane * float(count[index]) / float(count.max()), 2.0)
            low, high = (axis.score(float(e)) for e in axis.edges[index : index + 2])
            title = f"{int(count[index])} {name}, score {low:.4g} to {high:.4g}"
            parts.append(_bar(int(index), middle - height if up else middle, height, name, title))
    parts.append(_line(LEFT, middle, WIDTH - RIGHT, middle, "axis"))
    line = axis.x(threshold)
    parts.append(_line(line, TOP - 6, line, HEIGHT - BOTTOM, "threshold"))
    anchor = "start" if line < WIDTH / 2 else "end"
    parts.append(_text(line, TOP - 14, f"threshold {threshold:.4g}", anchor, "strong"))
    parts.append(_text(WIDTH / 2, HEIGHT - 6, "score", "middle"))
    return "".join(parts) + "</svg>"


def roc(
    false: NDArray[np.float64],
    true: NDArray[np.float64],
    reached: tuple[float, float],
    promised: float,
) -> str:
    """The ROC with the operating point and the promised false-reject rate.

    false, true  rates at all thresholds, from (0, 0) to (1, 1); reached is (false-reject rate,
    share of defects caught) of the verdicts.
    """
    plot = SIDE - MARGIN - 12

    def point(x: float, y: float) -> tuple[float, float]:
        return MARGIN + plot * x, 12 + plot * (1 - y)

    parts = [_open(SIDE, SIDE, "ROC: share of defects caught over share of good parts rejected")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        (x, bottom), (left, y) = point(tick, 0), point(0, tick)
        parts.append(_line(x, 12, x, bottom, "grid") + _line(left, y, left + plot, y, "grid"))
        parts.append(_text(x, bottom + 17, f"{tick:g}", "middle"))
        parts.append(_text(left - 7, y + 4, f"{tick:g}", "end"))
    (x, top), (_, bottom) = point(promised, 1), point(promised, 0)
    parts.append(_line(x, top, x, bottom, "threshold"))
    curve = [point(float(a), float(b)) for a, b in zip(*_corners(false, true), strict=True)]
    path = " L".join(f"{a:.2f} {b:.2f}" for a, b in curve)
    (x0, y0), (x1, _) = point(0, 0), point(1, 0)
    parts.append(f'<path class="area" d="M{x0:.2f} {y0:.2f} L{path} L{x1:.2f} {y0:.2f} Z"/>')
    parts.append(f'<path class="curve" d="M{path}"/>')
    x, y = point(*reached)
    title = f"{reached[1]:.1%} of defects caught, {reached[0]:.1%} of good parts rejected"
    parts.append(f'<circle class="point" cx="{x:.2f}" cy="{y:.2f}" r="6"><title>{title}</title>')
    parts.append("</circle>")
    parts.append(_text(MARGIN + plot / 2, SIDE - 4, "good parts rejected", "middle"))
    middle = 12 + plot / 2
    parts.append(
        f'<text x="11" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle})">defects caught</text>'
    )
    return "".join(parts) + "</svg>"


def _corners(
    false: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Without the points in the middle of a straight piece: a long test set, a short path."""
    kept = np.ones(false.size, dtype=bool)
    same_x, same_y = np.diff(false) == 0, np.diff(true) == 0
    kept[1:-1] = ~((same_x[:-1] & same_x[1:]) | (same_y[:-1] & same_y[1:]))
    return false[kept], true[kept]


def _open(width: int, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"/>'


def _text(x: float, y: float, text: str, anchor: str, name: str = "") -> str:
    return f'<text class="{name}" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{text}</text>'


def _bar(index: int, top: float, height: float, name: str, title: str) -> str:
    width = (WIDTH - LEFT - RIGHT) / BINS
    return (
        f'<rect class="{name}" x="{LEFT + width * index + 0.75:.2f}" y="{top:.2f}" '
        f'width="{width - 1.5:.2f}" height="{height:.2f}" rx="1.5"><title>{title}</title></rect>'
    )
