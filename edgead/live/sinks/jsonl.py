"""JSON lines: each record as a line at the end of a file, in one write."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead.errors import DeviceError, InputError
from edgead.files import lock, os_sentence
from edgead.live.sinks.interface import SinkState
from edgead.live.sinks.table import Table
from edgead.records.lines import Line, to_json

MOST_LINE = 2**20  # bytes


class JSONLinesSink:
    """Appends to a file; a line that finds no room is counted, and never there in part.

    Args:
        name: of the sink.
        path: of the file; made when it is not there.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._guard = threading.Lock()
        self._file = -1
        self._delivered = self._dropped = 0
        self._why: str | None = "not open yet"

    @classmethod
    def from_settings(
        cls, name: str, settings: Mapping[str, Any], folder: Path = Path()
    ) -> JSONLinesSink:
        """See ``Sink``."""
        table = Table(f"sink.{name}", settings, folder)
        made = cls(name, table.path("path"))
        table.end()
        return made

    def check(self) -> str | None:
        """Whether the file, or its folder, may be written; see ``Sink``."""
        there = self._path if self._path.exists() else self._path.parent
        if not there.exists():
            return f"path: the folder {there} does not exist: make it"
        return None if os.access(there, os.W_OK) else f"path: no permission for {there}"

    def open(self) -> None:
        """Open the file; a line that a power cut broke off is removed. See ``Sink``."""
        where = f"[sink.{self._name}] path"
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            self._file = os.open(self._path, flags, 0o666)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise InputError(f"{where}: {self._path} is not a file")
            if sys.platform != "win32" and not lock(self._file):
                raise InputError(f"{where}: another edgead writes to {self._path}: choose another")
            self._cut()
        except OSError as error:
            self.close()
            raise DeviceError(f"{where}: {os_sentence(error)}") from error
        except InputError:
            self.close()
            raise
        self._why = None

    def send(self, record: Line) -> None:
        """Append a record; see ``Sink``."""
        data = to_json(record) + b"\n"
        with self._guard:
            if self._file < 0:
                return
            size = 0
            try:
                size = os.fstat(self._file).st_size
                if os.write(self._file, data) < len(data):
                    raise OSError(28, "no space left on the disk")
                self._delivered += 1
                self._why = None
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, size)
                self._dropped += 1
                self._why = os_sentence(OSError(error.errno, error.strerror, str(self._path)))

    def report(self, camera: str, health: Sequence[str]) -> None:
        """The health of a camera is in its records; see ``Sink``."""

    def state(self) -> SinkState:
        """How it fares; see ``Sink``."""
        return SinkState(self._why is None, self._why, 0, self._dropped, self._delivered)

    def close(self) -> None:
        """Close the file; see ``Sink``."""
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _cut(self) -> None:
        """Remove a line that was not finished; raises InputError where it is none of edgead's."""
        size = os.fstat(self._file).st_size
        start = max(0, size - MOST_LINE)
        os.lseek(self._file, start, os.SEEK_SET)
        tail = os.read(self._file, size - start).rpartition(b"\n")[2]
        if tail and not tail.startswith(b'{"id": "'[: len(tail)]):
            raise InputError(
                f"[sink.{self._name}] path: {self._path} does not end with a line of JSON: choose "
                "another file"
            )
        os.ftruncate(self._file, size - len(tail))
