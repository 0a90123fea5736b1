"""Latencies as inline SVG: how they are distributed, and when they came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from edgead.bench.samples import PERCENTILES
from edgead.monitoring.percentiles import percentile

WIDTH, LEFT, RIGHT = 720, 56, 16
ROW = 15  # height of a line of text
BARS, BAR_HEIGHT = 90, 170
TIMELINE_HEIGHT = 190
MOST_TICKS = 9


class LogAxis:
    """Milliseconds on a logarithmic axis from pixel ``start`` to pixel ``end``."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        # A twentieth of room at both ends; equal samples get an axis, too.
        self.low, self.high = math.log(low / 1.05), math.log(high * 1.05)
        self.start, self.end = start, end

    def at(self, ms: float) -> float:
        """The pixel of ``ms``."""
        share = (math.log(ms) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """At most MOST_TICKS round numbers on the axis, at least two."""
        low, high = math.exp(self.low), math.exp(self.high)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1,)):
            found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
            if 3 <= len(found) <= MOST_TICKS:
                return found
        rough = (high - low) / 6
        if len(decades) > MOST_TICKS:
            return found[:: 1 + len(found) // MOST_TICKS]
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
        return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def histogram(samples: Sequence[float], title: str) -> str:
    """Number of samples over milliseconds on a log axis, percentiles and maximum marked."""
    values = np.asarray(samples, np.float64)
    marks = [(f"p{p:g}", percentile(values, p)) for p in PERCENTILES.values()]
    marks.append(("max", float(values.max())))
    top = ROW * (len(marks) + 1)
    bottom = top + BAR_HEIGHT
    axis = LogAxis(float(values.min()), float(values.max()), LEFT, WIDTH - RIGHT)
    edges = np.exp(np.linspace(axis.low, axis.high, BARS + 1))
    counts, _ = np.histogram(values, edges)
    parts = [_text(LEFT, ROW - 3, f"{title}: {values.size} samples", "strong")]
    for low, high, number in zip(edges[:-1], edges[1:], counts, strict=True):
        if number:
            x, width = axis.at(low), axis.at(high) - axis.at(low)
            # The square root keeps one sample in the tail visible beside thousands in the middle.
            height = BAR_HEIGHT * math.sqrt(number / counts.max())
            parts.append(
                f'<rect class="bar" x="{x:.2f}" y="{bottom - height:.2f}" '
                f'width="{max(width - 1, 1):.2f}" height="{height:.2f}"><title>{number} of '
                f"{low:.4g} to {high:.4g} ms</title></rect>"
            )
    for row, (name, ms) in enumerate(marks):
        x, y = axis.at(ms), float(ROW * (row + 2) - 3)
        ends = x > WIDTH * 0.75
        parts.append(_line(x, y - 9, x, bottom, "mark"))
        parts.append(
            _text(x + (-4 if ends else 4), y, f"{name} {ms:.4g} ms", "label", "end" if ends else "")
        )
    for number in sorted({1, int(counts.max())}):
        y = bottom - BAR_HEIGHT * math.sqrt(number / counts.max())
        parts.append(_text(LEFT - 6, y + 4, str(number), "", "end"))
    for tick in axis.ticks():
        parts.append(_line(axis.at(tick), bottom, axis.at(tick), bottom + 4, "axis"))
        parts.append(_text(axis.at(tick), bottom + 4 + ROW, f"{tick:.4g}", "", "middle"))
    parts.append(_line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
    parts.append(_text(LEFT, bottom + 5 + 2 * ROW, "ms (log axis); height: square root of count"))
    return _svg(bottom + 3 * ROW, parts, f"histogram of {title}")


def timeline(
    places: Sequence[int], samples: Sequence[float], title: str, unit: str, limit: float | None
) -> str:
    """Milliseconds on a log axis over the number of the turn or frame; ``limit`` as a line.

    Samples that share a column of pixels are a line from the least to the largest of them, so no
    extreme is hidden however many there are.
    """
    values, numbers = np.asarray(samples, np.float64), np.asarray(places, np.int64)
    high = max(float(values.max()), limit or 0)
    top, bottom = ROW + 6, ROW + 6 + TIMELINE_HEIGHT
    axis = LogAxis(float(values.min()), high, bottom, top)
    width = WIDTH - LEFT - RIGHT
    last = max(int(numbers.max()), 1)
    columns = np.rint(numbers / last * width).astype(np.int64)
    parts = [_text(LEFT, ROW - 3, f"{title}, over time", "strong")]
    for tick in axis.ticks():
        parts.append(_line(LEFT, axis.at(tick), WIDTH - RIGHT, axis.at(tick), "grid"))
        parts.append(_text(LEFT - 6, axis.at(tick) + 4, f"{tick:.4g}", "", "end"))
    parts.append(f'<path class="samples" d="{_extremes(columns, values, axis)}"/>')
    if limit is not None:
        y = axis.at(limit)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "limit"))
        parts.append(_text(WIDTH - RIGHT, y - 4, f"deadline {limit:.4g} ms", "label", "end"))
    parts.append(_text(LEFT, bottom + ROW + 2, f"{unit} 0"))
    parts.append(_text(WIDTH - RIGHT, bottom + ROW + 2, f"{unit} {last}; ms, log axis", "", "end"))
    return _svg(bottom + 2 * ROW, parts, f"timeline of {title}")


def _extremes(columns: NDArray[np.int64], values: NDArray[np.float64], axis: LogAxis) -> str:
    """A vertical stroke for each column of pixels; a single sample is a dot by its round ends."""
    strokes = []
    for column in np.unique(columns):
        inside = values[columns == column]
        low, high = axis.at(float(inside.min())), axis.at(float(inside.max()))
        strokes.append(f"M{LEFT + column} {low:.1f}V{high:.1f}")
    return "".join(strokes)


def _svg(height: float, parts: Sequence[str], name: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(name)}">'
        f"{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{kind}{anchor} x="{x:.2f}" y="{y:.2f}">{escape(text)}</text>'
