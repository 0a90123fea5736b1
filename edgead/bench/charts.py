"""Charts as inline SVG; their colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import ArrayLike

from edgead.bench.samples import PERCENTILES
from edgead.cli.console import count
from edgead.monitoring.percentiles import percentile

WIDTH, LEFT, RIGHT = 560, 46, 12  # as wide as it is shown: text keeps the size of the page's
ROW = 15  # height of a line of text
BARS, HEIGHT = 90, 170
MOST_TICKS = 9


class Axis:
    """Values from `low` to `high` (pixels `start` and `end`), linear or logarithmic."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False
    ) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end
        self.logarithmic = logarithmic
        self._warp: Callable[[float], float] = math.log if logarithmic else float

    def at(self, value: float) -> float:
        """The pixel of `value`."""
        low, high = self._warp(self.low), self._warp(self.high)
        return self.start + (self._warp(value) - low) / (high - low) * (self.end - self.start)

    def bins(self, values: ArrayLike, number: int) -> list[tuple[float, float, float, float, int]]:
        """Those of `number` bins of equal width in pixels that hold some of `values`.

        Returns:
            For each its left end and width in pixels, its least and largest value, its count.
        """
        edges = (np.geomspace if self.logarithmic else np.linspace)(self.low, self.high, number + 1)
        width = abs(self.end - self.start) / number
        bins = zip(edges[:-1], edges[1:], np.histogram(values, edges)[0], strict=True)
        return [(self.at(low), width, low, high, int(n)) for low, high, n in bins if n]

    def ticks(self) -> list[float]:
        """At most MOST_TICKS round numbers on the axis, at least two."""
        low, high = self.low, self.high
        if self.logarithmic:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1,)):
                ticks = (factor * 10.0**decade for decade in decades for factor in factors)
                found = [tick for tick in ticks if low <= tick <= high]
                if 3 <= len(found) <= MOST_TICKS:
                    return found
            if len(decades) > MOST_TICKS:
                return found[:: 1 + len(found) // MOST_TICKS]
        rough = (high - low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
        numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
        return [min(max(step * k, low), high) for k in numbers]  # step * k is rounded


class Chart:
    """A drawing to which shapes are added; a template writes it as it stands.

    Args:
        width, height: of the drawing, in pixels
        label: what it shows, for those who cannot see it
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        box = f"0 0 {width:g} {height:g}"
        self._root = Element("svg", {"viewBox": box, "role": "img", "aria-label": label})

    def __str__(self) -> str:
        return tostring(self._root, encoding="unicode")

    __html__ = __str__

    def add(self, tag: str, kind: str, *, title: str = "", **attributes: float | str) -> Element:
        """Add a shape of class `kind`; numbers are pixels, `title` is its tooltip."""
        written = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{value:.2f}"
            for name, value in attributes.items()
        }
        shape = SubElement(self._root, tag, {"class": kind, **written})
        if title:
            SubElement(shape, "title").text = title
        return shape

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """A line of text that starts, ends or has its middle at `x`."""
        self.add("text", kind, x=x, y=y, text_anchor=anchor).text = text

    def grid_x(self, axis: Axis, top: float, bottom: float) -> None:
        """A vertical line at each tick of a horizontal axis, with its number below."""
        for tick in axis.ticks():
            self.line(axis.at(tick), top, axis.at(tick), bottom, "grid")
            self.text(axis.at(tick), bottom + ROW + 2, f"{tick:.4g}", anchor="middle")

    def grid_y(self, axis: Axis, left: float, right: float) -> None:
        """A horizontal line at each tick of a vertical axis, with its number on the left."""
        for tick in axis.ticks():
            self.line(left, axis.at(tick), right, axis.at(tick), "grid")
            self.text(left - 6, axis.at(tick) + 4, f"{tick:.4g}", anchor="end")


def _milliseconds(values: Iterable[float], start: float, end: float) -> Axis:
    """A logarithmic axis with a twentieth of room at both ends; equal samples get one, too."""
    return Axis(min(values) / 1.05, max(values) * 1.05, start, end, logarithmic=True)


def histogram(samples: Sequence[float], title: str) -> Chart:
    """Number of samples over milliseconds on a log axis, percentiles and maximum marked.

    Args:
        samples: [n] milliseconds above 0, n at least 1
        title: what they are
    """
    values = np.asarray(samples, np.float64)
    marks = [(f"p{p:g}", percentile(values, p)) for p in PERCENTILES.values()]
    marks.append(("max", float(values.max())))
    top = ROW * (len(marks) + 1)
    bottom = top + HEIGHT
    chart = Chart(WIDTH, bottom + 3 * ROW, f"histogram of {title}")
    axis = _milliseconds(values, LEFT, WIDTH - RIGHT)
    chart.text(LEFT, ROW - 3, f"{title}: {count(values.size, 'sample')}", "strong")
    chart.grid_x(axis, top, bottom)
    bins = axis.bins(values, BARS)
    most = max(number for *_, number in bins)

    def y(number: int) -> float:
        # The square root keeps one sample in the tail visible beside thousands in the middle.
        return bottom - HEIGHT * math.sqrt(number / most)

    for x, width, low, high, number in bins:
        height = bottom - y(number)
        label = f"{number} of {low:.4g} to {high:.4g} ms"
        chart.add(
            "rect", "bar", title=label, x=x, y=y(number), width=max(width - 1, 1), height=height
        )
    for row, (_, ms) in enumerate(marks):
        chart.line(axis.at(ms), ROW * (row + 2) - 12, axis.at(ms), bottom, "mark")
    for row, (name, ms) in enumerate(marks):  # over all lines
        x, line = axis.at(ms), ROW * (row + 2) - 3
        side, anchor = (-4, "end") if x > WIDTH * 0.75 else (4, "start")
        chart.text(x + side, line, f"{name} {ms:.4g} ms", "label", anchor)
    for number in sorted({1, most}):
        chart.text(LEFT - 6, y(number) + 4, str(number), anchor="end")
    chart.line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis")
    chart.text(LEFT, bottom + 5 + 2 * ROW, "ms (log axis); height: square root of count")
    return chart


def timeline(
    places: Sequence[int], samples: Sequence[float], title: str, unit: str, limit: float | None
) -> Chart:
    """Milliseconds on a log axis over the number of the turn or frame; ``limit`` as a line.

    Samples that share a column of pixels are a line from the least to the largest of them, so no
    extreme is hidden however many there are.

    Args:
        places: [n] whole numbers, rising: the turn or frame of each sample
        samples: [n] milliseconds above 0, n at least 1
        title, unit: what the samples are, what `places` counts
        limit: milliseconds, or None
    """
    values, numbers = np.asarray(samples, np.float64), np.asarray(places, np.int64)
    top, bottom = 2 * ROW, ROW * (len(PERCENTILES) + 2) + HEIGHT  # as the histogram's
    chart = Chart(WIDTH, bottom + 3 * ROW, f"timeline of {title}")
    axis = _milliseconds([*values, *([] if limit is None else [limit])], bottom, top)
    chart.text(LEFT, ROW - 3, f"{title}, over time", "strong")
    chart.grid_y(axis, LEFT, WIDTH - RIGHT)
    last = max(int(numbers.max()), 1)
    columns = np.rint(numbers / last * (WIDTH - LEFT - RIGHT)).astype(np.int64)
    strokes = []  # a vertical one for each column; a single sample is a dot by its round ends
    for column in np.unique(columns):
        inside = values[columns == column]
        low, high = axis.at(float(inside.min())), axis.at(float(inside.max()))
        strokes.append(f"M{LEFT + column} {low:.1f}V{high:.1f}")
    chart.add("path", "samples", d="".join(strokes))
    if limit is not None:
        y = axis.at(limit)
        chart.line(LEFT, y, WIDTH - RIGHT, y, "limit")
        chart.text(WIDTH - RIGHT, y - 4, f"deadline {limit:.4g} ms", "label", "end")
    chart.text(LEFT, bottom + ROW + 2, f"{unit} 0")
    chart.text(WIDTH - RIGHT, bottom + ROW + 2, f"{unit} {last}", anchor="end")
    chart.text(LEFT, bottom + 5 + 2 * ROW, "ms (log axis)")
    return chart
