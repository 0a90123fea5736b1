"""What edgead-bench prints for people."""

from __future__ import annotations

from collections.abc import Sequence

from edgead.bench.monitor import MachineReading
from edgead.bench.results import SCOPES, BenchResult
from edgead.bench.samples import PERCENTILES, summary
from edgead.bench.trust import rss_growth_mb
from edgead.cli.console import Console, count, table
from edgead.monitoring.percentiles import percentile

HEAD = ("p50", "p90", "p99", "p99.9", "max", "mean")


def tell(
    console: Console, measured: Sequence[BenchResult], readings: Sequence[MachineReading]
) -> None:
    """A table for each bundle, then the machine, ratios, changes and warnings."""
    for one in measured:
        console.say()
        console.say(console.paint(one.label, "bold"))
        for line in [*table(rows(one), right=range(1, 8)), *below(one)]:
            console.say(f"  {line}")
    console.say()
    for line in (*machine_lines(readings), *ratio_lines(measured), *changes_lines(measured[0])):
        console.say(line)
    for line in doubts(measured):
        console.say(f"{console.paint('doubt', 'yellow')}  {line}")


def machine_lines(readings: Sequence[MachineReading]) -> list[str]:
    """Memory, CPU time, heat and clocks, from the first reading to the last."""
    first, last = readings[0], readings[-1]
    spent, passed = last.cpu_s - first.cpu_s, last.at_s - first.at_s
    lines = [f"machine: {spent:.1f} s of CPU time in {passed:.1f} s"]
    if first.rss_mb is not None and last.rss_mb is not None:
        lines[0] += f"; memory (RSS) {first.rss_mb:.1f} MB, at the end {last.rss_mb:.1f} MB"
    growth = rss_growth_mb(readings)
    if growth is not None:
        lines[0] += f", {growth:+.2f} MB since the first minute"
    for before, after, unit in ((first.celsius, last.celsius, "°C"), (first.mhz, last.mhz, "MHz")):
        both = [f"{n} {before[n]:.4g} to {after[n]:.4g}" for n in before if n in after]
        if both:
            lines.append(f"machine: {unit}, first and last: {', '.join(both)}")
    if last.power_mode is not None:
        lines.append(f"machine: power mode {last.power_mode}")
    return lines


def ratio_lines(measured: Sequence[BenchResult]) -> list[str]:
    """A line for each scope of each bundle but the first."""
    return [
        f"ratio  {other.label} / {measured[0].label}, {name}: {ratio:.3f} "
        f"({low:.3f} to {high:.3f}), medians, in turns"
        for other in measured[1:]
        for name, (ratio, low, high) in other.ratios.items()
    ]


def doubts(measured: Sequence[BenchResult]) -> list[str]:
    """The warnings; with several bundles, those that only some have begin with whose they are."""
    shared = set.intersection(*(set(one.warnings) for one in measured))
    pairs = [(one.label, warning) for one in measured for warning in one.warnings]
    return list(dict.fromkeys(w if w in shared else f"{label}: {w}" for label, w in pairs))


def changes_lines(one: BenchResult) -> list[str]:
    """A line for each scope and percentile that is compared with an older run."""
    lines = [f"differs: {difference}" for difference in one.differences]
    for change in one.changes:
        line = (
            f"{change.verdict}: {change.scope}, p{change.percent:g}, {change.old_ms:.3f} ms then, "
            f"{change.new_ms:.3f} ms now"
        )
        if change.ratio is not None:
            line += f", ratio {change.ratio:.3f} ({change.low:.3f} to {change.high:.3f})"
        lines.append(line)
    return lines


def rows(one: BenchResult) -> list[tuple[str, ...]]:
    """The table of one bundle, its head first; columns 1 to 7 are numbers."""
    loop = one.open_loop
    series: list[tuple[str, Sequence[float], str]] = [
        *((name, samples, f"scope: {SCOPES[name]}") for name, samples in one.scopes.items()),
        *((f"  {name}", samples, "stage") for name, samples in one.stages.items()),
    ]
    if loop is not None:
        series.append(("open loop", loop.latency_ms, "scope: arrival to result"))
        series.append(("  queue age", loop.queue_age_ms, "arrival to start"))
    found: list[tuple[str, ...]] = [("ms per frame", *HEAD, "samples", "")]
    for name, samples, scope in series:
        values = summary(samples)
        cells = (f"{values[key]:.3f}" for key in (*PERCENTILES, "max_ms", "mean_ms"))
        found.append((name, *cells, str(len(samples)), scope))
    return found


def side_by_side(measured: Sequence[BenchResult]) -> list[tuple[str, ...]]:
    """A table with a column for each bundle, its head first; those after the first with a ratio."""
    tables = [_figures(one) for one in measured]
    found = [("ms", *(one.label for one in measured))]
    for name, base in tables[0].items():
        others = (table.get(name) for table in tables[1:])
        cells = ("" if ms is None else f"{ms:.3f} ({ms / base:.2f} x)" for ms in others)
        found.append((name, f"{base:.3f}", *cells))
    return found


def _figures(one: BenchResult) -> dict[str, float]:
    """Median and p99 of each scope, and the median of the cold starts."""
    samples: dict[str, Sequence[float]] = dict(one.scopes)
    if one.open_loop is not None:
        samples["open loop"] = one.open_loop.latency_ms
    found = {f"{name}, p{p:g}": percentile(ms, p) for name, ms in samples.items() for p in (50, 99)}
    if one.cold_starts_ms:
        found["cold start, p50"] = percentile(one.cold_starts_ms, 50)
    return found


def below(one: BenchResult) -> list[str]:
    """What the table has no room for."""
    lines = []
    if one.open_loop is not None:
        loop = one.open_loop
        reasons = {
            "while another was scored": loop.drops_busy,
            "because the system woke the process late": loop.drops - loop.drops_busy,
        }
        why = ", ".join(f"{number} {reason}" for reason, number in reasons.items() if number)
        lines.append(
            f"open loop at {loop.hz:g} Hz: {count(loop.count, 'frame')}, {loop.drops} dropped"
            f"{f' ({why})' if why else ''}, {loop.deadline_misses} later than "
            f"{loop.deadline_ms:.1f} ms, p99 is {loop.p99_over_p50:.2f} x p50"
        )
    if one.cold_starts_ms:
        starts = ", ".join(f"{ms:.0f}" for ms in one.cold_starts_ms)
        lines.append(f"cold start (process to first verdict): {starts} ms")
    if one.rss_mb is not None:
        lines.append(f"memory (RSS) of its own process, at the end: {one.rss_mb:.1f} MB")
    return lines
