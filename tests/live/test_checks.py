"""Camera health and drift in the lines of edgead watch, and what is said of them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.live import checks as module
from edgead.live.capture import Slot
from edgead.live.checks import Checks
from edgead.live.loop import Loop
from edgead.live.source import Moment, Reading
from edgead.live.tally import Tally
from edgead.monitoring.finding import Finding
from edgead.monitoring.health import CHECKS, Health, Observations


@pytest.fixture(scope="module")
def limited(tiny, make_frame, tmp_path_factory):
    """The tiny bundle with limits from 60 good frames of its kind."""
    observations = Observations()
    for seed in range(60):
        observations.add(make_frame(seed))
    limits, reference = observations.limits()
    path = tmp_path_factory.mktemp("limited") / "tiny.edgead"
    both = replace(tiny, files={**tiny.files, limits.reference: reference})
    both.write(path, health=limits)
    return path


def run(bundle, images, *, drift=False):
    """The lines and the log of a loop with checks."""
    log, out, slot = [], io.BytesIO(), Slot()

    def say(*said):
        log.append(said[:2])

    pending = list(images)

    def stopping():
        if not pending:
            slot.end()
        else:
            slot.put(Reading(Moment.now(), pending.pop(0)))
        return False

    with Detector(bundle, threads=1) as detector:
        checks = Checks(detector.bundle, drift=drift, say=say)
        Loop(detector, slot, Tally(), out, say, [], checks).run(stopping)
    return [json.loads(line) for line in out.getvalue().splitlines()], log


def test_a_frozen_camera_is_in_the_lines_while_it_lasts_and_said_once(limited, make_frame):
    k = Health(open_bundle(limited)).frames_in_a_row
    good = [make_frame(1000 + seed) for seed in range(3)]
    lines, log = run(limited, [*good, *[good[2]] * (k + 2), make_frame(1003)])
    reasons = [line["health"] for line in lines]
    assert reasons[: 2 + k] == [[]] * (2 + k)
    assert all(len(r) == 1 and r[0].startswith("frozen: ") for r in reasons[2 + k : -1])
    assert reasons[-1] == []
    assert all("score" in line and "drift" not in line for line in lines)  # verdicts go on
    assert [word for word, _ in log] == ["health", "fine"]
    assert re.match(rf"frame {2 + k}: frozen: ", log[0][1])
    assert log[1][1] == f"frame {len(lines) - 1}: no longer frozen"


def test_without_limits_in_the_bundle_there_is_no_key(bundle_dir, frames):
    lines, _ = run(bundle_dir, frames[:1])
    assert "health" not in lines[0] and "drift" not in lines[0]


def test_drift_is_looked_for_when_asked(bundle_dir, frames):
    lines, log = run(bundle_dir, [frames[3]] * 40, drift=True)  # a defect every time
    assert all(line["is_anomalous"] for line in lines)
    assert lines[0]["drift"] is None
    assert lines[-1]["drift"].startswith("drift, found after ")
    assert [word for word, _ in log] == ["health"]


def test_a_line_with_every_finding_is_no_longer_than_a_pipe_takes_at_once(
    limited, make_frame, monkeypatch
):
    long = "x" * 180
    every = [Finding(name, 1.0, 1.0, 9, f"{name}: {long}") for name in CHECKS]

    class All:
        def __init__(self, bundle, precision="float32", bit_depth=None):
            pass

        def check(self, image):
            return every

        def update(self, score):
            return Finding("rising", 1.0, 1.0, 9, long + long)

    monkeypatch.setattr(module, "Health", All)
    monkeypatch.setattr(module, "Drift", All)
    lines, log = run(limited, [make_frame(0)], drift=True)
    # The rest of a line is measured in test_loop: 16 regions and a path take less than 2700.
    keys = json.dumps({key: lines[0][key] for key in ("health", "drift")})
    assert len(lines[0]["health"]) == 5 and len(keys) < 1400
    assert len(log) == 6


def test_watch_says_what_it_does_not_check(watch, film, bundle_dir, limited):
    note = "note   the camera is not checked: edgead calibrate gives the bundle its limits"
    for bundle, noted in ((bundle_dir, True), (limited, False)):
        code, lines, log = watch(film, "--bundle", bundle, "--every-frame", "--drift").end()
        assert code == 0, log
        assert (note in log) is noted
        assert all(("health" in line) is not noted and "drift" in line for line in lines)
