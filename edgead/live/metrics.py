"""What /metrics answers: cameras and sinks in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgead.live.board import Board
from edgead.live.sinks.interface import SinkState

COUNTERS = {
    "frames": "Frames that the source gave.",
    "verdicts": "Frames that were scored.",
    "anomalous": "Verdicts that say anomalous.",
    "dropped": "Frames that a newer one replaced before they were scored.",
    "failed": "Frames that could not be read or scored.",
}
QUANTILES = {"0.5": "p50_ms", "0.99": "p99_ms"}


class _Metrics(Collector):
    """What there is at this moment; nothing is counted here."""

    def __init__(self, cameras: Mapping[str, dict[str, Any]], sinks: Mapping[str, SinkState]):
        self._cameras, self._sinks = cameras, sinks

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        for key, text in COUNTERS.items():
            yield self._of_cameras(CounterMetricFamily, key, text, lambda s, k=key: s[k])
        gauge = GaugeMetricFamily
        yield self._of_cameras(gauge, "score", "Of the latest verdict.", _of_latest("score"))
        for key in ("threshold", "false_reject_rate"):
            yield self._of_cameras(gauge, key, "As it is now.", lambda s, k=key: s[k])
        text = "Since the latest verdict; not of a folder or file."
        yield self._of_cameras(gauge, "idle_seconds", text, lambda state: state["idle_s"])
        yield self._of_cameras(gauge, "camera_healthy", "0: something is wrong.", _is_healthy)
        latency = gauge("edgead_latency_seconds", "Of 600 verdicts.", labels=["camera", "quantile"])
        for name, state in self._cameras.items():
            for quantile, key in QUANTILES.items():
                if state[key] is not None:
                    latency.add_metric([name, quantile], state[key] / 1e3)
        yield latency
        yield from self._of_sinks()

    def _of_cameras(self, kind: Any, name: str, text: str, value: Any) -> Metric:
        """A family with a sample for each camera that has a value."""
        family = kind(f"edgead_{name}", text, labels=["camera"])
        for camera, state in self._cameras.items():
            if (found := value(state)) is not None:
                family.add_metric([camera], found)
        made: Metric = family
        return made

    def _of_sinks(self) -> Iterator[Metric]:
        gauge, counter, labels = GaugeMetricFamily, CounterMetricFamily, ["sink"]
        families: dict[str, Any] = {
            "reachable": gauge("edgead_sink_reachable", "0: it is away.", labels=labels),
            "queued": gauge("edgead_sink_queued", "Records that wait.", labels=labels),
            "delivered": counter("edgead_sink_delivered", "Records that arrived.", labels=labels),
            "dropped": counter("edgead_sink_dropped", "Records that were given up.", labels=labels),
        }
        for key, family in families.items():
            for name, state in self._sinks.items():
                family.add_metric([name], float(getattr(state, key)))
            yield family


def exposition(
    boards: Board | Mapping[str, Board], sinks: Mapping[str, SinkState]
) -> tuple[bytes, str]:
    """The text, and its content type; a board alone is the camera ``camera``."""
    named = {"camera": boards} if isinstance(boards, Board) else dict(boards)
    registry = CollectorRegistry(auto_describe=False)
    states = {name: board.summary() for name, board in named.items()}
    registry.register(_Metrics(states, sinks))
    return generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8"


def _of_latest(key: str) -> Any:
    return lambda state: state["latest"].get(key)


def _is_healthy(state: dict[str, Any]) -> float | None:
    latest = state["latest"]
    if "health" not in latest and "drift" not in latest:
        return None  # nothing is checked
    return float(not latest.get("health") and not latest.get("drift"))
