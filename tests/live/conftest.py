"""Moving sources: a film, a folder that fills, an HTTP camera that stalls, ends and comes back."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import io
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

from edgead import Detector
from edgead.live.access import Address
from edgead.live.board import Board
from edgead.live.capture import Slot
from edgead.live.loop import Identity, Loop
from edgead.live.server import PageServer
from edgead.live.source import Moment, Reading, Source, parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.setup import Setup
from edgead.live.tally import Tally
from edgead.records.store import Records, RecordsSettings

LONGEST_S = 300  # of anything that is waited for: only a defect takes so long


@pytest.fixture(scope="session")
def frames(make_frame) -> list[np.ndarray]:
    """Six frames, [70, 90, 3]; the fourth has a scratch that the tiny bundle sees."""
    found = [make_frame(seed) for seed in range(6)]
    found[3][20:32:2, 15:65], found[3][21:32:2, 15:65] = 255, 0
    return found


@pytest.fixture(scope="session")
def film(frames, tmp_path_factory) -> Path:
    """The frames as an MJPG avi of 100 frames a second."""
    path = tmp_path_factory.mktemp("film") / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 100, (90, 70))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


class Script:
    """In place of a stop event: every ``wait`` does the next step; after the last, it is set."""

    def __init__(self, *steps: Callable[[], object] | None) -> None:
        self._steps = list(steps)

    def is_set(self) -> bool:
        return not self._steps

    def wait(self, seconds: float) -> bool:
        if not self._steps:
            return True
        step = self._steps.pop(0)
        if step is not None:
            step()
        return False


@pytest.fixture(scope="session")
def script() -> type[Script]:
    """``script(step, None, …)``: see Script."""
    return Script


class HTTPCamera:
    """A camera at ``url`` that sends what ``program`` says for each connection in turn.

    A program is a list: an image is sent as a JPEG, bytes as they are, an Event is waited for, and
    its end closes the connection. After the last program, connections are refused with 503.
    """

    def __init__(self, *programs: list[Any]) -> None:
        self._programs = list(programs)
        self.connections = 0
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                camera.connections += 1
                if not camera._programs:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                for step in camera._programs.pop(0):
                    self.do(step)

            def do(self, step: Any) -> None:
                if isinstance(step, threading.Event):
                    step.wait(LONGEST_S)
                    return
                if isinstance(step, bytes):
                    self.wfile.write(step)
                    return
                data = cv2.imencode(".jpg", step)[1].tobytes()
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                self.wfile.flush()

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the reader went away
                    super().handle()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/live"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def http_camera() -> Iterator[Callable[..., HTTPCamera]]:
    """``http_camera(program, …)``: see HTTPCamera."""
    cameras: list[HTTPCamera] = []

    def make(*programs: list[Any]) -> HTTPCamera:
        cameras.append(HTTPCamera(*programs))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


class Watch:
    """A process ``edgead watch``; its lines and its log are read as they come."""

    def __init__(self, *words: object, stdout: Any = subprocess.PIPE) -> None:
        command = [sys.executable, "-m", "edgead", "watch", *map(str, words)]
        self.process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self._timer = threading.Timer(LONGEST_S, self.process.kill)
        self._timer.start()

    def wait_for_log(self, words: str) -> str:
        """Read the log up to the line that has ``words``."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if words in line:
                return line
        raise AssertionError(f"no {words!r} in the log: {''.join(self.log)}")

    def line(self) -> dict[str, Any]:
        """The next line of stdout."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, the lines that were left, and the whole log."""
        out, err = self.process.communicate()
        self._timer.cancel()
        lines = [json.loads(line) for line in (out or "").splitlines()]
        return self.process.returncode, lines, "".join(self.log) + err

    def kill(self) -> None:
        """Whatever happened."""
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    """``watch(*words)``: a process that is killed when the test is over."""
    started: list[Watch] = []

    def start(*words: object, **options: Any) -> Watch:
        started.append(Watch(*words, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def arrive(tmp_path) -> Callable[[Path, np.ndarray], Path]:
    """``arrive(path, frame)``: a PNG that is there whole, by rename."""

    def save(path: Path, frame: np.ndarray) -> Path:
        temporary = tmp_path / "arriving.png"
        assert cv2.imwrite(str(temporary), frame)
        return temporary.rename(path)

    return save


class Page:
    """A served page whose frames are fed by hand; ``log`` is what was said."""

    def __init__(self, detector, host="127.0.0.1", hosts=(), records=None):
        self.log = []
        self.detector = detector
        detector.false_reject_rate = 0.05
        say = lambda *said: self.log.append(said[:2])  # noqa: E731
        self.server = PageServer(Address(host, 0), say, hosts)
        self.slot, self.tally = Slot(), Tally()
        source = Source("camera", "7", "camera 7")
        self.board = Board(source, self.detector, self.slot, self.tally)
        out = io.BytesIO()
        self.loop = Loop(self.detector, self.slot, self.tally, out, print, [self.board])
        folder = None
        if records is not None:
            folder = records.settings.folder
            self.loop.listeners = [self.board, records]
            self.loop.sinks, self.loop.identity = [records], Identity("camera", "0123456789abcdef")
        self.server.start(self.board, folder=folder)
        self.host = f"127.0.0.1:{self.server.address.port}"

    def feed(self, *images):
        pending = list(images)

        def stopping():
            if not pending:
                return True
            self.slot.put(Reading(Moment.now(), pending.pop(0)))
            return False

        for _ in images:
            self.loop.run(stopping)

    def ask(self, path, body=None, **headers):
        """(status, headers, body)."""
        connection = http.client.HTTPConnection(self.host, timeout=300)
        kind = {} if body is None else {"Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, {**kind, **named})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def get(self, path, **query):
        """(status, JSON)."""
        status, _, data = self.ask(f"{path}?{urlencode(query)}" if query else path)
        return status, json.loads(data)

    def post(self, path, **body):
        """(status, JSON)."""
        status, _, data = self.ask(path, json.dumps(body))
        return status, json.loads(data)

    def state(self, after=-1):
        return json.loads(self.ask(f"/state?after={after}")[2])


@pytest.fixture(scope="module")
def detector(bundle_dir):
    with Detector(bundle_dir, threads=1) as opened:
        yield opened


@pytest.fixture
def make_page(detector, monkeypatch):
    monkeypatch.delenv("EDGEAD_TOKEN", raising=False)
    pages = []

    def make(**options):
        pages.append(Page(detector, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.server.close()


@pytest.fixture
def page(make_page):
    return make_page()


class Recorded:
    """A page with 12 recorded verdicts; ``store`` is the database, to be asked by hand.

    Chance chose those ``drawn``; six frames come ``rounds`` times, and the fourth has a scratch.
    """

    def __init__(self, make_page, folder, frames, rounds=2, drawn=(1, 3, 7, 8)):
        draws = iter(0.0 if number in drawn else 0.9 for number in range(6 * rounds))
        settings = RecordsSettings(folder, sample_every=10)
        records = Records(settings, lambda *said: None, lambda: next(draws))
        self.folder, self.page = folder, make_page(records=records)
        for frame in frames * rounds:
            self.page.feed(frame)
            while records._frames:  # saved in a thread of its own
                time.sleep(0.002)
        records.close()
        self.store = sqlite3.connect(folder / "records.db")

    def ids(self, condition="1", *values):
        """Of verdicts for which the SQL ``condition`` holds, the latest first."""
        query = f"SELECT id FROM verdicts LEFT JOIN evidence USING (id) WHERE {condition}"
        return [row[0] for row in self.store.execute(f"{query} ORDER BY number DESC", values)]

    def mark(self, identity, label, reviewer="Ada", seen=None):
        """What the page answers."""
        body = {"id": identity, "label": label, "reviewer": reviewer, "seen": seen}
        return self.page.post("/api/review/mark", **body)

    def prune(self, identity):
        """As when the records reached their limit."""
        for path in self.folder.glob("camera/*"):
            path.unlink()
        with self.store:
            self.store.execute(
                "UPDATE evidence SET pruned = '2026-11-30T10:00:00.000Z', bytes = 0 WHERE id = ?",
                (identity,),
            )


@pytest.fixture
def recorded(make_page, tmp_path, frames, request):
    found = Recorded(make_page, tmp_path / "records", frames, *getattr(request, "param", ()))
    yield found
    found.store.close()


@pytest.fixture
def pylon(monkeypatch):
    """pypylon's module, with two emulated cameras."""
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    try:
        from pypylon import pylon as module
    except ImportError:
        pytest.skip("pypylon is not installed")
    return module


@pytest.fixture
def opened() -> Iterator[Callable[..., tuple[Any, str]]]:
    """``opened(text, stall_s=…, option=…)``: a Reader that is open; what it says of itself."""
    readers = []

    def make(text: str, stall_s: float = 20.0, **options: object) -> tuple[Any, str]:
        reader = open_reader(parse_source(text), Setup(options=options, stall_s=stall_s))
        readers.append(reader)
        return reader, reader.open()

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture(scope="session")
def images() -> Callable[[Any, int], list[Reading]]:
    """``images(reader, n)``: n readings, each with its image."""

    def read(reader: Any, number: int) -> list[Reading]:
        found = [reader.read(threading.Event()) for _ in range(number)]
        assert all(reading is not None and reading.image is not None for reading in found), found
        return found

    return read


@pytest.fixture(scope="session")
def finish() -> Callable[[Watch], tuple[int, list[dict[str, Any]], str]]:
    """``finish(watch)``: stop one whose lines were read one by one; exit code, lines left, log."""

    def stop(watch: Watch) -> tuple[int, list[dict[str, Any]], str]:
        process = watch.process
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None and process.stderr is not None
        lines = [json.loads(line) for line in process.stdout]
        log = "".join([*watch.log, process.stderr.read()])
        return process.wait(LONGEST_S), lines, log

    return stop
