"""edgead watch --config as a process: several cameras, each by itself, and one file for all."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import pytest

from edgead import Detector
from edgead.errors import InputError
from edgead.live import loop as loop_module
from edgead.live.camera_settings import CameraSettings
from edgead.live.cameras import Cameras
from edgead.live.capture import Slot
from edgead.live.engines import Engines, View
from edgead.live.loop import Loop
from edgead.live.relearning.choice import RelearningError
from edgead.live.sinks.jsonl import JSONLinesSink
from edgead.live.source import Moment, Reading
from edgead.live.tally import Tally
from edgead.records.store import RecordsSettings


@pytest.fixture
def line(tmp_path, bundle_dir):
    """``line(left=source, right=source, …)``: a line.toml with these cameras."""
    path = tmp_path / "line.toml"

    def write(more: str = "", every_frame: bool = True, **sources: object) -> Path:
        text = f'[defaults]\nbundle = "{bundle_dir}"\nthreads = 1\n'
        for name, source in sources.items():
            own = "every_frame = true\n" if every_frame else ""
            text += f'[[camera]]\nname = "{name}"\nsource = "{source}"\n{own}'
        path.write_text(text + more)
        return path

    return write


def wait_for_all(process, *words: str) -> None:
    """Read the log until each of ``words`` was in it, in any order."""
    for each in words:
        if not any(each in line for line in process.log):
            process.wait_for_log(each)


def test_two_films_end_with_0_and_a_summary_each(watch, line, film, frames):
    code, lines, log = watch("--config", line(left=film, right=film)).end()
    assert code == 0, log
    for name in ("left", "right"):
        own = [found for found in lines if found["camera"] == name]
        assert [found["frame"] for found in own] == list(range(len(frames)))
        assert [found["is_anomalous"] for found in own][3] is True
        assert re.search(rf"^done   {name}: 6 frames, 6 verdicts", log, re.MULTILINE)
    assert len({found["id"] for found in lines}) == 2 * len(frames)
    assert all(found["id"].startswith(f"{found['camera']}-") for found in lines)


def test_a_dead_camera_and_a_folder_that_waits_hold_nobody(watch, line, film, frames, tmp_path):
    place = tmp_path / "incoming"
    place.mkdir()
    sources = {"dead": "rtsp://127.0.0.1:9/none", "folder": place, "film": film}
    process = watch("--config", line(every_frame=False, **sources))
    found = [process.line() for _ in range(3)]
    assert {one["camera"] for one in found} == {"film"}
    process.wait_for_log("lost   dead: ")
    process.process.send_signal(signal.SIGTERM)
    code, _, log = process.end()
    assert code == 0 and "Traceback" not in log, log
    assert "done   dead: 0 frames" in log and "done   folder: 0 frames" in log


def test_a_camera_that_ends_with_an_error_gives_its_exit_code(watch, line, film, tmp_path, frames):
    broken = tmp_path / "cut.avi"
    data = film.read_bytes()
    broken.write_bytes(data[: len(data) * 2 // 3])
    code, lines, log = watch("--config", line(cut=broken, whole=film)).end()
    assert code == 1
    assert "failed cut: video file" in log and "it is watched no more" in log
    assert sum(one["camera"] == "whole" for one in lines) == len(frames)


def test_a_file_that_is_wrong_starts_nothing(watch, line, film, tmp_path):
    code, lines, log = watch("--config", line("rate = 3", left=film)).end()
    assert (code, lines) == (1, [])
    assert re.search(r"line\.toml, line 8: camera\.rate is not a key of a camera \(did you", log)
    text = line(left=film).read_text().replace("tiny.edgead", "none.edgead")
    (tmp_path / "line.toml").write_text(text)
    code, _, log = watch("--config", tmp_path / "line.toml").end()
    assert code == 1 and re.search(r"line 2: |line 4: camera\.bundle: bundle .*none\.edgead", log)
    code, _, log = watch("--config", line(left="nothing.avi")).end()
    assert code == 1 and "line 6: camera.source: nothing.avi does not exist" in log
    code, _, log = watch("--config", line("false_reject_rate = 0.001", left=film)).end()
    assert code == 1 and "line 8: camera.false_reject_rate: false-reject rate 0.001 is mo" in log


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["0"], "SOURCE beside --config"),
        (["--bundle", "x.edgead"], "--bundle beside --config"),
        (["--set", "a=1"], "--set beside --config"),
        (["--every-frame"], "--every-frame beside --config"),
        (["--json"], "--json without --check"),
    ],
)
def test_what_the_file_says_is_refused_beside_it(watch, line, film, words, sentence):
    code, lines, log = watch("--config", line(left=film), *words).end()
    assert (code, lines) == (1, []) and sentence in log


def test_sighup_reads_the_file_again_and_who_did_not_change_loses_no_frame(
    watch, line, film, frames, arrive, tmp_path
):
    places = {name: tmp_path / name for name in ("kept", "changed", "added")}
    for place in places.values():
        place.mkdir()
    process = watch("--config", line(kept=places["kept"], changed=places["changed"]))
    wait_for_all(process, "watch  kept: ", "watch  changed: ")
    arrive(places["kept"] / "0.png", frames[0])
    first = process.line()
    assert (first["camera"], first["frame"]) == ("kept", 0)
    text = line(kept=places["kept"], changed=places["changed"], added=places["added"]).read_text()
    changed = text.replace('name = "changed"', 'name = "changed"\nrate_hz = 100')
    (tmp_path / "line.toml").write_text(changed)
    process.process.send_signal(signal.SIGHUP)
    for number in range(1, 6):
        arrive(places["kept"] / f"{number}.png", frames[number])
    found = [process.line() for _ in range(5)]
    assert [one["frame"] for one in found] == [1, 2, 3, 4, 5]
    assert {one["id"].rpartition("-")[0] for one in [first, *found]} == {
        first["id"].rpartition("-")[0]
    }
    wait_for_all(process, "2 cameras started, 1 go on", "watch  added: ")
    arrive(places["added"] / "0.png", frames[1])
    assert process.line()["camera"] == "added"
    (tmp_path / "line.toml").write_text("[[camera]]\nname = 3")
    process.process.send_signal(signal.SIGHUP)
    process.wait_for_log("reload refused, all goes on as before: ")
    assert re.search(r"line\.toml, line 2: camera\.name is 3", process.log[-1])
    arrive(places["kept"] / "6.png", frames[1])
    assert process.line()["frame"] == 6
    process.process.send_signal(signal.SIGTERM)
    code, _, log = process.end()
    assert code == 0 and "Traceback" not in log, log


def test_the_page_shows_all_cameras_and_each_by_itself(watch, line, film, frames, tmp_path, arrive):
    place = tmp_path / "incoming"
    place.mkdir()
    process = watch("--config", line(left=place, right=place), "--serve", "0")
    url = re.search(r"http://127\.0\.0\.1:\d+/", process.wait_for_log("serve "))[0]
    wait_for_all(process, "watch  left", "watch  right")
    arrive(place / "0.png", frames[3])
    process.line(), process.line()

    def ask(path: str) -> bytes:
        with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:
            return answer.read()

    states = {state["name"]: state for state in json.loads(ask("cameras"))}
    assert set(states) == {"left", "right"}
    assert states["left"]["latest"]["is_anomalous"] is True
    assert json.loads(ask("state?camera=right"))["latest"]["frame"] == 0
    assert ask("frame.jpg?camera=left")[:2] == b"\xff\xd8"
    assert b'<main id="main"' in ask("")  # tests/live/test_browser.py looks at what it shows
    body = urllib.request.Request(
        f"{url}rate?camera=left", b'{"rate": 0.2}', {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(body, timeout=60).close()
    assert json.loads(ask("state?camera=left"))["false_reject_rate"] == 0.2
    assert json.loads(ask("state?camera=right"))["false_reject_rate"] != 0.2
    for path in ("state?camera=none", "state", "frame.jpg"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(path)
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0


def test_a_port_in_use_starts_nothing(watch, line, film):
    first = watch("--config", line(left=film), "--serve", "0")
    port = re.search(r":(\d+)/", first.wait_for_log("serve "))[1]
    code, lines, log = watch("--config", line(left=film), "--serve", port).end()
    if first.process.poll() is None or code:
        assert (code, lines) == (2, []) and "is in use by another program" in log


def test_check_says_what_can_be_reached(line, film, bundle_dir, tmp_path):
    path = line(every_frame=False, good=film, dead="rtsp://me:hush@127.0.0.1:9/none")
    command = [sys.executable, "-m", "edgead", "watch"]
    done = subprocess.run(
        [*command, "--config", path, "--check", "--json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "")
    found = json.loads(done.stdout)
    good, dead = found["cameras"]
    assert good == {"name": "good", "source": f"video file {film}", "ok": True, "why": None}
    assert (dead["source"], dead["ok"]) == ("stream rtsp://…@127.0.0.1:9/none", False)
    assert "does not open" in dead["why"] and (found["sinks"], found["records"]) == ([], None)
    assert "hush" not in done.stdout
    done = subprocess.run([*command, "--config", path, "--check"], capture_output=True, text=True)
    assert done.stdout.splitlines()[1].startswith(
        "failed  dead  stream rtsp://…@127.0.0.1:9/none does not open"  # named once
    )
    one = [*command, film, "--bundle", bundle_dir, "--check"]
    done = subprocess.run(one, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ok  camera  video file {film}\n")
    missing = [*command, film, "--bundle", tmp_path / "no.edgead", "--check"]
    done = subprocess.run(missing, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout.startswith("failed  camera  video file")


def test_a_region_is_scored_as_a_frame_of_its_own(watch, film, bundle_dir):
    code, lines, log = watch(
        film, "--bundle", bundle_dir, "--every-frame", "--threads", 1, "--roi", "10,5,60,50"
    ).end()
    assert code == 0, log
    capture = cv2.VideoCapture(str(film))
    with Detector(bundle_dir, threads=1) as detector:
        expected = [detector.score(capture.read()[1][5:55, 10:70]).score for _ in lines]
    assert [line["score"] for line in lines] == expected and len(lines) == 6
    code, lines, _ = watch(film, "--bundle", bundle_dir, "--roi", "40,5,60,50").end()
    assert code == 0 and "reaches over the edge of a frame of 70 x 90" in lines[0]["error"]


def test_no_more_frames_than_the_rate_are_scored_and_the_rest_is_named(
    bundle_dir, frames, monkeypatch
):
    now_s, slot, out = [0.0], Slot(), io.BytesIO()

    def pass_time(seconds: float) -> None:
        now_s[0] += seconds
        slot.put(Reading(Moment(now_s[0], now_s[0]), frames[0]))

    monkeypatch.setattr(
        loop_module, "Moment", SimpleNamespace(now=lambda: Moment(now_s[0], now_s[0]))
    )
    monkeypatch.setattr(loop_module.time, "sleep", pass_time)
    monkeypatch.setattr(loop_module, "WAIT_S", 0.25)  # whose sums are exact
    pass_time(0.0)
    with Detector(bundle_dir, threads=1) as detector:
        loop = Loop(detector, slot, Tally(), out, lambda *said: None, period_s=1.0)
        loop.run(lambda: now_s[0] > 3.1)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    # A frame each 0.25 s, scored at 0, 1, 2 and 3 s: three of four are dropped.
    assert [line["frame"] for line in lines] == [0, 4, 8, 12]
    assert [line.get("dropped", {"count": 0})["count"] for line in lines] == [0, 3, 3, 3]


def test_a_bundle_that_is_swapped_is_noticed_at_the_next_reload(
    line, bundle_copy, tiny, tmp_path, monkeypatch
):
    place = tmp_path / "incoming"
    place.mkdir()
    path = line(left=place)
    path.write_text(re.sub(r"bundle = .*", f'bundle = "{bundle_copy}"', path.read_text()))
    said = []
    say = lambda *words: said.append(words[:2])  # noqa: E731
    view = partial(View, Engines())
    cameras = Cameras(path, io.BytesIO(), say, lambda one: "over", view)
    cameras.start()
    try:
        before = cameras._cameras["left"]
        before.board.set_rate(0.2)
        digest = before.bundle.sha256
        cameras.reload()
        assert said[-1][1].endswith("0 cameras started, 1 go on")
        manifest = json.loads((bundle_copy / "manifest.json").read_text())
        manifest["name"] = "another"
        manifest["calibration"]["scores"] = [2 * one for one in manifest["calibration"]["scores"]]
        (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
        cameras.reload()  # the camera goes on, scored by another bundle at the rate it had
        assert cameras._cameras["left"] is before and before.bundle.sha256 != digest
        assert said[-1][1].endswith("0 cameras started, 1 go on, 1 of them with another bundle")
        with Detector(bundle_copy, threads=1, false_reject_rate=0.2) as expected:
            assert before.board.detector.threshold == expected.threshold
        assert before._loop.detector.bundle.manifest.name == "another"
        (bundle_copy / "model.onnx").write_bytes(b"of another size")
        cameras.reload()
        assert said[-1][0] == "reload" and "refused, all goes on as before" in said[-1][1]
        assert cameras.runs
        tiny.write(bundle_copy)
        path.write_text(path.read_text() + "rate_hz = 50\n")
        failing = InputError("its port is in use")
        monkeypatch.setattr(cameras._outlets, "take", Mock(side_effect=failing))
        cameras.reload()  # a sink that does not open keeps no camera from its start
        assert ("reload", "not all of it: its port is in use") in said
        assert cameras.runs and cameras._cameras["left"] is not before
    finally:
        assert cameras.stop() == 0


def test_a_line_that_comes_while_a_sink_is_renamed_reaches_the_new_one(
    line, bundle_dir, tmp_path, monkeypatch
):
    place = tmp_path / "incoming"
    place.mkdir()
    table = 'sinks = ["{0}"]\n[sink.{0}]\nkind = "jsonl"\npath = "{0}.jsonl"\n'
    path = line(table.format("old"), left=place)
    view = partial(View, Engines())
    cameras = Cameras(path, io.BytesIO(), lambda *_: None, lambda one: "over", view)
    cameras.start()
    close = JSONLinesSink.close

    def send(number: int) -> None:
        """As the camera's thread does, which goes on while the file is read."""
        for sink in cameras._cameras["left"]._loop.sinks:
            sink.send({"id": f"left-0-{number}", "camera": "left"})

    def slow(sink: JSONLinesSink) -> None:
        send(1)
        close(sink)

    try:
        send(0)
        line(table.format("new"), left=place)
        with monkeypatch.context() as patch:
            patch.setattr(JSONLinesSink, "close", slow)
            cameras.reload()
        send(2)
    finally:
        assert cameras.stop() == 0
    found = {name: (tmp_path / f"{name}.jsonl").read_text() for name in ("old", "new")}
    ids = {name: re.findall(r"left-0-\d", text) for name, text in found.items()}
    assert ids == {"old": ["left-0-0"], "new": ["left-0-1", "left-0-2"]}


def test_who_shares_a_bundle_under_another_name_learns_with_it(bundle_dir, tmp_path):
    (tmp_path / "link.edgead").symlink_to(bundle_dir)

    def camera(name: str, bundle: Path, **more: str) -> SimpleNamespace:
        board = SimpleNamespace(detector=SimpleNamespace(false_reject_rate=0.1))
        return SimpleNamespace(settings=CameraSettings(name, "0", str(bundle), **more), board=board)

    records = SimpleNamespace(settings=RecordsSettings(tmp_path))
    found = {"left": camera("left", bundle_dir), "right": camera("right", tmp_path / "link.edgead")}
    cameras = SimpleNamespace(_cameras=found, records=records)
    assert Cameras.learning_of(cameras, "left", "Ada").rates == {"left": 0.1, "right": 0.1}
    found["right"] = camera("right", bundle_dir, trusted_keys="keys")
    with pytest.raises(RelearningError, match=r"^right takes signed bundles only"):
        Cameras.learning_of(cameras, "left", "Ada")
