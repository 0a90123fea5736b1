"""examples/firmware built and run: what it writes, says, and tells systemd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "firmware"
LONGEST_S = 120.0  # nothing here takes a second; a machine may be busy


def make(installed: Path, folder: Path, camera: str, flags: str = "-O1 -Werror") -> Path:
    """The program with one of the cameras, built by its Makefile in ``folder``."""
    for tool in ("make", "cc", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib" / "pkgconfig")}
    words = ["make", "-C", EXAMPLE, f"CAMERA={camera}", f"BUILD={folder}", f"CFLAGS={flags}"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"edgead-camera-{camera}"


class Service:
    """A running edgead-camera; ``settings`` are its variables of the environment.

    Lines come on stdout, or at ``path``, a socket.
    """

    def __init__(
        self, program: Path, bundle: Path, source: object, /, *, fds: tuple[int, ...] = (),
        **settings: object,
    ) -> None:  # fmt: skip
        names = {name: str(value) for name, value in settings.items()}
        self.said: list[str] = []
        self._log = program.with_name(f"{os.getpid()}-{time.monotonic_ns()}.log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, bundle, str(source)], stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, "EDGEAD_THREADS": "1", **names}, pass_fds=fds,
            )  # fmt: skip

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def stderr(self) -> str:
        return self._log.read_text(errors="surrogateescape")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until stderr has it."""
        until(lambda: self.stderr.count(text) >= times, lambda: self.stderr)

    def lines(self) -> list[dict[str, Any]]:
        """All of stdout, once the service has ended by itself."""
        out, _ = self.process.communicate(timeout=LONGEST_S)
        return [json.loads(line) for line in out.splitlines()]

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.send(signal.SIGTERM)
        self.process.communicate(timeout=LONGEST_S)
        return self.process.returncode


def until(condition: Any, what: Any = lambda: "") -> None:
    """Wait for a condition."""
    end_s = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < end_s, what()
        time.sleep(0.005)


class Client:
    """Reads lines from the service's socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONGEST_S)
        until(path.exists)  # somebody listens from then on
        self.socket.connect(str(path))
        self._left = b""

    def raw(self) -> Iterator[bytes]:
        """Whole lines, until the service ends."""
        while True:
            while b"\n" not in self._left:
                more = self.socket.recv(1 << 16)
                if not more:
                    assert not self._left, "half a line"
                    return
                self._left += more
            line, _, self._left = self._left.partition(b"\n")
            yield line

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.raw())

    def take(self, count: int) -> list[dict[str, Any]]:
        found = [line for line, _ in zip(self, range(count), strict=False)]
        assert len(found) == count, "the service has ended"
        return found


class Manager:
    """systemd as the service sees it: a socket that gets datagrams."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(LONGEST_S)
        self.socket.bind(address.replace("@", "\0", 1))

    def next(self) -> dict[str, str]:
        """The next message."""
        text = self.socket.recv(65536).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    def until(self, key: str) -> dict[str, str]:
        """The next message that has the key."""
        while key not in (found := self.next()):
            pass
        return found
