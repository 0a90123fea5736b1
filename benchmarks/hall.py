"""An emulated hall for ``line.py`` and ``line_kills.py``: four cameras, a broker, edgead watch.

``aravis`` is Aravis' fake GigE camera on loopback, ``left`` and ``right`` are the cameras that
pylon emulates, ``top`` is a live pipeline of GStreamer. All give 10 frames a second of 256 x 256.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgead.errors import DeviceError
from edgead.images import encode_png
from edgead.live.source import parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.setup import Setup

HZ = 10
SIDE = 256
FAKE = "arv-fake-gv-camera-0.8"
LEARNT = 60
"""Frames of each camera that the bundle is learnt from, EVERY so many one: the pictures repeat."""
EVERY = 4
LONGEST_S = 60.0
_GIGE = {"Width": SIDE, "Height": SIDE, "rate_hz": HZ}
_PYLON = {**_GIGE, "trigger": "software"}  # a free run of the emulator spins: 25 % of a core
_PIPELINE = (
    "gst:videotestsrc is-live=true pattern=ball ! "
    f"video/x-raw,format=GRAY8,width={SIDE},height={SIDE},framerate={HZ}/1"
)
CAMERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "aravis": ("aravis:127.0.0.1", _GIGE),
    "left": ("pylon:0815-0000", _PYLON),
    "right": ("pylon:0815-0001", _PYLON),
    "top": (_PIPELINE, {}),
}


class FakeGige:
    """Aravis' fake camera on loopback, which can be killed and comes back."""

    def __init__(self) -> None:
        program = shutil.which(FAKE)
        if program is None:
            raise DeviceError(f"{FAKE} is not installed: apt-get install aravis-tools")
        self._program = program
        self.start()

    def start(self) -> None:
        """Until it can be found."""
        self._process = subprocess.Popen([self._program, "-i", "127.0.0.1"])
        time.sleep(1)

    def kill(self) -> None:
        """As a camera whose cable is pulled."""
        self._process.kill()
        self._process.wait()


class Broker:
    """Debian's mosquitto on a free port, which can be killed and comes back."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise DeviceError("mosquitto is not installed: apt-get install mosquitto")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            "max_queued_messages 0\n"
        )
        self._command = [program, "-c", str(config)]
        self.start()

    def start(self) -> None:
        """Until it takes connections."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        give_up_s = time.monotonic() + LONGEST_S
        while time.monotonic() < give_up_s:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise DeviceError("mosquitto does not answer")

    def kill(self) -> None:
        """With -9: it saves nothing."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


class Receiver:
    """What a machine of the hall hears: the id of each verdict, as often as it came."""

    def __init__(self, port: int) -> None:
        self.ids: list[str] = []
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id="receiver", clean_session=False
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe("edgead/+/verdict", qos=1)
        client.on_message = lambda _c, _u, m: self.ids.append(json.loads(m.payload)["id"])
        client.connect("127.0.0.1", port)
        client.loop_start()

    def wait_for(self, ids: set[str], seconds: float) -> set[str]:
        """Those of ``ids`` that did not come within ``seconds``."""
        give_up_s = time.monotonic() + seconds
        while (missing := ids.difference(self.ids)) and time.monotonic() < give_up_s:
            time.sleep(0.2)
        return missing

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()


class Watch:
    """A process of edgead watch; its lines are read as they come, what it says goes to a file."""

    def __init__(self, line: Path, log: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self.cut = ""  # what came after the last line break
        words = [sys.executable, "-m", "edgead", "watch", "--config", str(line)]
        environment = {**os.environ, "PYLON_CAMEMU": "2"}
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
            )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # asked for above
        for text in self.process.stdout:
            if text.endswith("\n"):
                self.lines.append(json.loads(text))
            else:
                self.cut = text

    def wait_for_all(self) -> None:
        """Until each camera gave a line."""
        give_up_s = time.monotonic() + LONGEST_S
        while {line["camera"] for line in list(self.lines)} != set(CAMERAS):
            if time.monotonic() > give_up_s or self.process.poll() is not None:
                raise DeviceError("not all cameras give verdicts: see the log")
            time.sleep(0.1)

    def end(self, how: signal.Signals) -> int:
        """Send the signal, read what is left; the exit code."""
        self.process.send_signal(how)
        code = self.process.wait()
        self._thread.join()
        return code


def line_file(folder: Path, bundle: Path, port: int) -> Path:
    """A line.toml with the four cameras, the broker, a file of lines and records."""
    text = f'[defaults]\nbundle = "{bundle}"\nsinks = ["hall", "file"]\n'
    for name, (source, options) in CAMERAS.items():
        given = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
        text += f'[[camera]]\nname = "{name}"\nsource = "{source}"\noptions = {{ {given} }}\n'
    text += f'[sink.hall]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\nspool = "spool"\n'
    text += '[sink.file]\nkind = "jsonl"\npath = "lines.jsonl"\n'
    text += '[records]\nfolder = "records"\n'
    path = folder / "line.toml"
    path.write_text(text)
    return path


def learn_from_cameras(folder: Path, like: Path) -> Path:
    """A bundle learnt from frames of all four cameras, with the network of ``like``."""
    os.environ["PYLON_CAMEMU"] = "2"
    frames, out = folder / "frames", folder / "hall.edgead"
    frames.mkdir()
    threads = [
        threading.Thread(target=_grab, args=[frames, name, *camera])
        for name, camera in CAMERAS.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = ["learn", frames, "--out", out, "--like", like, "--memory", "512"]
    words += ["--calibration", "0.4", "--placement", "loose"]
    run_edgead(words)
    return out


def _grab(frames: Path, name: str, source: str, options: dict[str, Any]) -> None:
    reader = open_reader(parse_source(source), Setup(options=options))
    reader.open()
    for number in range(LEARNT * EVERY):
        reading = reader.read(threading.Event())
        if number % EVERY == 0 and reading is not None and reading.image is not None:
            (frames / f"{name}{number:03d}.png").write_bytes(encode_png(reading.image))
    reader.close()


def run_edgead(words: Sequence[object]) -> None:
    """Run the command; what it says is shown only when it fails."""
    command = [sys.executable, "-m", "edgead", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DeviceError(f"edgead {words[0]} ended with {done.returncode}: {done.stderr}")


def database(path: Path, query: str) -> list[Any]:
    """The first column of what ``query`` finds in a SQLite file."""
    with sqlite3.connect(path) as store:
        found = [row[0] for row in store.execute(query)]
    store.close()
    return found
