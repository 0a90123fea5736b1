"""/metrics, read by Prometheus's own parser, of one camera and of several with a sink."""

from __future__ import annotations

import pytest

from edgead.live.access import Address
from edgead.live.server import PageServer
from edgead.live.sinks.interface import SinkState

parser = pytest.importorskip("prometheus_client.parser")


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """(name, values of the labels …) -> value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_one_camera_has_its_counts_scores_and_latencies(page, frames):
    status, headers, text = page.ask("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    before = samples(text)
    assert before["edgead_verdicts_total", "camera"] == 0
    assert ("edgead_score", "camera") not in before  # there is none yet
    page.feed(*frames)
    found, state = samples(page.ask("/metrics")[2]), page.state()
    assert found["edgead_frames_total", "camera"] == len(frames)
    for key in ("verdicts", "anomalous", "dropped", "failed"):
        assert found[f"edgead_{key}_total", "camera"] == state[key]
    assert found["edgead_score", "camera"] == state["latest"]["score"]
    for key in ("threshold", "false_reject_rate"):
        assert found[f"edgead_{key}", "camera"] == state[key]
    assert found["edgead_latency_seconds", "camera", "0.5"] == state["p50_ms"] / 1e3
    assert 0 <= found["edgead_idle_seconds", "camera"] < 300


def test_several_cameras_and_their_sinks_have_labels(page, frames):
    page.feed(frames[0])
    server = PageServer(Address("127.0.0.1", 0), lambda *_: None)
    sinks = {"hall": SinkState(False, "away", 7, 2, 40), "plc": SinkState(True, None)}
    try:
        server.start({"left": page.board, "right": page.board}, lambda: sinks)
        page.host = f"127.0.0.1:{server.address.port}"
        found = samples(page.ask("/metrics")[2])
    finally:
        server.close()
    assert found["edgead_verdicts_total", "left"] == found["edgead_verdicts_total", "right"] == 1
    for key, value in (("reachable", 0), ("queued", 7), ("dropped_total", 2)):
        assert found[f"edgead_sink_{key}", "hall"] == value
    assert found["edgead_sink_delivered_total", "hall"] == 40
    assert found["edgead_sink_reachable", "plc"] == 1


def test_outside_of_this_machine_the_token_is_asked_for(make_page):
    page = make_page(host="0.0.0.0")
    assert page.ask("/metrics")[0] == 401
    token = page.server._access.made
    assert page.ask("/metrics", Authorization=f"Bearer {token}")[0] == 200
