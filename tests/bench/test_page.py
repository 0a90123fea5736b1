"""The charts hold every sample, and the page needs nothing from outside."""

from __future__ import annotations

import re
from array import array
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgead.bench.charts import MOST_TICKS, Axis, Chart, histogram, timeline
from edgead.bench.monitor import MachineReading
from edgead.bench.open_loop import OpenLoop
from edgead.bench.page import page
from edgead.bench.results import BenchResult
from edgead.bench.text import machine_lines, side_by_side


@given(st.floats(1e-3, 1e5), st.floats(1, 1e6))
@example(1 / 3, 1.0)  # 35 * 0.01 is above 0.35
def test_every_axis_has_some_round_ticks(low, factor):
    axis = Axis(low / 1.05, low * factor * 1.05, 0, 100, logarithmic=True)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= MOST_TICKS
    assert all(0 <= axis.at(tick) <= 100 for tick in ticks)
    assert ticks == sorted(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_linear_axis_too(low, span):
    axis = Axis(low, low + span, 100, 0)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= MOST_TICKS
    assert all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0], rel=1e-3)
    assert axis.at(low + span / 4) == pytest.approx(75, abs=1e-3)


def test_the_axis_is_logarithmic():
    axis = Axis(1, 100, 0, 100, logarithmic=True)
    assert axis.at(10) == pytest.approx(50)
    assert axis.at(10) - axis.at(1) == pytest.approx(axis.at(100) - axis.at(10))


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart))


def bars(chart: Chart) -> list[int]:
    return [int(t.text.split()[0]) for t in parsed(chart).iter("title")]


@pytest.mark.parametrize("samples", [[5.0], [5.0] * 7, [1.0, 1000.0], [0.01, 0.02, 90.0]])
def test_the_histogram_holds_every_sample(samples):
    assert sum(bars(histogram(samples, "x"))) == len(samples)


def test_the_histogram_marks_the_percentiles():
    texts = re.findall(r">(p[\d.]+|max) ([\d.]+) ms<", str(histogram(list(range(1, 1001)), "x")))
    assert texts == [
        ("p50", "500"), ("p90", "900"), ("p99", "990"), ("p99.9", "999"), ("max", "1000"),
    ]  # fmt: skip


def strokes_of(chart: Chart) -> str:
    return next(parsed(chart).iter("path")).get("d")


def test_the_timeline_hides_no_extreme():
    """Twenty samples for each column of pixels, and one that is large among them."""
    samples = np.full(13_000, 2.0)
    samples[7777] = 200.0
    strokes = strokes_of(timeline(range(13_000), samples, "x", "turn", None))
    pairs = re.findall(r"M(\d+) ([\d.]+)V([\d.]+)", strokes)
    tall = [int(x) for x, low, high in pairs if low != high]
    assert len(tall) == 1
    assert (tall[0] - 46) / 502 == pytest.approx(7777 / 12_999, abs=0.001)
    # From the axis' low end to its high end, less the twentieth of room there.
    heights = sorted({float(y) for _, low, high in pairs for y in (low, high)})
    expected = 230 * (1 - 2 * np.log(1.05) / np.log(100 * 1.05**2))
    assert heights[-1] - heights[0] == pytest.approx(expected, abs=0.1)


def test_dropped_frames_leave_a_gap_in_the_timeline():
    strokes = strokes_of(timeline([0, 3, 4], [1.0, 2.0, 3.0], "x", "frame", None))
    assert re.findall(r"M(\d+)", strokes) == ["46", "422", "548"]  # 46 + 502 * 3 / 4, to the even


def test_a_title_is_no_markup():
    for chart in (histogram([1.0], "<&>"), timeline([0], [1.0], "<&>", "turn", 2.0)):
        assert "<&>" in next(parsed(chart).itertext())


def measured(label: str) -> BenchResult:
    series = {
        name: array("d", [1.0, 2.0, 4.0])
        for name in ("end_to_end", "preprocess", "engine", "anomaly_map", "total")
    }
    loop = OpenLoop(30, 4)
    for number in (0, 2, 3):
        loop.add(number, 10.0 * (number + 1), 0.0)
    identity = dict.fromkeys(("created", "processor", "version", "kernels", "edgead"), "x")
    settings = {"frames": ["uint8 2 x 2"], "images": "parts"}
    return BenchResult(
        label, {**identity, "cores": 2}, settings, series, loop, [900.0], ["few: <1>"]
    )


READINGS = [
    MachineReading(0, 0, 100.0, celsius={"CPU": 40.0}, mhz={"cpu0": 1500.0}),
    MachineReading(60, 30, 101.0),
    MachineReading(600, 90, 101.5, celsius={"CPU": 61.25}, mhz={"cpu0": 1490.0}, power_mode="2"),
]


def page_of(parts: list[BenchResult]) -> bytes:
    return page(parts, READINGS)


def test_the_machine_in_words():
    assert machine_lines(READINGS) == [
        "machine: 90.0 s of CPU time in 600.0 s; memory (RSS) 100.0 MB, at the end 101.5 MB, "
        "+0.50 MB since the first minute",
        "machine: °C, first and last: CPU 40 to 61.25",
        "machine: MHz, first and last: cpu0 1500 to 1490",
        "machine: power mode 2",
    ]
    assert machine_lines([MachineReading(0, 0), MachineReading(1, 1)]) == [
        "machine: 1.0 s of CPU time in 1.0 s"
    ]


def test_the_page_is_one_file_with_everything_escaped():
    html = page_of([measured("<b>&.edgead"), measured("other")]).decode()
    assert "<b>&.edgead" not in html and "&lt;b&gt;&amp;.edgead" in html
    assert "few: &lt;1&gt;" in html and "power mode 2" in html
    assert not re.search(r"https?:|src=|url\(|<script|<link", html)
    assert html.count("<svg") == 8
    for svg in re.findall(r"<svg.*?</svg>", html):
        ElementTree.fromstring(svg)
    # Frame 1 came after 33 ms, when frame 0 had been scored for 23 ms; the last took 40 ms.
    dropped = "1 dropped (1 because the system woke the process late), 1 later than 33.3 ms"
    assert f"{dropped}, p99 is 1.33 x p50" in html
    assert "deadline 33.33 ms" in html


def test_side_by_side_by_hand():
    one, two = measured("one"), measured("two")
    two.series["end_to_end"] = array("d", [2.0, 3.0, 6.0])
    two.open_loop, two.cold_starts_ms = None, [450.0]
    assert side_by_side([one, two]) == [
        ("ms", "one", "two"),
        ("network, p50", "2.000", "2.000 (1.00 x)"),
        ("network, p99", "4.000", "4.000 (1.00 x)"),
        ("end_to_end, p50", "2.000", "3.000 (1.50 x)"),
        ("end_to_end, p99", "4.000", "6.000 (1.50 x)"),
        ("open loop, p50", "30.000", ""),
        ("open loop, p99", "40.000", ""),
        ("cold start, p50", "900.000", "450.000 (0.50 x)"),
    ]
    page = page_of([one, two]).decode()
    assert page.count("Side by side") == 1 and "450.000 (0.50 x)" in page
    assert "Side by side" not in page_of([one]).decode()


def test_a_queue_age_of_zero_is_only_in_the_table():
    """Zero has no place on a log axis; the charts show latencies, which are above zero."""
    assert "0.000" in page_of([measured("x")]).decode()


def test_a_name_on_a_page_is_one_line_of_what_can_be_seen(tmp_path):
    """And what a template marks as safe, such as a chart, is left as it is."""
    from markupsafe import Markup

    from edgead.bench.templates import render

    template = tmp_path / "toy.html"
    template.write_text("{{ name }}|{{ chart }}")
    name = "a\nb\u202ec\u200b<i>\udcff"
    data = render(template, name=name, chart=Markup("<svg>\n</svg>"))
    assert data == rb"a\nb\u202ec\u200b&lt;i&gt;\udcff|" + b"<svg>\n</svg>"
