"""kill -9 at any moment: what was printed stays, and no file is broken.

The moments are drawn, and besides taken where files are being written: when a temporary file shows.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgead.bundle.storage import open_bundle
from edgead.images import read_image
from edgead.records.evidence import Evidence

LATEST_S = 1.5  # after the first sign of work; a run is in every phase by then


def killed(words: list[object], folder: Path, moment: str | float, log: Path) -> str:
    """Run ``edgead`` or the module ``words[0]``, kill it, and give what it printed.

    ``moment``: seconds after its first line, or "writing": as soon as ``folder`` has a name that is
    temporary; at its end if neither comes before.
    """
    command = [sys.executable, "-m", *map(str, words)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        while process.poll() is None and not log.stat().st_size:
            time.sleep(0.001)
        due = time.monotonic() + (moment if isinstance(moment, float) else 60)
        while process.poll() is None and time.monotonic() < due:
            if moment == "writing" and temporary(folder):
                break
        process.send_signal(signal.SIGKILL)
    return log.read_text()


def temporary(folder: Path) -> list[str]:
    names = os.listdir(folder)
    return [name for name in names if name.endswith(".tmp") or ".writing-" in name]


def moments(seed: int, number: int) -> list[Any]:
    """Drawn moments and the one of writing, twice; all but one of each kind are exhaustive."""
    draw = random.Random(seed)
    first, *drawn = [round(draw.uniform(0, LATEST_S), 2) for _ in range(number)]
    more = [*drawn, "writing"]
    return [first, "writing", *(pytest.param(m, marks=pytest.mark.exhaustive) for m in more)]


@pytest.mark.parametrize("moment", moments(1, 4))
def test_watch(bundle_dir, film, tmp_path, moment):
    seen, log, source = tmp_path / "seen", tmp_path / "lines", tmp_path / "long.avi"
    seen.mkdir()
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 200, (90, 70))
    reader = cv2.VideoCapture(str(film))
    frames = [reader.read()[1] for _ in range(6)]
    for _ in range(100):
        for frame in frames:
            writer.write(frame)
    writer.release()
    words = ["edgead", "watch", source, "--bundle", bundle_dir, "--evidence", seen]
    text = killed(words, seen, moment, log)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert text.endswith("\n")  # no line is cut
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    printed = {line["frame"]: line for line in lines}
    for verdict in seen.glob("*_verdict.json"):
        saved = json.loads(verdict.read_text())
        assert saved == printed[saved["frame"]]  # a line is printed before it is saved
        stem = verdict.name.removesuffix("_verdict.json")
        assert read_image(seen / f"{stem}_frame.png").shape == (70, 90, 3)
        assert cv2.imread(str(seen / f"{stem}_heatmap.jpg")) is not None
    for picture in (*seen.glob("2*.png"), *seen.glob("2*.jpg")):
        assert cv2.imread(str(picture)) is not None  # also without its verdict
    Evidence(seen, 1, lambda *_: None).close()  # the next watch clears what is left
    assert temporary(seen) == []


@pytest.mark.parametrize("moment", moments(2, 2))
def test_bench(bundle_dir, tmp_path, moment):
    kinds = ("json", "csv", "html")
    for kind in kinds:
        (tmp_path / f"now.{kind}").write_text("old")
    words: list[object] = ["edgead.bench", bundle_dir, "--cold-starts", 0, "--threads", 1]
    words += ["--repeats", 3000]
    words += [word for kind in kinds for word in (f"--{kind}", tmp_path / f"now.{kind}")]
    killed(words, tmp_path, moment, tmp_path / "log")
    texts = {kind: (tmp_path / f"now.{kind}").read_text() for kind in kinds}
    if texts["json"] != "old":
        assert len(json.loads(texts["json"])["scopes"]["end_to_end"]["samples_ms"]) == 3000
    if texts["csv"] != "old":
        assert len([row for row in csv.DictReader(texts["csv"].splitlines())
                    if row["name"] == "end_to_end"]) == 3000  # fmt: skip
    assert texts["html"] == "old" or texts["html"].endswith("</html>\n")


@pytest.mark.parametrize("moment", moments(3, 2))
def test_calibrate(bundle_copy, make_frame, tmp_path, moment):
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(25):
        assert cv2.imwrite(str(good / f"{seed}.png"), make_frame(100 + seed))
    before = open_bundle(bundle_copy).manifest
    words = ["edgead", "calibrate", bundle_copy, good, "--in-place"]
    killed(words, tmp_path, moment, tmp_path / "log")
    found = open_bundle(bundle_copy)  # whole, by its digests
    now = found.manifest
    assert now.created == before.created or len(now.calibration.scores) == 25
    for name in now.files:
        assert found.read(name)
    again = ["edgead", "calibrate", bundle_copy, good, "--in-place"]
    subprocess.run([sys.executable, "-m", *map(str, again)], check=True, capture_output=True)
    assert temporary(tmp_path) == []
    assert np.isfinite(open_bundle(bundle_copy).manifest.calibration.scores).all()
