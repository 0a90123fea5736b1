"""What became of the frames of a source, counted."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from edgead.monitoring.percentiles import percentile

KEPT = 10_000
"""Latencies that are kept for the summary."""


@dataclass(eq=False)
class Tally:
    """What became of the frames."""

    verdicts: int = 0
    anomalous: int = 0
    dropped: int = 0
    failed: int = 0
    # Filled beforehand, so that a process which runs for months does not grow.
    _latencies_ms: array[float] = field(default_factory=lambda: array("d", bytes(8 * KEPT)))

    def note(self, *, is_anomalous: bool, latency_ms: float) -> None:
        """Count a verdict."""
        self._latencies_ms[self.verdicts % KEPT] = latency_ms
        self.verdicts += 1
        self.anomalous += is_anomalous

    def percentile_ms(self, percent: float) -> float | None:
        """Latency at the nearest rank of the last KEPT verdicts; None before the first."""
        kept = self._latencies_ms[: min(self.verdicts, KEPT)]
        return percentile(kept, percent) if kept else None
