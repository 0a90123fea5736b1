"""benchmarks/soak.py: the bars by hand, and a run of seconds from the command to the file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loop(served, ages_ms, frames):
    return {"served": served, "queue_age": {"samples_ms": ages_ms}, "frames": frames}


def test_a_drop_is_explained_when_a_newer_frame_had_arrived(soak):
    assert soak.unexplained(loop([0, 2, 3], [0.0, 4.0, 0.1], 4)) == 0
    assert soak.unexplained(loop([0, 2, 3], [0.0, -1.0, 0.1], 4)) == 1  # 2 was not there yet
    assert soak.unexplained(loop([0, 1], [0.0, 0.0], 4)) == 2  # 2 and 3: nothing came after them


def line(frame, **more):
    return {"frame": frame, "latency_ms": 5.0, **more}


def test_a_frame_that_never_reached_the_slot_is_missed(soak):
    """The camera sent a frame a line, of which two are always on their way; then seven are lost."""
    heard = soak.Heard(hz=30)
    for number in range(100):
        # Those sent during a slow verdict of half a second, or before a late look, are no loss.
        late = {"latency_ms": 500.0} if number > 50 else {}
        heard.take(line(number, **late), number + (18 if late else 4) + 20 * (number == 90))
    assert heard.to_json() == {
        "sent": 117, "frames": 100, "scored": 100, "failed": 0, "drops": 0, "lost": 0,
        "unexplained": 0,
    }  # fmt: skip
    for number in range(100, 140):
        heard.take(line(number), number + 11)
    found = heard.to_json()
    assert found["lost"] == found["unexplained"] == 9 - soak.IN_FLIGHT > 0
    assert (found["sent"], found["frames"]) == (150, 140)


def test_a_frame_that_could_not_be_scored_is_not_explained(soak):
    heard = soak.Heard(hz=30)
    heard.take(line(0), 1)
    heard.take({"frame": 3, "error": "cut short", "dropped": {"count": 2}}, 4)
    heard.take(line(4), 5)
    found = heard.to_json()
    assert (found["scored"], found["failed"], found["drops"]) == (2, 1, 2)
    assert found["unexplained"] == 1


@pytest.mark.parametrize(
    ("growth", "unexplained", "p99", "bars"),
    [
        (0.9, 0, 1.9, (True, True, True)),
        (1.0, 1, 2.0, (False, False, False)),
        (None, 0, 1.0, (None, True, True)),  # a run of less than a minute
        (-3.0, 0, 1.0, (True, True, True)),
    ],
)
def test_the_bars(soak, growth, unexplained, p99, bars):
    found = {"rss_growth_mb": growth, "unexplained": unexplained, "p50_ms": 1.0, "p99_ms": p99}
    assert tuple(soak.judged(found).values()) == bars


def test_a_run_of_seconds(bundle_dir, make_frame, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        assert cv2.imwrite(str(images / f"{seed}.png"), make_frame(seed))
    file = tmp_path / "soak.json"
    words = [bundle_dir, "--images", images, "--minutes", 0.02, "--threads", 1, "--json", file]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True
    )
    found = json.loads(file.read_text())
    missed = any(
        bar is False for name in ("bench", "watch") for bar in found[name]["bars"].values()
    )
    assert done.returncode == (4 if missed else 0), done.stderr  # the tail is this machine's
    for name, frames in (("bench", 36), ("watch", None)):
        one = found[name]
        assert one["scored"] + one["drops"] == one["frames"] == (frames or one["frames"])
        assert one.get("sent", one["frames"]) >= one["frames"]
        assert one["bars"]["memory"] is None and one["bars"]["drops"] is True
        assert f"\n{name}: {one['frames']} frame" in done.stdout  # one or many
