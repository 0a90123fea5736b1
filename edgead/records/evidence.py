"""Evidence: frame, heatmap and line of anomalous frames, in a folder that stays within a bound."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Full, Queue

from edgead.errors import InputError
from edgead.files import hold, in_words, os_sentence, write_file
from edgead.images import encode_jpeg, encode_png
from edgead.records.lines import Line, to_json
from edgead.result import Result

WAITING = 4
"""Verdicts that may wait to be saved; they hold their frames in memory."""
LOOK_S = 0.2
"""How often a full queue is looked at when all is over."""
FRAME, HEATMAP, VERDICT = "_frame.png", "_heatmap.jpg", "_verdict.json"
SUFFIXES = (VERDICT, HEATMAP, FRAME)  # in this order they are removed
NAME = re.compile(r"(\d{8}T\d{9}Z_\d{8,})_(frame\.png|heatmap\.jpg|verdict\.json)$")
LEFT_OVER = re.compile(r"\.\d{8}T\d{9}Z_\d{8,}_\w+\.\w+\.[0-9a-f]{16}\.tmp$")


class Evidence:
    """Saves every anomalous verdict, in a thread of its own.

    Each is three files, whole or not there: ``TIME_FRAME_frame.png`` (lossless), ``…_heatmap.jpg``
    (the overlay), and last ``…_verdict.json`` (the line). Before, the oldest are removed to fit.

    Args:
        folder: where it is saved; made when it is not there.
        limit_mb: most that the folder may hold, in 10^6 bytes; over 0.
        say: called with (word, text) once when saving fails, and once when it works again.

    Raises:
        InputError: a file in the folder's place, another process saves there, a wrong ``limit_mb``.
    """

    def __init__(self, folder: Path, limit_mb: float, say: Callable[[str, str], None]) -> None:
        if not limit_mb > 0:
            raise InputError(f"--evidence-mb {limit_mb}: expected more than 0 MB")
        self.saved = self.skipped = 0
        self.folder = folder
        self._limit = int(1e6 * limit_mb)
        self._say = say
        self._trouble = ""
        self._lock: int | None = None
        self._kept: deque[tuple[str, int]] = deque()  # stem and bytes, the oldest first
        self._bytes, self._ready = 0, False
        self._queue: Queue[tuple[Line, Result] | None] = Queue(WAITING)
        try:
            self._prepare()
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"--evidence {folder}: {os_sentence(error)}") from error
        except OSError as error:
            self._note(f"evidence is not saved: {os_sentence(error)}")
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
        self._thread.start()

    def hear(self, line: Line, result: Result) -> None:
        """Queue an anomalous verdict; when too many wait, it is skipped and counted."""
        if not result.is_anomalous:
            return
        try:
            self._queue.put_nowait((line, result))
        except Full:
            self.skipped += 1

    def close(self) -> None:
        """Save what waits, then release the folder."""
        while self._thread.is_alive():  # a queue that is full and never read would hold us
            with contextlib.suppress(Full):
                self._queue.put(None, timeout=LOOK_S)
                break
        self._thread.join()
        if self._lock is not None:
            os.close(self._lock)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._save(*item)
            except Exception as error:  # also no memory for a picture: the next may be smaller
                self.skipped += 1
                self._ready = False  # look at the folder again: it may be another one
                self._note(f"evidence is not saved: {in_words(error)}")
            finally:
                self._queue.task_done()

    def _prepare(self) -> None:
        """Make the folder, take its lock, count what is there, remove what a killed writer left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":  # it has no such locks
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            self._lock = hold(self.folder)
            if self._lock is None:  # two processes would each count to the bound
                raise InputError(
                    f"--evidence {self.folder}: another edgead watch saves there; choose another "
                    "folder"
                )
        sizes: dict[str, int] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if LEFT_OVER.match(entry.name):
                    os.unlink(entry.path)
                elif match := NAME.match(entry.name):
                    sizes[match[1]] = sizes.get(match[1], 0) + entry.stat().st_size
        self._kept = deque(sorted(sizes.items()))  # a stem begins with its time
        self._bytes = sum(sizes.values())
        self._make_room(0)
        self._ready = True

    def _save(self, line: Line, result: Result) -> None:
        """Write one piece of evidence; all of it or nothing."""
        if not self._ready:
            self._prepare()
        stem = stem_of(line)
        files = files_of(line, result)
        size = sum(map(len, files.values()))
        if size > self._limit:
            raise InputError(f"{stem} takes {size / 1e6:.3g} MB, more than --evidence-mb allows")
        self._make_room(size)
        try:
            for name, data in files.items():
                write_file(self.folder / name, data)
        except BaseException:
            self._remove(stem)
            raise
        self._kept.append((stem, size))
        self._bytes += size
        self.saved += 1
        self._note("")

    def _make_room(self, size: int) -> None:
        """Remove the oldest until ``size`` more bytes fit."""
        while self._kept and self._bytes + size > self._limit:
            self._remove(self._kept[0][0])
            self._bytes -= self._kept.popleft()[1]

    def _remove(self, stem: str) -> None:
        for suffix in SUFFIXES:
            (self.folder / f"{stem}{suffix}").unlink(missing_ok=True)

    def _note(self, trouble: str) -> None:
        """Say that saving fails, and that it works again; not for every frame."""
        if trouble and not self._trouble:
            self._say("failed", f"{trouble}; verdicts go on")
        elif self._trouble and not trouble:
            self._say("fine", f"evidence is saved again in {self.folder}")
        self._trouble = trouble


def files_of(line: Line, result: Result) -> dict[str, bytes]:
    """Name and content of the three files of a verdict, in the order in which they are written."""
    stem = stem_of(line)
    return {
        f"{stem}{FRAME}": encode_png(result.frame, "frame"),
        f"{stem}{HEATMAP}": encode_jpeg(result.overlay()),
        f"{stem}{VERDICT}": to_json(line, indent=2),
    }


def stem_of(line: Line) -> str:
    """``20261122T224501123Z_00000017``: when the frame was captured, and its number."""
    return f"{re.sub('[-:.]', '', line['captured'])}_{line['frame']:08d}"
