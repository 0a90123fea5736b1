"""Frames per second, and the queueing model held against cases computed by hand."""

from __future__ import annotations

import json
import time

import pytest

from edgead.bench.command import main
from edgead.bench.queueing import MOST_DROPPED, measure, most_cameras, simulate


def test_one_camera_before_a_fast_detector_waits_for_nothing():
    found = simulate([10.0], 1, 1, 50.0, seconds=10)
    assert found.frames == 500 and found.dropped == 0
    assert found.latency_ms == pytest.approx([10.0] * 500)


def test_a_detector_that_is_too_slow_drops_what_it_cannot_do():
    """30 ms for a frame every 20 ms: of three frames two are scored, one is replaced.

    Starts come every 30 ms and frames every 20, so the newest one has waited 10 ms, or 0, or 20
    where the next one comes at the very moment of the start.
    """
    found = simulate([30.0], 1, 1, 50.0, seconds=60)
    assert found.dropped == pytest.approx(1 / 3, abs=0.002)
    waits = {round(ms) for ms in found.latency_ms[5:]}
    assert 40 in waits and waits <= {30, 40, 50}


def test_overloaded_detectors_are_never_idle():
    """Whatever arrives: 2 Detectors of 25 ms score 80 frames a second."""
    found = simulate([25.0], 2, 40, 10.0, seconds=60)
    assert len(found.latency_ms) / 60 == pytest.approx(80, rel=0.02)


def test_the_number_of_cameras_follows_from_the_load():
    """10 ms a frame is 100 frames a second: 10 cameras of 10 Hz, twice as many for two."""
    assert most_cameras([10.0], 1, 10.0) == pytest.approx(10, abs=0.5)
    assert most_cameras([10.0], 2, 10.0) == pytest.approx(20, abs=0.5)
    assert most_cameras([200.0], 1, 10.0) == 0
    # Times that vary carry less than their mean says.
    assert most_cameras([1.0] * 9 + [91.0], 1, 10.0) < 10
    assert MOST_DROPPED == 0.01


def test_what_is_measured_counts_every_frame():
    """Real threads and a real clock; how long anything takes is not looked at."""
    found = measure([lambda _: time.sleep(0.001)] * 2, [None], 3, 50.0, seconds=0.5)
    assert found.frames == 75
    assert len(found.latency_ms) == round(found.frames * (1 - found.dropped))
    assert min(found.latency_ms) > 0


def test_each_way_is_measured_and_written(bundle_dir, tmp_path, capsys):
    words = [str(bundle_dir), "--throughput", "--minutes", "0.005", "--hz", "10", "--threads", "1"]
    more = ["--detectors", "2", "--detectors", "3", "--callers", "2", "--batch", "3"]
    assert main([*words, *more, "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    shape = [(w["detectors"], w["callers"], w["batch"]) for w in found["ways"]]
    assert shape == [(1, 1, 1), (1, 2, 1), (2, 2, 1), (3, 3, 1), (0, 1, 3)]
    for way in found["ways"]:
        assert len(way["rounds"]) == 3 and way["frames_per_s"] > 0
        assert len(way["latency"]["samples_ms"]) >= 3 * way["callers"]
        assert way["name"] in said
    (fits,) = found["cameras_simulated"]
    assert fits["hz"] == 10 and "simulated" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--csv", "x.csv"], "--csv with --throughput"),
        (["--detectors", "0"], "at least 1"),
        (["--hz", "0"], "above 0"),
        (["--json", "absent/x.json"], "no folder absent"),
    ],
)
def test_wrong_options_are_refused(bundle_dir, capsys, more, words):
    assert main([str(bundle_dir), "--throughput", *more]) == 1
    assert words in capsys.readouterr().err
