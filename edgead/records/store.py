"""The records of a line: every verdict in SQLite, frames to be reviewed as files beside it.

``FOLDER/records.db`` has the verdicts, ``FOLDER/CAMERA/`` the files of ``Evidence`` for alarms and
for a random sample of all frames. docs/records.md describes both.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections import deque
from collections.abc import Callable
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
from edgead.records.pruning import AgeLimit, prune_by_age, prune_by_size, transaction
from edgead.records.schema import FILE, connect
from edgead.result import Result

WAITING_FRAMES, WAITING_LINES = 4, 10_000
"""Verdicts that may wait to be saved: with frames, which take memory, and without."""
AT_ONCE = 200
"""Verdicts in one transaction."""
LOOK_S = 1.0
_WITHOUT_FRAME = ("regions", "digests")
"""Keys of a line that are of no use without its frame, and take most of its bytes."""


@dataclass(frozen=True)
class RecordsSettings:
    """What is kept.

    Args:
        folder: made when it is not there.
        limit_mb: most that database and files may have together, in 10^6 bytes.
        keep_days: how long a verdict is kept.
        sample_every: of so many frames, one at random is saved for review, whatever its verdict.
    """

    folder: Path
    limit_mb: float = 10_000.0
    keep_days: float = 90.0
    sample_every: int = 500

    def __post_init__(self) -> None:
        if not self.limit_mb >= 1:
            raise InputError(f"limit_mb = {self.limit_mb}: expected 1 MB or more")
        if not 0 < self.keep_days <= 36_500:
            raise InputError(f"keep_days = {self.keep_days}: expected more than 0 days")
        if not self.sample_every >= 1:
            raise InputError(f"sample_every = {self.sample_every}: expected 1 or more frames")


class Records:
    """Saves the verdicts of all cameras, in a thread of its own; verdicts never wait for it.

    ``saved``: verdicts in the database since the start; ``skipped``: verdicts, or frames of them,
    that found no room.

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
        self.settings, self.saved, self.skipped = settings, 0, 0
        self._say, self._trouble = say, ""
        self._draw = random.SystemRandom().random if draw is None else draw
        self._limit = int(1e6 * settings.limit_mb)
        self._queue: deque[tuple[Line, Result | None, bool]] = deque()
        self._frames = 0  # of the queue
        self._news, self._closing = threading.Condition(), False
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
            self._lock = None if sys.platform == "win32" else hold(settings.folder)
        except OSError as error:
            raise InputError(f"records in {settings.folder}: {os_sentence(error)}") from error
        if self._lock is None and sys.platform != "win32":
            raise InputError(
                f"records in {settings.folder}: another edgead saves there; choose another folder"
            )
        try:
            self._store = connect(settings.folder / FILE, writes=True)
            self._age = AgeLimit(self._store, settings.keep_days, self._say)
            self._remove_left_over()
        except BaseException:
            if self._lock is not None:
                os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def hear(self, line: Line, result: Result | None) -> None:
        """Queue a record (a line with ``id`` and ``camera``), for which None is no ``result``."""
        sampled = result is not None and self._draw() * self.settings.sample_every < 1
        with self._news:
            if len(self._queue) >= WAITING_LINES:
                self.skipped += 1
                return
            if result is None or not (sampled or result.is_anomalous):
                result = None
            elif self._frames >= WAITING_FRAMES:
                self.skipped += 1
                result, sampled = None, False
            self._frames += result is not None
            self._queue.append((line, result, sampled))
            self._news.notify()

    def close(self) -> None:
        """Save what waits, then release the folder."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()
        self._store.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        while True:
            with self._news:
                if not self._queue and not self._closing:
                    self._news.wait(LOOK_S)
                taken = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
                if not taken and self._closing:
                    return
            try:
                self._save(taken)
                self._prune()
            except Exception as error:
                self._note(f"records are not saved: {in_words(error)}")
            finally:
                with self._news:
                    self._frames -= sum(result is not None for _, result, _ in taken)

    def _save(self, taken: list[tuple[Line, Result | None, bool]]) -> None:
        """Write the files, then the rows, in one transaction."""
        rows, pieces = [], []
        trouble = ""
        for line, result, sampled in taken:
            kept = line
            piece = None
            if result is not None:
                try:
                    piece = self._write_files(line, result)
                except Exception as error:  # also no memory for a picture
                    trouble = f"frames are not saved: {in_words(error)}"
                    self.skipped += 1
            if piece is None:
                kept = {key: line[key] for key in line if key not in _WITHOUT_FRAME}
            else:
                pieces.append(piece)
            rows.append(_row(line, kept, sampled and piece is not None))
        if rows:
            try:
                self._insert(rows, pieces)
            except BaseException:
                self.skipped += len(rows)
                for _, frame, _, _ in pieces:
                    self._remove(frame.removesuffix(FRAME))
                raise
            self.saved += len(rows)
            self._note(trouble)

    def _insert(
        self, rows: list[tuple[object, ...]], pieces: list[tuple[str, str, str, int]]
    ) -> None:
        with transaction(self._store):
            self._store.executemany(
                "INSERT INTO verdicts (id, camera, captured, score, p_value, is_anomalous, "
                "threshold, is_sampled, line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._store.executemany(
                "INSERT INTO evidence (id, frame, heatmap, bytes) VALUES (?, ?, ?, ?)", pieces
            )

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
        prune_by_age(self._store, self._age, self._remove)
        prune_by_size(self._store, self._limit, self._remove)

    def _remove(self, stem: str) -> None:
        for suffix in SUFFIXES:
            (self.settings.folder / f"{stem}{suffix}").unlink(missing_ok=True)

    def _remove_left_over(self) -> None:
        """Remove files that a killed process wrote or was removing: no row names them."""
        known = {
            frame.removesuffix(FRAME)
            for (frame,) in self._store.execute("SELECT frame FROM evidence WHERE pruned IS NULL")
        }
        for folder in [path for path in self.settings.folder.iterdir() if path.is_dir()]:
            for path in folder.iterdir():
                match = NAME.match(path.name)
                ours = match is not None and f"{folder.name}/{match[1]}" not in known
                if ours or LEFT_OVER.match(path.name):
                    path.unlink()

    def _note(self, trouble: str) -> None:
        """Say that saving fails, and that it works again; not for every verdict."""
        if trouble and not self._trouble:
            self._say("failed", f"{trouble}; verdicts go on")
        elif self._trouble and not trouble:
            self._say("fine", f"records are saved again in {self.settings.folder}")
        self._trouble = trouble


def _row(line: Line, kept: Line, sampled: bool) -> tuple[object, ...]:
    values = [line.get(key) for key in ("score", "p_value", "is_anomalous", "threshold")]
    return (line["id"], line["camera"], line["captured"], *values, sampled, to_json(kept).decode())
