"""examples/firmware: what its verdicts are, which frames get one, and what it survives."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import firmware  # type: ignore[import-not-found]
import numpy as np
import pytest
from firmware import Client, Manager, Service

from edgead.cli.main import main as edgead
from edgead.images import encode_png

VERDICT = ("score", "p_value", "is_anomalous", "threshold")


@pytest.fixture(scope="session")
def program(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service with a folder as its camera."""
    return firmware.make(installed, tmp_path_factory.mktemp("firmware"), "folder")


@pytest.fixture(scope="session")
def frames(make_frame: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of colour, grey, 16 bits, alpha, a palette, and of names of every kind."""
    folder = tmp_path_factory.mktemp("frames")
    pictures = {
        "0.png": make_frame(0, (70, 90, 3)),
        'quote" back\\slash.png': make_frame(1, (33, 57)),
        "Prüfling.png": make_frame(2, (128, 96, 3), np.uint16),
        os.fsdecode(b"\xff\xfe.png"): make_frame(3, (40, 52), np.uint16),
        "tab\t.png": make_frame(4, (70, 90, 3)),
    }
    for name, picture in pictures.items():
        (folder / name).write_bytes(encode_png(picture))
    alpha = np.dstack([make_frame(5, (30, 20, 3)), np.full((30, 20), 7, np.uint8)])
    assert cv2.imwrite(str(folder / "alpha.png"), alpha)
    return folder


@pytest.fixture
def bundles(tiny: Any, tmp_path: Path) -> Callable[[str], None]:
    """``bundles(name)`` lets ``part.edgead`` be another bundle, in one step: a, b or broken."""
    for number, name in enumerate("ab"):
        tiny.write(tmp_path / f"{name}.edgead", name=f"bundle {number}")
    shutil.copytree(tmp_path / "b.edgead", tmp_path / "broken.edgead")
    (tmp_path / "broken.edgead/model.onnx").write_bytes(b"cut")

    def point(name: str) -> None:
        (tmp_path / "new").symlink_to(tmp_path / f"{name}.edgead")
        (tmp_path / "new").rename(tmp_path / "part.edgead")

    point("a")
    return point


def sha_of(bundle: Path) -> str:
    from edgead.bundle.storage import open_bundle

    return open_bundle(bundle).sha256


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    """Of the frames; a gap after the first line that no line accounts for fails."""
    last = lines[0]["frame"] - lines[0].get("dropped", {"count": 0})["count"] - 1
    for line in lines:
        gone = line.get("dropped", {"count": 0, "first": last + 1, "last": last})
        assert gone["first"] == last + 1 and gone["last"] == line["frame"] - 1
        assert gone["count"] == gone["last"] - gone["first"] + 1
        last = line["frame"]
    return [line["frame"] for line in lines]


def test_verdicts_are_those_of_edgead_score(
    program: Path, bundle_dir: Path, frames: Path, installed: Path
) -> None:
    with Service(program, bundle_dir, frames, EDGEAD_HZ=0) as service:
        found = service.lines()
        assert service.process.returncode == 0
    paths = sorted(frames.iterdir(), key=os.fsencode)
    command = [installed / "edgead-score", bundle_dir, *paths, "--json", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, check=True)
    expected = json.loads(done.stdout)
    assert numbers(found) == list(range(len(paths)))
    for line, path, one in zip(found, paths, expected["frames"], strict=True):
        assert os.fsencode(line["file"]) == os.fsencode(path.name)
        assert {key: line[key] for key in VERDICT} == {key: one[key] for key in VERDICT}
        assert line["regions"] == one["regions"][:16]
        assert line["region_count"] == len(one["regions"])
        assert line["bundle_sha256"] == expected["engine"]["bundle_sha256"]
        assert line["latency_ms"] >= line["queue_age_ms"] >= 0 and not line["is_late"]
    assert any(line["regions"] for line in found) and any(not line["regions"] for line in found)


def test_a_file_that_is_no_picture_is_a_line_with_the_reason(
    program: Path, bundle_dir: Path, frames: Path, tmp_path: Path
) -> None:
    (tmp_path / "0.png").write_bytes((frames / "0.png").read_bytes()[:500])
    (tmp_path / "1.png").write_bytes(b"\x00")
    (tmp_path / "2.png").mkdir()
    shutil.copy(frames / "0.png", tmp_path / "3.png")
    with Service(program, bundle_dir, tmp_path, EDGEAD_HZ=0) as service:
        found = service.lines()
    assert numbers(found) == [0, 1, 2, 3]
    assert all(line["error"] and "score" not in line for line in found[:3])
    assert "error" not in found[3]
    assert "1 verdicts" in service.stderr


@pytest.fixture(scope="session")
def gate(compiled: Any) -> Path:
    """A library that lets the detector wait for the test."""
    path: Path = compiled("gate.c", "-shared", "-fPIC")
    return path


def test_the_latest_frame_wins_and_the_others_are_counted(
    program: Path, bundle_dir: Path, make_frame: Any, gate: Path, tmp_path: Path
) -> None:
    """The detector waits at its first frame until the camera is at its last file, a pipe."""
    (tmp_path / "frames").mkdir()
    for number in range(30):
        (tmp_path / f"frames/{number:02}.png").write_bytes(encode_png(make_frame(number)))
    os.mkfifo(tmp_path / "frames/last.png")
    reading, writing = os.pipe()
    settings = {"EDGEAD_HZ": 1e5, "LD_PRELOAD": gate, "GATE": reading}
    with Service(program, bundle_dir, tmp_path / "frames", fds=(reading,), **settings) as service:
        os.close(reading)
        with (tmp_path / "frames/last.png").open("wb") as last:
            os.close(writing)
            found = [json.loads(service.process.stdout.readline())]
            while found[-1]["frame"] < 29:
                found.append(json.loads(service.process.stdout.readline()))
            last.write(encode_png(make_frame(30)))
        found += service.lines()
    assert len(found) <= 3 and numbers(found)[-2:] == [29, 30]
    dropped = sum(line["dropped"]["count"] for line in found if "dropped" in line)
    assert len(found) + dropped == 31
    assert f"{len(found)} verdicts" in service.stderr and f"{dropped} dropped" in service.stderr


@pytest.mark.parametrize(("deadline_ms", "late"), [(0, True), (1e9, False)])
def test_a_verdict_after_the_deadline_is_marked(
    program: Path, bundle_dir: Path, frames: Path, deadline_ms: float, late: bool
) -> None:
    settings = {"EDGEAD_HZ": 0, "EDGEAD_DEADLINE_MS": deadline_ms}
    with Service(program, bundle_dir, frames, **settings) as service:
        found = service.lines()
    assert [line["is_late"] for line in found] == [late] * len(found)
    assert f"{len(found) * late} late" in service.stderr


def test_a_bundle_is_reloaded_without_losing_a_frame(
    program: Path, bundles: Callable[[str], None], frames: Path, tmp_path: Path
) -> None:
    settings = {"EDGEAD_HZ": 0, "EDGEAD_REPEAT": 1}  # the camera waits: none is dropped
    found: list[dict[str, Any]] = []

    def read(count: int) -> None:
        found.extend(json.loads(service.process.stdout.readline()) for _ in range(count))

    with Service(program, tmp_path / "part.edgead", frames, **settings) as service:
        read(5)
        for name in ("b", "broken", "a"):
            bundles(name)
            said = service.stderr.count("\n")
            service.send(signal.SIGHUP)
            while service.stderr.count("\n") == said:
                read(1)
            read(200)  # more than the pipe held before
        service.send(signal.SIGTERM)
        found += service.lines()
        assert service.process.returncode == 0
    ids = numbers(found)
    assert ids == list(range(len(ids))) and not any("error" in line for line in found)
    served = [line["bundle_sha256"] for line in found]
    changes = [new for old, new in zip(["", *served], served, strict=False) if new != old]
    a, b = (sha_of(tmp_path / f"{name}.edgead") for name in "ab")
    assert changes == [a, b, a]
    assert "keeps the bundle it has" in service.stderr and "model.onnx" in service.stderr


def test_a_bundle_that_does_not_fit_the_frames_is_refused_at_the_door(
    program: Path, make_frame: Any, bundles: Callable[[str], None], frames: Path, tmp_path: Path
) -> None:
    """A mask for frames of another size opens and qualifies, but no frame could be scored."""
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(20):
        (good / f"{seed}.png").write_bytes(encode_png(make_frame(seed, (41, 43, 3))))
    words = ["mask", tmp_path / "b.edgead", "--polygon", "0,0 9,0 9,9", "--calibrate", good]
    assert edgead([*map(str, words), "--out", str(tmp_path / "masked.edgead")]) == 0
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(frames / "0.png", one)
    path = tmp_path / "verdicts"
    settings = {"EDGEAD_HZ": 0, "EDGEAD_REPEAT": 1, "EDGEAD_SOCKET": path}
    with Service(program, tmp_path / "part.edgead", one, **settings) as service:
        client = Client(path)
        client.take(2)
        bundles("masked")
        service.send(signal.SIGHUP)
        service.wait_for("keeps the bundle it has")
        assert not any("error" in line for line in client.take(50))
        assert service.end() == 0


def test_a_slow_client_delays_nobody(
    program: Path, bundle_dir: Path, frames: Path, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts"
    settings = {"EDGEAD_HZ": 5000, "EDGEAD_REPEAT": 1, "EDGEAD_SOCKET": path}
    with Service(program, bundle_dir, frames, **settings) as service:
        slow, gone, quick = (Client(path) for _ in range(3))
        gone.take(1), gone.socket.close()
        last = quick.take(3000)[-1]["frame"]  # more than a socket holds for one who does not read
        held = slow.take(100)  # whole lines
        held += itertools.takewhile(lambda line: line["frame"] < last, slow)
        assert 100 < len(held) < 3000  # not all: then come those of now
        assert service.end() == 0
    ids = [line["frame"] for line in held]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_clean(
    program: Path, bundle_dir: Path, frames: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "verdicts"
    with Service(program, bundle_dir, frames, EDGEAD_SOCKET=path, EDGEAD_REPEAT=1) as service:
        client = Client(path)
        client.take(1)
        service.send(number)
        list(client)  # ends with a whole line
        assert service.process.wait(firmware.LONGEST_S) == 0
    assert not path.exists() and "verdicts" in service.stderr


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_how_it_is(
    program: Path, bundles: Callable[[str], None], frames: Path, tmp_path: Path, abstract: bool
) -> None:
    address = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    manager = Manager(address)
    settings = {"EDGEAD_HZ": 200, "EDGEAD_REPEAT": 1, "EDGEAD_SOCKET": tmp_path / "verdicts"}
    settings |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": 40_000}
    with Service(program, tmp_path / "part.edgead", frames, **settings) as service:
        assert manager.next()["READY"] == "1"
        signs = [manager.until("WATCHDOG") for _ in range(3)]
        assert all("verdicts" in sign["STATUS"] for sign in signs)
        service.send(signal.SIGHUP)
        assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
        assert "serves" in manager.until("READY")["STATUS"]
        bundles("broken")
        service.send(signal.SIGHUP)
        manager.until("RELOADING")
        assert "keeps the bundle it has" in manager.until("READY")["STATUS"]
        manager.until("WATCHDOG")
        service.send(signal.SIGTERM)
        assert manager.until("STOPPING")["STOPPING"] == "1"
        assert service.process.wait(firmware.LONGEST_S) == 0


def test_without_verdicts_the_watchdog_gets_no_sign(
    program: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(b"no picture")
    manager = Manager(str(tmp_path / "notify"))
    path = tmp_path / "verdicts"
    settings = {"EDGEAD_HZ": 0, "EDGEAD_REPEAT": 1, "EDGEAD_SOCKET": path, "WATCHDOG_USEC": 4}
    settings |= {"NOTIFY_SOCKET": tmp_path / "notify"}
    with Service(program, bundle_dir, tmp_path / "frames", **settings) as service:
        assert all("error" in line for line in Client(path).take(100))
        assert service.end() == 0
    messages = [manager.next()]
    while "STOPPING" not in messages[-1]:
        messages.append(manager.next())
    assert not any("WATCHDOG" in message for message in messages)


def refused(program: Path, bundle: Path, source: Path, **settings: object) -> tuple[int, str]:
    with Service(program, bundle, source, **settings) as service:
        assert service.lines() == []
        return service.process.returncode, service.stderr


def test_what_cannot_work_is_said_at_the_start(
    program: Path, bundle_dir: Path, bundle_copy: Path, frames: Path, tmp_path: Path
) -> None:
    (bundle_copy / "model.onnx").write_bytes(b"cut")
    for bundle, source, settings, code, said in (
        (tmp_path / "no.edgead", frames, {}, 1, "no.edgead"),
        (bundle_copy, frames, {}, 1, "model.onnx"),
        (bundle_dir, tmp_path / "none", {}, 2, "expected a folder of PNG files"),
        (bundle_dir, frames, {"EDGEAD_HZ": "fast"}, 1, "EDGEAD_HZ=fast: expected a number"),
        (bundle_dir, frames, {"EDGEAD_HZ": -1}, 1, "EDGEAD_HZ=-1: expected a number"),
        (bundle_dir, frames, {"EDGEAD_THREADS": 1025}, 1, "expected a number from 0 to 1024"),
        (bundle_dir, frames, {"EDGEAD_HZ": ""}, 1, "EDGEAD_HZ=: expected a number"),
        (bundle_dir, frames, {"EDGEAD_SOCKET": tmp_path / "no" / "s"}, 2, "cannot listen at"),
        (bundle_dir, frames, {"EDGEAD_SOCKET": "x" * 200}, 2, "too long for a socket"),
    ):
        assert (found := refused(program, bundle, source, **settings))[0] == code, found
        assert said in found[1] and found[1].count("\n") == 1
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "edgead-camera: expected edgead-camera BUNDLE SOURCE\n",
    )


def test_a_socket_of_another_process_is_left_and_one_of_the_dead_is_taken(
    program: Path, bundle_dir: Path, frames: Path, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts"
    settings = {"EDGEAD_SOCKET": path, "EDGEAD_REPEAT": 1}
    with Service(program, bundle_dir, frames, **settings) as first:
        client = Client(path)
        client.take(1)
        code, said = refused(program, bundle_dir, frames, **settings)
        assert code == 2 and "Address already in use" in said
        client.take(3)
        first.send(signal.SIGKILL)
    assert path.exists()
    with Service(program, bundle_dir, frames, **settings) as second:
        second.wait_for("serves")
        Client(path).take(1)
        assert second.end() == 0
    (tmp_path / "file").write_text("mine")
    assert refused(program, bundle_dir, frames, EDGEAD_SOCKET=tmp_path / "file")[0] == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_has_its_name_once_somebody_listens(
    program: Path, bundle_dir: Path, frames: Path, tmp_path: Path, compiled: Any
) -> None:
    path, preload = tmp_path / "verdicts", compiled("listens.c", "-shared", "-fPIC")
    (tmp_path / "verdicts~").write_text("left by a start that was killed")
    settings = {"EDGEAD_SOCKET": path, "EDGEAD_REPEAT": 1, "LD_PRELOAD": preload}
    with Service(program, bundle_dir, frames, **settings) as service:
        Client(path).take(1)
        assert service.end() == 0
    assert not list(tmp_path.glob("verdicts*"))


def test_the_reader_of_stdout_may_leave(program: Path, bundle_dir: Path, frames: Path) -> None:
    with Service(program, bundle_dir, frames, EDGEAD_HZ=0, EDGEAD_REPEAT=1) as service:
        service.process.stdout.readline()
        service.process.stdout.close()
        assert service.process.wait(firmware.LONGEST_S) == 141


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path, program: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (firmware.EXAMPLE / "edgead-camera.service").read_text()
    copy = tmp_path / "edgead-camera.service"
    copy.write_text(unit.replace("/usr/local/bin/edgead-camera", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
def test_no_sanitizer_objects(
    installed: Path, bundles: Callable[[str], None], frames: Path, tmp_path: Path, kind: str
) -> None:
    """Neither to memory nor to threads, through reloads, clients that come and go, and the end."""
    flags = f"-O1 -g -fsanitize={kind} -fno-sanitize-recover=all"
    program = firmware.make(installed, tmp_path / "made", "folder", flags)
    # OpenVINO and its TBB were not made for sanitizers: what they do among themselves is left out.
    rules = "\n".join(f"leak:{name}" for name in ("libopenvino", "libtbb", "libhwloc"))
    (tmp_path / "leaks").write_text(f"{rules}\n")
    path = tmp_path / "verdicts"
    settings = {
        "EDGEAD_SOCKET": path, "EDGEAD_HZ": 300, "EDGEAD_REPEAT": 1, "TBB_ENABLE_SANITIZERS": 1,
        "LSAN_OPTIONS": f"suppressions={tmp_path / 'leaks'}", "TSAN_OPTIONS": "exitcode=0",
    }  # fmt: skip
    with Service(program, tmp_path / "part.edgead", frames, **settings) as service:
        for turn, name in enumerate(("b", "broken", "a")):
            client = Client(path)
            client.take(30)
            bundles(name)
            service.send(signal.SIGHUP)
            service.wait_for("\n", turn + 2)
            client.socket.close()
        assert service.end() == 0, service.stderr
    said = re.findall(r"(?m)^SUMMARY: .*|.*runtime error.*", service.stderr)
    assert [line for line in said if "openvino" not in line and "tsan_new_delete" not in line] == []
