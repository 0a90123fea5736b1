"""The records of a line: every verdict in SQLite, frames to be reviewed as files beside it.

``FOLDER/records.db`` has the verdicts, ``FOLDER/CAMERA/`` the files of ``Evidence`` for alarms and
for a random sample of all frames. docs/records.md describes both.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgead.errors import InputError
from edgead.files import hold, in_words, os_sentence, write_file
from edgead.records.evidence import (
    FRAME,
    HEATMAP,
    LEFT_OVER,
    NAME,
    SUFFIXES,
    files_of,
    stem_of,
)
from edgead.records.lines import Line, to_json
from edgead.records.pruning import AgeLimit, prune_by_age, prune_by_size
from edgead.records.rows import Rows
from edgead.records.schema import FILE, connect
from edgead.result import Result

WAITING_FRAMES = 4
"""Frames that may wait to be saved; they take memory."""
SETTLE_S = 5.0
"""How often what was written is brought to the disk's surface."""
LOOK_S = 1.0


@dataclass(frozen=True)
class RecordsSettings:
    """What is kept.

    Args:
        folder: made when it is not there.
        limit_mb: most that database and files may have together, in 10^6 bytes.
        keep_days: how long a verdict is kept.
        sample_every: of so many frames, one at random is saved for review, whatever its verdict.
        part_seconds: frames of a camera that follow each other within so many seconds show one
            part, for learning from them; 0: each shows a part of its own.
    """

    folder: Path
    limit_mb: float = 10_000.0
    keep_days: float = 90.0
    sample_every: int = 500
    part_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.limit_mb >= 1:
            raise InputError(f"limit_mb = {self.limit_mb}: expected 1 MB or more")
        if not 0 < self.keep_days <= 36_500:
            raise InputError(f"keep_days = {self.keep_days}: expected more than 0 days")
        if not self.sample_every >= 1:
            raise InputError(f"sample_every = {self.sample_every}: expected 1 or more frames")


class Records:
    """Saves the verdicts of all cameras.

    A verdict's row is in the database before its line is printed (``send``); the frame of an alarm,
    or of one that chance chose, follows in a thread of its own (``hear``).

    Args:
        settings: what is kept.
        say: called with (word, text) once when saving fails, and once when it works again.
        draw: gives a number from 0 to below 1, for the sample; None: by the system's chance.

    Raises:
        InputError: another process saves there, or the file is of another program.
        DeviceError: the database is damaged.
    """

    def __init__(
        self,
        settings: RecordsSettings,
        say: Callable[[str, str], None],
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self._say, self._lost_frames = say, 0
        self._troubles: dict[str, str] = {}  # what is not saved, and why
        self._draw = random.SystemRandom().random if draw is None else draw
        self._limit = int(1e6 * settings.limit_mb)
        self._queue: deque[tuple[Line, Result, bool]] = deque()
        self._frames = 0  # that wait, or are being saved
        self._news, self._closing = threading.Condition(), False
        self._lock = take_folder(settings.folder)
        try:
            self._store = connect(settings.folder / FILE, writes=True)
            self._rows = Rows(settings.folder / FILE)
            self._age = AgeLimit(self._store, settings.keep_days, self._say)
            self._remove_left_over()
        except BaseException:
            if self._lock is not None:
                os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    @property
    def saved(self) -> int:
        """Verdicts in the database since the start."""
        return self._rows.saved

    @property
    def skipped(self) -> int:
        """Verdicts, or frames of them, that found no room."""
        return self._rows.skipped + self._lost_frames

    def send(self, record: Line) -> None:
        """Save a line with ``id`` and ``camera``; it is there after ``kill -9``.

        While the database takes none, on a full disk, the line waits in memory.
        """
        self._rows.put(record)

    def lost(self, camera: str, why: str | None) -> None:
        """A camera that gives no frames makes no verdict; see ``Receiver``."""

    def hear(self, line: Line, result: Result) -> None:
        """Queue the frame of an alarm, or of one that chance chooses; when too many wait, it is
        skipped and counted."""
        sampled = self._draw() * self.settings.sample_every < 1
        if not (sampled or result.is_anomalous):
            return
        with self._news:
            if self._frames >= WAITING_FRAMES:
                self._lost_frames += 1
                return
            self._frames += 1
            self._queue.append((line, result, sampled))
            self._news.notify()

    def close(self) -> None:
        """Save what waits, then release the folder."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()
        self._rows.close()
        self._store.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        settled_s = time.monotonic()
        while True:
            with self._news:
                if not self._queue and not self._closing:
                    self._news.wait(LOOK_S)
                taken = self._queue.popleft() if self._queue else None
                ends = taken is None and self._closing
            self._keep_rows()
            if taken is not None:
                self._keep_frame(*taken)
            self._prune()
            if ends:
                return
            if time.monotonic() - settled_s >= SETTLE_S:
                settled_s = time.monotonic()
                self._rows.settle()

    def _keep_rows(self) -> None:
        """Write the rows that wait."""
        self._rows.retry()
        trouble = self._rows.trouble
        self._note("records", trouble and f"{trouble}; they wait in memory")

    def _keep_frame(self, line: Line, result: Result, sampled: bool) -> None:
        """Save a frame, or count that it was not."""
        try:
            self._save(line, result, sampled)
            self._note("frames", "")
        except Exception as error:  # also no memory for a picture
            self._lost_frames += 1
            self._note("frames", in_words(error))
        finally:
            with self._news:
                self._frames -= 1

    def _save(self, line: Line, result: Result, sampled: bool) -> None:
        """Write the files of a frame, then what names them; all of it or nothing."""
        identity, frame, *rest = self._write_files(line, result)
        try:
            with self._rows.written(self._store):  # its own row may be one that waits
                self._store.execute(
                    "INSERT INTO evidence (id, frame, heatmap, bytes) VALUES (?, ?, ?, ?)",
                    (identity, frame, *rest),
                )
                self._store.execute(
                    "UPDATE verdicts SET is_sampled = ?, line = ? WHERE id = ?",
                    (sampled, to_json(line).decode(), identity),
                )
        except BaseException:
            self._remove(frame.removesuffix(FRAME))
            raise

    def _write_files(self, line: Line, result: Result) -> tuple[str, str, str, int]:
        """(id, frame, heatmap, bytes) of what was written; all of it or nothing."""
        files = files_of(line, result)
        size, stem = sum(map(len, files.values())), f"{line['camera']}/{stem_of(line)}"
        if not prune_by_size(self._store, self._limit - size, self._remove):
            raise InputError(
                f"frames under review take up the {self.settings.limit_mb:g} MB: release them once "
                "they were learnt from, or raise limit_mb"
            )
        folder = self.settings.folder / line["camera"]
        folder.mkdir(exist_ok=True)
        if (folder / f"{stem_of(line)}{FRAME}").exists():  # a clock was set back
            raise InputError(f"{stem}{FRAME} is there already")
        try:
            for name, data in files.items():
                write_file(folder / name, data)
        except BaseException:
            self._remove(stem)
            raise
        return line["id"], f"{stem}{FRAME}", f"{stem}{HEATMAP}", size

    def _prune(self) -> None:
        try:
            prune_by_age(self._store, self._age, self._remove)
            prune_by_size(self._store, self._limit, self._remove)
            self._note("old records", "")
        except Exception as error:
            self._note("old records", in_words(error))

    def _remove(self, stem: str) -> None:
        for suffix in SUFFIXES:
            (self.settings.folder / f"{stem}{suffix}").unlink(missing_ok=True)

    def _remove_left_over(self) -> None:
        """Remove files that a killed process wrote or was removing: no row names them.

        Only in folders of cameras: others, as of evidence, or lost+found, are not of the records.
        """
        known = {
            frame.removesuffix(FRAME)
            for (frame,) in self._store.execute("SELECT frame FROM evidence WHERE pruned IS NULL")
        }
        of_camera = "SELECT 1 FROM verdicts WHERE camera = ? LIMIT 1"
        for folder in [path for path in self.settings.folder.iterdir() if path.is_dir()]:
            name = folder.name
            if not name.isascii() or not self._store.execute(of_camera, (name,)).fetchone():
                continue
            for path in folder.iterdir():
                match = NAME.match(path.name)
                ours = match is not None and f"{folder.name}/{match[1]}" not in known
                if ours or LEFT_OVER.match(path.name):
                    path.unlink()

    def _note(self, what: str, trouble: str) -> None:
        """Say that saving fails, and that it works again; not for every verdict."""
        word = "removed" if what == "old records" else "saved"
        before = self._troubles.get(what, "")
        if trouble and not before:
            self._say("failed", f"{what} are not {word}: {trouble}; verdicts go on")
        elif before and not trouble:
            self._say("fine", f"{what} are {word} again in {self.settings.folder}")
        self._troubles[what] = trouble


def has_frames_of(records: Path, cameras: Iterable[str], folder: str | Path) -> bool:
    """Whether ``folder`` is the one in which records keep the frames of one of the cameras."""
    return Path(folder).resolve() in {records.resolve() / name for name in cameras}


def take_folder(folder: Path) -> int | None:
    """Make the folder and take its lock; what to close to release it, None where there are none.

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = None if sys.platform == "win32" else hold(folder)
    except OSError as error:
        raise InputError(f"records in {folder}: {os_sentence(error)}") from error
    if held is None and sys.platform != "win32":
        raise InputError(f"records in {folder}: another edgead saves there; choose another folder")
    return held
