"""edgead-bench --native: libedgead beside Python; no test looks at which is quicker."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.bench.command import main
from edgead.bench.native import Native, Programs
from edgead.bench.open_loop import OpenLoop
from edgead.bench.subjects import InPython
from edgead.images import encode_png

QUICK = ("--repeats", "4", "--warm-up", "1", "--cold-starts", "0", "--threads", "1")


@pytest.fixture
def bench(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """``bench(*words)`` -> exit code, what --json wrote, all that was said."""

    def call(*words: object) -> tuple[int, dict[str, Any], str]:
        path = tmp_path / "now.json"
        path.unlink(missing_ok=True)
        code = main([*QUICK, *map(str, words), "--json", str(path)])
        said = "".join(capfd.readouterr())
        return code, json.loads(path.read_text()) if path.exists() else {}, said

    return call


@pytest.fixture(scope="module")
def images(make_frame: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour, grey and 16 bits."""
    folder = tmp_path_factory.mktemp("images")
    kinds = {"a": ((70, 90, 3), np.uint8), "b": ((33, 57), np.uint8), "c": ((64, 48, 3), np.uint16)}
    for seed, (name, (shape, kind)) in enumerate(kinds.items()):
        (folder / f"{name}.png").write_bytes(encode_png(make_frame(seed, shape, kind)))
    return folder


def test_both_are_measured_alike(bench: Any, bundle_dir: Path, images: Path, installed: Path,
                                 tmp_path: Path) -> None:  # fmt: skip
    files = tmp_path / "a.csv", tmp_path / "a.html"
    words = ("--images", images, "--hz", 400, "--cold-starts", 1, "--native", installed)
    code, python, said = bench(bundle_dir, *words, "--csv", files[0], "--html", files[1])
    assert code == 0 and f"{bundle_dir}, native: CPU: " in said
    (native,) = python["beside"]
    for name in ("bundle", "bundle_sha256", "device", "precision", "kernels", "processor"):
        assert native["identity"][name] == python["identity"][name]
    assert native["identity"]["library"] == python["identity"]["edgead"]
    assert native["settings"] == python["settings"]
    for part in ("scopes", "stages"):
        assert set(native[part]) == set(python[part])
        assert all(len(one["samples_ms"]) == 4 for one in native[part].values())
    ends = native["scopes"]["end_to_end"]["samples_ms"]
    stages = {name: one["samples_ms"] for name, one in native["stages"].items()}
    for turn, end in enumerate(ends):
        assert end >= stages["total"][turn] >= stages["engine"][turn] > 0
    assert set(native["ratios"]) == {"network", "end_to_end"}
    assert not any("scores:" in text for one in (python, native) for text in one["warnings"])
    assert 20 < native["rss_mb"] < 2000 and "rss_mb" not in python
    assert len(native["cold_start_samples_ms"]) == 1 and native["cold_start_ms"] > 0
    held = native["open_loop"]
    assert held["frames"] == 4 and len(held["served"]) + held["drops"] == 4
    with files[0].open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["bundle"] == f"{bundle_dir}, native"]
    assert [float(r["ms"]) for r in rows if r["name"] == "end_to_end"] == ends
    page = files[1].read_text()
    assert "Side by side" in page and page.count("<svg") == 8


def test_each_bundle_and_setting_has_its_native(
    bench: Any, bundle_dir: Path, installed: Path
) -> None:
    code, found, _ = bench(bundle_dir, "--threads", 2, "--native", installed)
    assert code == 0
    said = [(one["identity"].get("library") is not None, one["settings"]["threads"])
            for one in (found, *found["beside"])]  # fmt: skip
    assert said == [(False, 1), (False, 2), (True, 1), (True, 2)]


def test_the_newest_frame_is_scored_and_latencies_count_from_its_arrival(
    bench: Any, compiled: Any, bundle_dir: Path, installed: Path, monkeypatch: Any
) -> None:
    """A detector that needs longer than a period; the loop is held against its definition."""
    monkeypatch.setenv("LD_PRELOAD", str(compiled("slow.c", "-shared", "-fPIC")))
    words = ("--repeats", 40, "--hz", 200, "--native", installed)
    code, found, _ = bench(bundle_dir, *words)
    assert code == 0
    loop = found["beside"][0]["open_loop"]
    served, frames = loop["served"], loop["frames"]
    latency, age = (loop[name]["samples_ms"] for name in ("latency", "queue_age"))
    assert frames == 40 and served[0] == 0 and len(served) < 12  # 20 ms of 5 ms each
    finished = 0.0
    for number, whole_ms, age_ms in zip(served, latency, age, strict=True):
        arrived = 5.0 * number
        started = arrived + age_ms
        assert age_ms >= 0 and whole_ms - age_ms >= 20
        assert number == frames - 1 or started < arrived + 5 + 1e-6  # none was newer
        assert started >= finished - 1e-6
        finished = arrived + whole_ms
    assert served == sorted(set(served)) and served[-1] == frames - 1


def pretended(folder: Path, code: str) -> Path:
    """A folder with an edgead-time that is a script of Python."""
    for name in ("edgead-time", "edgead-score"):
        (folder / name).write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
        (folder / name).chmod(0o755)
    return folder


HELLO = 'names = ("device", "precision", "kernels", "version", "bundle_sha256", "library")\n'
HELLO += 'print(json.dumps(dict.fromkeys(names, "x")), flush=True)\n'
ANSWER = """
for line in iter(sys.stdin.buffer.readline, b""):
    words = line.split()
    if words[0] == b"frame":
        sys.stdin.buffer.read(int(words[-1]))
    times = dict.fromkeys(("preprocess", "engine", "anomaly_map", "total", "end_to_end"), 1.0)
    print(json.dumps({"score": 7.5, "timings_ms": times}), flush=True)
"""


def test_another_score_is_a_doubt(bench: Any, bundle_dir: Path, tmp_path: Path) -> None:
    folder = pretended(tmp_path, HELLO + ANSWER)
    code, found, said = bench(bundle_dir, "--native", folder)
    assert code == 0 and "doubt  " in said
    assert any("scores: libedgead gives 7.5 where Python gives" in text
               for text in found["beside"][0]["warnings"])  # fmt: skip
    assert found["beside"][0]["scopes"]["end_to_end"]["samples_ms"] == [1.0] * 4  # its own clock


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ('print(json.dumps({"error": "a cut", "status": "bundle"}))', 1, "libedgead: a cut"),
        ('print(json.dumps({"error": "slow", "status": "qualification"}))', 2, "libedgead: slow"),
        ('print(json.dumps({"error": "gone", "status": "memory"}))', 2, "libedgead: gone"),
        ("sys.exit(3)", 2, "ended with exit code 3"),
        (HELLO + "sys.exit(4)", 2, "ended with exit code 4"),
    ],
)
def test_what_libedgead_cannot_do_is_said(
    bench: Any, bundle_dir: Path, tmp_path: Path, code: str, exit_code: int, said: str
) -> None:
    found = bench(bundle_dir, "--native", pretended(tmp_path, code))
    assert found[0] == exit_code and said in found[2]


def test_where_libedgead_is_looked_for(
    bench: Any, bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = bench(bundle_dir, "--native")
    assert code == 1
    assert "there is no edgead-time in build/c or on PATH: build libedgead with `make" in said
    code, _, said = bench(bundle_dir, "--native", tmp_path)
    assert code == 1 and f"there is no edgead-time in {tmp_path}: build" in said
    (tmp_path / "found").mkdir()
    folder = pretended(tmp_path / "found", HELLO + ANSWER)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert bench(bundle_dir, "--native")[0] == 0
    code, _, said = bench(bundle_dir, "--device", "cuda", "--native", folder)
    assert code == 1 and "--native with --device cuda" in said


def test_a_stopped_run_has_both_and_leaves_no_process(
    bundle_dir: Path, installed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "part.json"
    words = [*QUICK, bundle_dir, "--hz", 50, "--minutes", 60, "--native", installed, "--json", path]
    command = [sys.executable, "-m", "edgead.bench", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("warm"):
                time.sleep(0.5)
                # The first ends the loop of Python, and the one of C is not begun: it has a turn.
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    found = json.loads(path.read_text())
    assert all(any(text.startswith("stopped: ") for text in one["warnings"])
               for one in (found, *found["beside"]))  # fmt: skip
    assert len(found["beside"][0]["scopes"]["end_to_end"]["samples_ms"]) >= 1
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    left = [line for line in listed.splitlines() if str(bundle_dir) in line]
    assert not [line for line in left if "edgead-time" in line]


def test_the_loop_of_c_is_stopped_and_goes_on_to_be_asked(
    bundle_dir: Path, installed: Path, make_frame: Any
) -> None:
    frames, asked = [make_frame(1)], {"device": "cpu", "color": "bgr", "threads": 1}
    detector = Detector(bundle_dir, **asked)
    beside = InPython("x", detector.bundle, {**asked, "precision": None}, detector, frames)
    found, later = OpenLoop(50, 1_000_000), iter([False, True])
    with Native(beside, Programs(str(installed)), frames) as native:
        native.open_loop(found, lambda: next(later))
        assert 0 < found.count < found.planned
        assert native.score(frames[0]).score == beside.score(frames[0]).score
        assert native.doubts(frames[0]) == []
