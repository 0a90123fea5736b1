"""edgead-bench from the arguments to the files; no test looks at how long anything took."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.bench import run as session
from edgead.bench.command import main

KEYS = {"p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "mean_ms", "samples_ms"}
QUICK = ("--repeats", "3", "--warm-up", "1", "--cold-starts", "0")


@pytest.fixture
def bench(capsys):
    """``bench(*words)`` -> (exit code, stdout, stderr) of a short run."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([*QUICK, *(str(word) for word in words)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def images(tmp_path, make_frame) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(2):
        assert cv2.imwrite(str(folder / f"{seed}.png"), make_frame(seed))
    return folder


def test_the_json_has_what_others_read(bench, bundle_dir, tmp_path):
    path = tmp_path / "now.json"
    code, out, _ = bench(bundle_dir, "--json", path, "--hz", 500, "--threads", 1)
    assert code == 0
    assert f"wrote  {path}" in out
    found = json.loads(path.read_text())
    assert {
        "identity", "settings", "scopes", "stages", "open_loop", "cold_start_ms", "warnings",
    } <= set(found)  # fmt: skip
    assert set(found["scopes"]) == {"network", "end_to_end"}  # nothing is copied on the CPU
    assert set(found["stages"]) == {"preprocess", "engine", "anomaly_map", "total"}
    for part in (*found["scopes"].values(), *found["stages"].values()):
        assert set(part) == KEYS and len(part["samples_ms"]) == 3
    ends = found["scopes"]["end_to_end"]["samples_ms"]
    for turn, total in enumerate(found["stages"]["total"]["samples_ms"]):
        assert ends[turn] >= total >= found["scopes"]["network"]["samples_ms"][turn] > 0
    loop = found["open_loop"]
    assert loop["hz"] == 500 and loop["frames"] == 3
    assert loop["drops"] + len(loop["served"]) == 3
    assert found["cold_start_ms"] is None  # --cold-starts 0
    assert found["identity"]["bundle"] == str(bundle_dir)
    assert found["settings"]["threads"] == 1
    assert any(text.startswith("few samples: p99 of end_to_end") for text in found["warnings"])


def test_json_alone_is_all_of_stdout(bench, bundle_dir):
    code, out, err = bench(bundle_dir, "--json")
    assert code == 0
    assert json.loads(out)["schema_version"] == 1
    assert "end_to_end" in err


def test_the_csv_has_every_sample(bench, bundle_dir, tmp_path):
    files = tmp_path / "a.json", tmp_path / "a.csv"
    assert bench(bundle_dir, "--json", files[0], "--csv", files[1], "--hz", 500)[0] == 0
    found = json.loads(files[0].read_text())
    with files[1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["bundle"] for row in rows} == {str(bundle_dir)}

    def samples(loop, name):
        return [float(r["ms"]) for r in rows if (r["loop"], r["name"]) == (loop, name)]

    for name, part in {**found["scopes"], **found["stages"]}.items():
        assert samples("closed", name) == part["samples_ms"]
    for name in ("latency", "queue_age"):
        assert samples("open", name) == found["open_loop"][name]["samples_ms"]


def test_without_images_the_golden_frames_are_measured(bench, bundle_dir):
    _, out, _ = bench(bundle_dir)
    # tests/conftest.py: golden_frames
    assert "read   3 frames (uint16 128 x 96 x 3, uint8 33 x 57, uint8 70 x 90 x 3)" in out


def test_several_bundles_and_threads_are_ratios_to_the_first(bench, bundle_dir, images, tmp_path):
    other = tmp_path / "other.edgead"
    shutil.copytree(bundle_dir, other)
    words = ("--images", images, "--json", tmp_path / "r.json", "--threads", 1, "--threads", 2)
    code, out, _ = bench(bundle_dir, other, *words)
    assert code == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["settings"]["frames"] == ["uint8 70 x 90 x 3"]
    assert [(o["identity"]["bundle"], o["settings"]["threads"]) for o in found["beside"]] == [
        (str(bundle_dir), 2), (str(other), 1), (str(other), 2),
    ]  # fmt: skip
    for one in found["beside"]:
        for name, ratio in one["ratios"].items():
            medians = [np.percentile(f["scopes"][name]["samples_ms"], 50, method="inverted_cdf")
                       for f in (one, found)]  # fmt: skip
            assert ratio["ratio"] == pytest.approx(medians[0] / medians[1])
            assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert f"ratio  {other}, 1 thread / {bundle_dir}, 1 thread, end_to_end: " in out


def test_precisions_are_measured_side_by_side(bench, bundle_copy, add_int8, images, tmp_path):
    add_int8(bundle_copy)
    words = ("--images", images, "--precision", "float32", "--precision", "int8")
    code, out, err = bench(bundle_copy, *words, "--json", tmp_path / "r.json")
    if "does not offer it" in err:
        pytest.skip("OpenVINO has no int8 here")
    assert code == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["identity"]["precision"] == "float32"
    assert [one["identity"]["precision"] for one in found["beside"]] == ["int8"]
    assert f"{bundle_copy} in int8" in out
    assert "--precision float32 --precision int8" in out.splitlines()[-1]


def test_what_comes_next_keeps_the_settings(bench, bundle_dir, images):
    words = ("--images", images, "--threads", 1, "--threads", 2)
    asked = "edgead-bench {} --images {} --threads 1 --threads 2 --hz {}"
    last = bench(bundle_dir, *words)[1].splitlines()[-1]
    assert last == "next   " + asked.format(bundle_dir, images, 30)
    last = bench(bundle_dir, *words, "--hz", 500)[1].splitlines()[-1]
    assert last == "next   " + asked.format(bundle_dir, images, 500) + " --minutes 10"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--budget-ms", "1e9"], 0, "budget within: p99 end to end"),
        (["--budget-ms", "1e-6"], 4, "budget over: p99 end to end"),
        (["--budget-ms", "1e-6", "--hz", "500", "--percentile", "50"], 4, "over: p50 open loop"),
    ],
)
def test_the_budget_decides_the_exit_code(bench, bundle_dir, words, code, said):
    found, out, _ = bench(bundle_dir, *words)
    assert found == code
    assert said in out


def test_a_cold_start_is_a_process_of_its_own(bench, bundle_dir, images, tmp_path):
    path = tmp_path / "c.json"
    words = ("--images", images, "--cold-starts", 1, "--threads", 1, "--json", path)
    assert bench(bundle_dir, *words)[0] == 0
    found = json.loads(path.read_text())
    assert [found["cold_start_ms"]] == found["cold_start_samples_ms"]


def test_a_cold_start_that_fails_says_why(tmp_path):
    words = [sys.executable, "-m", "edgead.bench.first_verdict"]
    words += [str(tmp_path / "absent.edgead"), "x.png", '{"device": "cpu"}']
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "absent.edgead does not exist" in done.stderr
    from edgead.bench.cold_start import cold_start
    from edgead.errors import DeviceError

    with pytest.raises(DeviceError, match=r"absent\.edgead does not exist.*--cold-starts 0"):
        cold_start(words)


def test_a_cold_start_that_stands_still_is_killed_and_named(tmp_path, monkeypatch):
    from edgead.bench import cold_start as module
    from edgead.errors import DeviceError

    still = tmp_path / "python"
    still.write_text("#!/bin/sh\necho the driver hangs >&2\nexec sleep 600\n")
    still.chmod(0o755)
    monkeypatch.setattr(module, "LONGEST_S", 2)
    with pytest.raises(DeviceError, match=r"no verdict within 2 s .*: the driver hangs; --cold"):
        module.cold_start([str(still)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hz", "0"], "--hz 0: expected a number above 0, as 30"),
        (["--hz", "nan"], "--hz: 'nan'"),
        (["--hz", "30", "--repeats", "10000001"], "--repeats 10000001 at --hz 30"),
        (["--minutes", "-1"], "--minutes -1: expected a number above 0"),
        (["--minutes", "0.001", "--hz", "1"], "is 0.06 frames"),
        (["--minutes", "60", "--hz", "1e6"], "at most 10000000"),
        (["--percentile", "101"], "--percentile 101: expected a number above 0, at most 100"),
        (["--percentile", "0"], "--percentile 0"),
        (["--repeats", "0"], "--repeats 0: expected a whole number of at least 1"),
        (["--warm-up", "-1"], "--warm-up -1"),
        (["--cold-starts", "-1"], "--cold-starts -1"),
        (["--budget-ms", "0"], "--budget-ms 0"),
        (["--budget-ms", "inf"], "--budget-ms: 'inf'"),
        (["--threads", "0"], "threads=0"),
        (["--device", "toaster"], "toaster"),
        (["--repeats", "many"], "'many'"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(bench, bundle_dir, words, said):
    code, out, err = bench(bundle_dir, *words)
    assert (code, out) == (1, "")
    assert err.startswith("edgead: ") and said in err


def test_bad_images_and_bundles(bench, bundle_dir, images, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (images / "cut.png").write_bytes((images / "0.png").read_bytes()[:50])
    for words, said in (
        ((bundle_dir, "--images", empty), "holds no image"),
        ((bundle_dir, "--images", tmp_path / "no.png"), "does not exist"),
        ((bundle_dir, "--images", images), "cut.png is truncated"),
        ((tmp_path / "no.edgead",), "no.edgead does not exist; expected a directory"),
    ):
        code, out, err = bench(*words)
        assert (code, out) == (1, "")
        assert said in err


def test_a_device_that_is_not_there_is_the_devices_mistake(bench, bundle_dir, no_gpu):
    code, _, err = bench(bundle_dir, "--device", "cpu", "--device", "cuda")
    assert code == 2 and "kernels were not built" in err


@pytest.mark.parametrize("loop", [("--minutes", 60, "--hz", 50), ("--minutes", 60), ()])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_it_has(bundle_dir, tmp_path, loop, number):
    files = [tmp_path / f"part.{kind}" for kind in ("json", "csv", "html")]
    words = ["--cold-starts", 0, "--threads", 1, "--repeats", 10 if "--hz" in loop else 10**9]
    words += [*loop, "--budget-ms", 1e-9, "--json", files[0], "--csv", files[1], "--html", files[2]]
    command = [sys.executable, "-m", "edgead.bench", str(bundle_dir), *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("warm"):
                time.sleep(0.5)  # for the loops to begin; before, one turn is measured all the same
                process.send_signal(number)
    assert process.returncode == 128 + number, "".join(said)
    found = json.loads(files[0].read_text())
    (reason,) = [text for text in found["warnings"] if text.startswith("stopped: ")]
    turns = len(found["scopes"]["end_to_end"]["samples_ms"])
    assert f"{turns} " in reason
    if found["open_loop"] is not None:
        assert f", {found['open_loop']['frames']} of 180000 frames of the open loop" in reason
    assert files[1].read_text().count(",end_to_end,") == turns
    assert "stopped: a signal ended the run" in files[2].read_text()
    assert "budget and time not judged" in said[-1]


def test_compare_decides_the_exit_code(bench, bundle_dir, tmp_path):
    """The old samples are divided or multiplied by a million, so that no noise matters."""
    old = tmp_path / "old.json"
    assert bench(bundle_dir, "--json", old)[0] == 0
    found = json.loads(old.read_text())
    for factor, code, said in ((1e-6, 5, "slower: end_to_end, p50"), (1e6, 0, "faster: network")):
        for scope in found["scopes"].values():
            scope["samples_ms"] = [1.0 * factor] * 30
        old.write_text(json.dumps(found))
        words = ("--repeats", 30, "--compare", old, "--json", tmp_path / "new.json")
        assert (done := bench(bundle_dir, *words))[0] == code
        assert said in done[1]
        new = json.loads((tmp_path / "new.json").read_text())
        assert {c["verdict"] for c in new["compare"]["changes"]} > {said.partition(":")[0]}
    assert bench(bundle_dir, "--compare", tmp_path / "no.json")[0] == 1


def test_the_page_is_written(bench, bundle_dir, tmp_path):
    path = tmp_path / "page.html"
    code, out, _ = bench(bundle_dir, "--html", path, "--hz", 500)
    assert code == 0 and f"wrote  {path}" in out
    assert path.read_text().count("<svg") == 4
    assert "plan   open loop of 3 frames in 0.0 s" in out and "machine: " in out


def test_the_open_loop_has_its_memory_before_the_machine_is_watched(bench, bundle_dir, monkeypatch):
    events = []

    class Loop(session.OpenLoop):
        def __init__(self, *given):
            events.append("loop")
            super().__init__(*given)

    class Watching(session.Monitor):
        def __enter__(self):
            events.append("monitor")
            return super().__enter__()

    monkeypatch.setattr(session, "OpenLoop", Loop)
    monkeypatch.setattr(session, "Monitor", Watching)
    assert bench(bundle_dir, "--hz", 500)[0] == 0
    assert events == ["loop", "monitor"]


def test_a_page_without_its_extra_is_refused_before_measuring(bench, bundle_dir, monkeypatch):
    monkeypatch.setattr(session, "missing", lambda extra: ["jinja2"] * (extra == "bench"))
    code, out, err = bench(bundle_dir, "--html", "page.html")
    assert (code, out) == (1, "")
    assert 'needs jinja2, which is not installed: pip install ".[bench]"' in err
    assert bench(bundle_dir)[0] == 0


@pytest.mark.parametrize("option", ["--json", "--csv", "--html"])
def test_files_that_cannot_be_written_are_refused_before_measuring(
    bench, bundle_dir, tmp_path, option
):
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "no" / "f", "there is no folder")):
        code, out, err = bench(bundle_dir, option, path)
        assert (code, out) == (1, "")
        assert f"{option} {path}" in err and said in err


def test_a_folder_without_permission_is_refused_before_measuring(
    bench, bundle_dir, tmp_path, monkeypatch
):
    """os.access says no, as it does to all users but root in a folder of mode 0500."""
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    code, out, err = bench(bundle_dir, "--csv", tmp_path / "samples.csv")
    assert (code, out) == (1, "")
    assert f"no permission to write into {tmp_path}" in err


def test_a_full_disk_leaves_the_old_file(bench, bundle_dir, tmp_path, monkeypatch):
    """ENOSPC at fsync, where a full disk shows at the latest."""
    path = tmp_path / "samples.csv"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = bench(bundle_dir, "--csv", path)
    assert code == 1 and "no space left on the disk" in err
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["samples.csv"]


def test_the_module_is_the_command_and_its_help_needs_nothing_heavy():
    code = """
import runpy, sys
try:
    runpy.run_module("edgead.bench", run_name="__main__")
except SystemExit as stop:
    print(stop.code, sorted({"numpy", "cv2", "openvino"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("usage: edgead-bench")
    assert done.stdout.endswith("0 []\n")
