"""What edgead-bench prints for people."""

from __future__ import annotations

from collections.abc import Sequence

from edgead.bench.results import SCOPES, Measured
from edgead.bench.samples import PERCENTILES, summary
from edgead.console import Console, count, table

HEAD = ("p50", "p90", "p99", "p99.9", "max", "mean")


def tell(console: Console, measured: Sequence[Measured]) -> None:
    """A table for each bundle, then ratios, then warnings."""
    for one in measured:
        console.say()
        console.say(console.paint(one.label, "bold"))
        for line in _table(one):
            console.say(f"  {line}")
        for line in _below(one):
            console.say(f"  {line}")
    for other in measured[1:]:
        for name, (ratio, low, high) in other.ratios.items():
            console.say(
                f"ratio  {other.label} / {measured[0].label}, {name}: {ratio:.3f} "
                f"({low:.3f} to {high:.3f}), medians, in turns"
            )
    console.say()
    for warning in dict.fromkeys(w for one in measured for w in one.warnings):
        console.say(f"{console.paint('doubt', 'yellow')}  {warning}")


def _table(one: Measured) -> list[str]:
    batch = one.settings["batch"]
    per = "frame" if batch == 1 else f"{batch} frames"
    rows: list[tuple[str, ...]] = [(f"ms per {per}", *HEAD, "samples", "")]
    for name, samples in one.scopes.items():
        rows.append(_row(name, samples, f"scope: {SCOPES[name]}"))
    for name, samples in one.stages.items():
        rows.append(_row(f"  {name}", samples, "stage"))
    if one.open_loop is not None:
        rows.append(_row("open loop", one.open_loop.latency_ms, "scope: arrival to result"))
        rows.append(_row("  queue age", one.open_loop.queue_age_ms, "arrival to start"))
    return table(rows, right=range(1, 8))


def _row(name: str, samples: Sequence[float], scope: str) -> tuple[str, ...]:
    found = summary(samples)
    values = (found[key] for key in (*PERCENTILES, "max_ms", "mean_ms"))
    return name, *(f"{value:.3f}" for value in values), str(len(samples)), scope


def _below(one: Measured) -> list[str]:
    lines = []
    if one.open_loop is not None:
        loop = one.open_loop
        lines.append(
            f"open loop at {loop.hz:g} Hz: {count(loop.count, 'frame')}, {loop.drops} dropped, "
            f"{loop.deadline_misses} later than {loop.deadline_ms:.1f} ms"
        )
    if one.cold_starts_ms:
        starts = ", ".join(f"{ms:.0f}" for ms in one.cold_starts_ms)
        lines.append(f"cold start (process to first verdict): {starts} ms")
    return lines
