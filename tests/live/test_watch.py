"""edgead watch as a process: its sources, its signals, its end."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from edgead.cli.main import main
from edgead.installation import cure


def test_a_film_ends_with_0_and_a_summary(watch, film, bundle_dir, frames, tiny):
    code, lines, log = watch(film, "--bundle", bundle_dir, "--every-frame").end()
    assert code == 0, log
    assert [line["frame"] for line in lines] == list(range(len(frames)))
    assert [line["is_anomalous"] for line in lines][3] is True
    assert log.splitlines()[0].startswith(f"read   {bundle_dir}; CPU")
    assert re.search(rf"^watch  video file {film}: 70 x 90, 100 Hz", log, re.MULTILINE)
    anomalous = sum(line["is_anomalous"] for line in lines)
    assert re.fullmatch(
        rf"done   6 frames, 6 verdicts, {anomalous} anomalous, 0 dropped, "
        r"latency p50 [\d.]+ ms, p99 [\d.]+ ms",
        log.splitlines()[-1],
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_folder_with_0_and_every_verdict(
    watch, bundle_dir, frames, arrive, tmp_path, number
):
    place = tmp_path / "incoming"
    place.mkdir()
    process = watch(place, "--bundle", bundle_dir, "--every-frame")
    process.wait_for_log("0 images are there already")
    for name, frame in enumerate(frames[2:4]):
        arrive(place / f"{name}.png", frame)
    found = [process.line() for _ in range(2)]  # each line is there before the next frame
    assert [line["file"] for line in found] == [str(place / f"{n}.png") for n in range(2)]
    assert found[1]["is_anomalous"] is True
    process.process.send_signal(number)
    code, lines, log = process.end()
    assert (code, lines) == (0, [])
    assert "done   2 frames, 2 verdicts, " in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_watch_with_browsers_that_stand_still(watch, bundle_dir, tmp_path, number):
    process = watch(tmp_path, "--bundle", bundle_dir, "--serve", "0")
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)/$", process.wait_for_log("serve "))[1])
    with socket.create_connection(("127.0.0.1", port)) as silent:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/state", timeout=60) as answer:
            assert json.load(answer)["verdicts"] == 0
        process.process.send_signal(number)
        code, lines, log = process.end()
        assert silent.recv(1) == b""
    assert (code, lines) == (0, [])
    assert log.splitlines()[-1].startswith("done   0 frames") and "Traceback" not in log


def test_only_the_page_needs_its_packages(film, bundle_dir):
    code = (
        "import sys\nfrom edgead.cli.main import main\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('starlette', 'uvicorn'):\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "sys.exit(main(['watch', *sys.argv[1:]]))"
    )
    words = [sys.executable, "-c", code, film, "--bundle", bundle_dir, "--every-frame"]
    without = subprocess.run(words, capture_output=True, text=True)
    assert (without.returncode, without.stdout.count("\n")) == (0, 6), without.stderr
    refused = subprocess.run([*words, "--serve", "0"], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "edgead: edgead watch needs the package starlette, which is not installed: "
        f"{cure('live')}\n"
    )


def test_kill_9_leaves_whole_lines(watch, http_camera, bundle_dir, frames):
    process = watch(http_camera(frames * 3000).url, "--bundle", bundle_dir)
    first = [process.line() for _ in range(5)]
    process.process.kill()  # in the middle of the work, or of a write into the full pipe
    rest = process.process.stdout.read()
    assert rest == "" or rest.endswith("\n")
    numbers = [line["frame"] for line in [*first, *map(json.loads, rest.splitlines())]]
    assert numbers == sorted(set(numbers))


def test_a_stopped_process_ends_also_when_the_source_is_stuck(
    watch, http_camera, bundle_dir, frames
):
    stall = threading.Event()
    camera = http_camera([*frames, stall])
    process = watch(camera.url, "--bundle", bundle_dir, "--stall-seconds", 600)
    assert process.line()["frame"] >= 0
    process.process.send_signal(signal.SIGTERM)
    code, _, log = process.end()
    stall.set()
    assert code == 0
    assert log.splitlines()[-1].startswith("done   ")


@pytest.mark.parametrize("signals", [1, 2])
def test_when_nobody_reads_a_signal_waits_and_a_second_one_does_not(
    watch, bundle_dir, film, signals
):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # one page: full with the first line
    process = watch(film, "--bundle", bundle_dir, "--every-frame", stdout=writer)
    while select.select([], [writer], [], 0)[1]:
        time.sleep(0.02)
    os.close(writer)
    process.process.send_signal(signal.SIGTERM)
    process.wait_for_log("the last line waits for the reader of stdout")
    if signals == 2:
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait() == 128 + signal.SIGTERM  # although nobody read
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    code, _, log = process.end()
    assert text.endswith(b"\n")
    numbers = [json.loads(line)["frame"] for line in text.splitlines()]
    if signals == 1:
        assert code == 0 and f", {len(numbers)} verdicts, " in log.splitlines()[-1]
    assert numbers == list(range(3 - signals))


def test_a_closed_pipe_ends_the_watch_as_every_command(watch, bundle_dir, http_camera, frames):
    camera = http_camera(frames * 3000)
    process = watch(camera.url, "--bundle", bundle_dir)
    assert process.line()["frame"] >= 0
    process.process.stdout.close()
    process.process.stdout = None
    code, _, log = process.end()
    assert code == 141, log
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith("done   ")


def test_a_lost_camera_is_given_up_with_2_and_no_verdict_is_lost(
    watch, bundle_dir, http_camera, frames
):
    camera = http_camera(frames)
    process = watch(
        camera.url, "--bundle", bundle_dir, "--reconnect-seconds", 0, "--stall-seconds", 5
    )
    code, lines, log = process.end()
    assert code == 2
    assert lines[-1]["frame"] == 5
    assert sum(1 + line.get("dropped", {"count": 0})["count"] for line in lines) == 6
    assert "edgead: given up after 0 s without a signal" in log.splitlines()[-1]


def test_a_second_signal_acts_at_once():
    code = (
        "import os, signal, sys, time\n"
        "from edgead.cli.signals import stopping\n"
        "from edgead.cli.main import guard\n"
        "def work():\n"
        "    with stopping() as came:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        assert came() == signal.SIGINT\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "sys.exit(guard(work))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["nowhere.avi"], "nowhere.avi does not exist: expected a camera's number"),
        (
            ["7", "--every-frame"],
            "with camera 7: not supported for live .*; remove the option",
        ),
        (["7", "--reconnect-seconds", "-1"], "--reconnect-seconds -1.0: expected 0 or more"),
        (["7", "--false-reject-rate", "0.001"], "the best possible is 0.025"),
    ],
)
def test_a_mistake_is_a_sentence_and_1(capsys, bundle_dir, words, cure):
    assert main(["watch", *words, "--bundle", str(bundle_dir)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(cure, captured.err)


def test_a_film_that_is_cut_off_ends_with_1_and_every_verdict(watch, film, bundle_dir, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(film.read_bytes()[: int(0.8 * film.stat().st_size)])
    code, lines, log = watch(cut, "--bundle", bundle_dir, "--every-frame").end()
    assert code == 1 and 0 < len(lines) < 6
    assert log.splitlines()[-2].startswith(f"done   {len(lines)} frames, {len(lines)} verdicts")
    assert f"stops after {len(lines)} of 6 frames: it is cut off" in log.splitlines()[-1]


def test_names_of_any_bytes_are_scored_and_the_lines_are_json(
    watch, bundle_dir, frames, arrive, tmp_path
):
    place = tmp_path / "incoming"
    place.mkdir()
    names = [b"caf\xe9.png", b"a\nedgead: forged.png", "\u2028.png".encode(), b"\x1b[2J.png"]
    process = watch(place, "--bundle", bundle_dir, "--every-frame", "--evidence", tmp_path / "seen")
    process.wait_for_log("0 images are there already")
    for name in names:
        arrive(Path(os.fsdecode(os.path.join(os.fsencode(place), name))), frames[3])
    damaged = os.path.join(os.fsencode(place), b"bad\xff\n.png")
    Path(os.fsdecode(damaged)).write_bytes(b"no image")
    found = [process.line() for _ in range(len(names) + 1)]
    process.process.terminate()
    code, lines, log = process.end()
    assert (code, lines) == (0, [])
    assert {os.path.basename(os.fsencode(line["file"])) for line in found[:4]} == set(names)
    assert os.fsencode(found[4]["file"]) == damaged and "error" in found[4]
    assert "Traceback" not in log and all(text.isprintable() for text in log.splitlines())
    saved = [json.loads(path.read_bytes()) for path in (tmp_path / "seen").glob("*.json")]
    assert {os.path.basename(os.fsencode(line["file"])) for line in saved} == set(names)


def test_sizes_that_alternate_are_said_once_and_counted(
    watch, bundle_dir, frames, arrive, tmp_path
):
    place = tmp_path / "incoming"
    place.mkdir()
    process = watch(place, "--bundle", bundle_dir, "--every-frame")
    process.wait_for_log("0 images are there already")
    for number in range(8):
        frame = frames[0] if number % 2 else frames[0][:48, :64]
        arrive(place / f"{number}.png", frame)
        assert "score" in process.line()
    process.process.terminate()
    code, _, log = process.end()
    said = [line for line in log.splitlines() if line.startswith("change ")]
    assert code == 0 and len(said) == 2
    assert said[0] == "change frame 1 is 70 x 90 colour uint8, before it was 48 x 64 colour uint8"
    assert said[1].startswith("change 6 more in ")


def test_a_camera_that_comes_back_with_another_size_is_said(watch, bundle_dir, frames, http_camera):
    stall = threading.Event()
    camera = http_camera(frames[:2], [*[frames[2][:48, :64]] * 2, stall])
    process = watch(camera.url, "--bundle", bundle_dir)
    line = process.wait_for_log("change ")
    stall.set()
    assert re.search(r"frame \d+ is 48 x 64 colour uint8, before it was 70 x 90", line)


def test_a_full_disk_ends_no_watch_and_says_what_is_missing(watch, bundle_dir, film):
    with open("/dev/full", "wb") as full:
        code, _, log = watch(film, "--bundle", bundle_dir, "--every-frame", stdout=full).end()
    assert code == 1 and "Traceback" not in log
    assert ", 6 verdicts, " in log and "6 lines not written to stdout: no space left" in log


def test_a_reader_of_the_log_that_is_gone_ends_no_watch(watch, bundle_dir, film):
    process = watch(film, "--bundle", bundle_dir, "--every-frame")
    process.process.stderr.close()
    process.process.stderr = None
    lines = [process.line() for _ in range(6)]
    assert [line["frame"] for line in lines] == list(range(6))
    assert process.process.wait() == 0


def test_allow_host_without_a_page_is_refused(capsys, bundle_dir, tmp_path):
    words = ["watch", str(tmp_path), "--bundle", str(bundle_dir), "--allow-host", "x"]
    assert main(words) == 1
    assert "--allow-host without --serve" in capsys.readouterr().err


def test_signal_handlers_are_given_back(capsys, bundle_dir):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["watch", "97", "--bundle", str(bundle_dir)]) == 2
    assert "camera 97 does not open" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_evidence_with_digests_can_be_replayed(watch, film, bundle_dir, tmp_path, capsys):
    seen, lines = tmp_path / "seen", tmp_path / "verdicts.jsonl"
    words = ("--every-frame", "--digests", "--threads", 1, "--evidence", seen)
    code, found, log = watch(film, "--bundle", bundle_dir, *words).end()
    assert code == 0, log
    assert all(set(line["digests"]) >= {"frame", "engine", "served"} for line in found)
    lines.write_text("".join(json.dumps(line) + "\n" for line in found))
    anomalous = sum(line["is_anomalous"] for line in found)
    for records in ([seen], [lines, "--frames", seen]):
        assert main(["replay", str(bundle_dir), *map(str, records), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["repeated"] == anomalous > 0


def test_one_camera_keeps_records_whose_rows_are_its_lines(watch, film, bundle_dir, tmp_path):
    folder = tmp_path / "records"
    words = ("--every-frame", "--threads", 1, "--records", folder)
    code, lines, log = watch(film, "--bundle", bundle_dir, *words).end()
    assert code == 0 and "wrote  6 records to" in log, log
    with sqlite3.connect(folder / "records.db") as store:
        rows = store.execute("SELECT id, score, is_anomalous FROM verdicts ORDER BY number")
        found = [(a, b, bool(c)) for a, b, c in rows]
        saved = store.execute("SELECT COUNT(*) FROM evidence").fetchone()[0]
    assert found == [(line["id"], line["score"], line["is_anomalous"]) for line in lines]
    assert saved >= sum(line["is_anomalous"] for line in lines) > 0
    assert all(line["id"].startswith("camera-") for line in lines)


def test_records_beside_a_line_file_are_refused(capsys, tmp_path):
    words = ["watch", "--config", str(tmp_path / "line.toml"), "--records", str(tmp_path)]
    assert main(words) == 1
    assert "--records beside --config" in capsys.readouterr().err
