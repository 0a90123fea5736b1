"""The rows of verdicts: each is in the database before its line is printed.

A row is the system's when ``put`` returns: it is there after ``kill -9``. ``settle`` brings rows to
the disk's surface now and then, so a power cut may take the latest, and never what came before or
the file itself (SQLite, write-ahead log, ``synchronous=NORMAL``).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgead.records.lines import Line, to_json
from edgead.records.pruning import transaction
from edgead.records.schema import connect

WAITING_LINES = 10_000
"""Verdicts that may wait in memory while the database takes none."""
WAIT_S = 0.05
"""How long a verdict may wait for another program that writes, before it is kept in memory."""
CLOSE_S = 2.0
"""How long the last ones may wait for it at the end, when nothing waits for them any more."""
WITHOUT_FRAME = ("regions", "digests")
"""Keys of a line that are of no use without its frame, and take most of its bytes."""
_COLUMNS = ("score", "p_value", "is_anomalous", "threshold")


class Rows:
    """Writes lines to the table ``verdicts``; what the database does not take waits in memory.

    ``saved``: rows in the database since the start; ``skipped``: lines that found no room;
    ``trouble``: why the database takes none, or "".

    Args:
        path: of the database, which has its schema.

    Raises:
        DeviceError: it is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.saved, self.skipped, self.trouble = 0, 0, ""
        self._guard = threading.Lock()
        self._late: deque[Line] = deque()
        self._store = connect(path, writes=True, timeout_s=WAIT_S)
        self._settling = connect(path, writes=True, timeout_s=WAIT_S)
        self._unsettled = False

    def put(self, line: Line) -> None:
        """Add a line, after those that wait."""
        with self._guard:
            if not self._late:
                try:
                    self._insert([line])
                    return
                except sqlite3.Error as error:
                    self.trouble = str(error)
            if len(self._late) < WAITING_LINES:
                self._late.append(line)
            else:
                self.skipped += 1

    def retry(self) -> None:
        """Write the lines that wait, the first first."""
        with self._guard:
            if not self._late:
                self.trouble = ""
                return
            try:
                self._insert(list(self._late))
            except sqlite3.Error as error:
                self.trouble = str(error)
            else:
                self._late.clear()
                self.trouble = ""

    @contextmanager
    def written(self, store: sqlite3.Connection) -> Iterator[None]:
        """A transaction of ``store`` in which the lines that wait are rows, so that it may refer
        to them; only where no other thread calls ``retry``."""
        with transaction(store):
            with self._guard:
                late = list(self._late)
            _insert(store, late)
            yield
        with self._guard:  # those that came meanwhile wait behind them
            for _ in late:
                self._late.popleft()
            self.saved += len(late)
        self._unsettled = True

    def settle(self) -> None:
        """Bring what was written to the disk's surface; takes as long as the disk takes."""
        if self._unsettled:
            self._unsettled = False
            with contextlib.suppress(sqlite3.Error):
                self._settling.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Write what waits, settle, and let go of the file; what cannot be written is skipped."""
        self._store.execute(f"PRAGMA busy_timeout={round(1e3 * CLOSE_S)}")
        self.retry()
        self.settle()
        with self._guard:
            self.skipped += len(self._late)
            self._late.clear()
            self._settling.close()
            self._store.close()

    def _insert(self, lines: Sequence[Line]) -> None:
        with transaction(self._store):
            _insert(self._store, lines)
        self.saved += len(lines)
        self._unsettled = True


def _insert(store: sqlite3.Connection, lines: Sequence[Line]) -> None:
    store.executemany(
        "INSERT INTO verdicts (id, camera, captured, score, p_value, is_anomalous, "
        "threshold, is_sampled, line) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?) "
        "ON CONFLICT (id) DO NOTHING",
        [_row(line) for line in lines],
    )


def _row(line: Line) -> tuple[object, ...]:
    kept = line
    if not line.get("is_anomalous"):  # if chance chooses its frame, the whole line comes with it
        kept = {key: line[key] for key in line if key not in WITHOUT_FRAME}
    values = [line.get(key) for key in _COLUMNS]
    return (line["id"], line["camera"], line["captured"], *values, to_json(kept).decode())
