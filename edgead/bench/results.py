"""What was measured as JSON and CSV, the same numbers in both."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.bench.closed_loop import END_TO_END, Series, scopes
from edgead.bench.compare import SCHEMA, Change
from edgead.bench.monitor import MachineReading
from edgead.bench.open_loop import OpenLoop
from edgead.bench.samples import Interval, ratio_interval, summary
from edgead.bench.trust import rss_growth_mb
from edgead.monitoring.percentiles import percentile

STAGES = ("preprocess", "copy", "engine", "anomaly_map", "total")
SCOPES = {
    "network": "the graph alone",
    "copies": "graph and copies",
    END_TO_END: "frame to result",
}
"""Scope -> what it covers."""


@dataclass
class BenchResult:
    """One bundle on one device: what it is and what was found."""

    label: str
    identity: dict[str, Any]
    settings: dict[str, Any]
    series: Series
    open_loop: OpenLoop | None = None
    cold_starts_ms: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ratios: dict[str, Interval] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    rss_mb: float | None = None  # of a process of its own, at the end

    @property
    def scopes(self) -> dict[str, list[float]]:
        """Samples in milliseconds by scope."""
        return scopes(self.series)

    @property
    def stages(self) -> dict[str, list[float]]:
        """Samples in milliseconds by stage, in the order of the data's way."""
        return {name: list(self.series[name]) for name in STAGES if name in self.series}

    @property
    def kept_bytes(self) -> int:
        """Memory that the closed loop's samples fill; the open loop's is filled beforehand."""
        return 8 * sum(len(samples) for samples in self.series.values())

    def to_json(self) -> dict[str, Any]:
        """The JSON object of this bundle; ``ratios`` and ``compare`` where there are any."""
        cold = percentile(self.cold_starts_ms, 50) if self.cold_starts_ms else None
        found = {
            "schema_version": SCHEMA,
            "identity": self.identity,
            "settings": self.settings,
            "scopes": {name: summary(samples) for name, samples in self.scopes.items()},
            "stages": {name: summary(samples) for name, samples in self.stages.items()},
            "open_loop": self.open_loop.to_json() if self.open_loop else None,
            "cold_start_ms": cold,
            "cold_start_samples_ms": self.cold_starts_ms,
            "warnings": self.warnings,
        }
        if self.rss_mb is not None:
            found["rss_mb"] = self.rss_mb
        if self.ratios:
            found["ratios"] = {name: ratio._asdict() for name, ratio in self.ratios.items()}
        if self.changes:
            found["compare"] = {
                "differences": self.differences,
                "changes": [asdict(change) for change in self.changes],
            }
        return found


def add_ratios(measured: Sequence[BenchResult]) -> None:
    """Set each one's median over the first's, scope by scope; they were measured in turns."""
    base = measured[0].scopes
    for other in measured[1:]:
        other.ratios = {
            name: ratio_interval(samples, base[name], 50, paired=True)
            for name, samples in other.scopes.items()
            if name in base
        }


def report(measured: Sequence[BenchResult], readings: Sequence[MachineReading]) -> dict[str, Any]:
    """The whole JSON object: the first bundle's keys, ``machine``, and the others ``beside``."""
    machine = {
        "readings": [asdict(reading) for reading in readings],
        "rss_growth_mb": rss_growth_mb(readings),
    }
    found = {**measured[0].to_json(), "machine": machine}
    if len(measured) > 1:
        found["beside"] = [other.to_json() for other in measured[1:]]
    return found


def to_csv(measured: Sequence[BenchResult]) -> bytes:
    """A line for each sample: bundle, loop, name, sample (its turn or frame), milliseconds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("bundle", "loop", "name", "sample", "ms"))
    for one in measured:
        for name, samples in {**one.scopes, **one.stages}.items():
            writer.writerows((one.label, "closed", name, n, ms) for n, ms in enumerate(samples))
        if one.open_loop is not None:
            served = one.open_loop.served
            for name in ("latency", "queue_age"):
                pairs = zip(served, getattr(one.open_loop, f"{name}_ms"), strict=True)
                writer.writerows((one.label, "open", name, n, ms) for n, ms in pairs)
        for n, ms in enumerate(one.cold_starts_ms):
            writer.writerow((one.label, "cold", "cold_start", n, ms))
    return stream.getvalue().encode("utf-8", "surrogateescape")  # the bytes of a name
