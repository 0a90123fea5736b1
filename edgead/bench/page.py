"""A run of edgead-bench as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgead.bench.charts import Chart, histogram, timeline
from edgead.bench.closed_loop import END_TO_END
from edgead.bench.monitor import MachineReading
from edgead.bench.results import BenchResult
from edgead.bench.templates import render
from edgead.bench.text import (
    below,
    changes_lines,
    doubts,
    machine_lines,
    ratio_lines,
    rows,
    side_by_side,
)

TEMPLATE = Path(__file__).with_name("page.html")


def page(results: Sequence[BenchResult], readings: Sequence[MachineReading]) -> bytes:
    """The page: what was measured, doubts, and charts of every bundle."""
    first = results[0]
    identity = first.identity
    about = [
        f"{identity['created']}, {identity['processor']}, {identity['cores']} cores, "
        f"{identity['version']}, kernels {identity['kernels']}, edgead {identity['edgead']}",
        f"frames: {', '.join(first.settings['frames'])}; {first.settings['images']}",
        *machine_lines(readings),
        *ratio_lines(results),
        *changes_lines(first),
    ]
    content = {"results": results, "about": about, "doubts": doubts(results)}
    return render(TEMPLATE, below, rows, charts, side_by_side, **content)


def charts(result: BenchResult) -> list[Chart]:
    """A histogram and a timeline of each loop."""
    samples = result.scopes[END_TO_END]
    title = "end to end (closed loop)"
    found = [histogram(samples, title), timeline(range(len(samples)), samples, title, "turn", None)]
    if result.open_loop is not None:
        loop = result.open_loop
        title = f"arrival to result (open loop, {loop.hz:g} Hz)"
        found.append(histogram(loop.latency_ms, title))
        found.append(timeline(list(loop.served), loop.latency_ms, title, "frame", loop.deadline_ms))
    return found
