"""The spool: records that wait to be delivered, on disk, within a bound, first in first out.

A record is the system's when ``put`` returns: it is there after ``kill -9``. It is not flushed for
each record, which would stop the line on a slow disk; ``settle`` does that now and then, so a power
cut may take the latest records, and never what came before or the file itself (SQLite, write-ahead
log, ``synchronous=NORMAL``). The first ``put`` after a ``settle`` flushes the log's first sector.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from edgead.errors import DeviceError, InputError
from edgead.files import hold, os_sentence

FILE = "spool.db"
MOST_IN_MEMORY = 1000
"""Records that wait in memory while the disk takes none."""
_SCHEMA = """CREATE TABLE IF NOT EXISTS records (
  number INTEGER PRIMARY KEY, camera TEXT NOT NULL, record BLOB NOT NULL)"""
_APPLICATION = 0x65646164  # "edad", which tells it from other SQLite files
_VERSION = 1


class Item(NamedTuple):
    """A record with the number of its place in the queue."""

    number: int
    camera: str
    record: bytes


class Spool:
    """The queue in ``folder``, which one process at a time may have.

    ``dropped``: records given up since the start; ``trouble``: what is wrong with the disk, or "".

    Args:
        folder: made when it is not there.
        limit_mb: most that the waiting records may have, in 10^6 bytes; the file itself keeps up to
            1.5 times that. The oldest are dropped for new ones.
        name: of the sink, for messages.

    Raises:
        InputError: another process has the folder, or another program's file is in the way.
        DeviceError: the folder cannot be written, or its file is damaged.
    """

    def __init__(self, folder: Path, limit_mb: float, name: str) -> None:
        self._limit = int(1e6 * limit_mb)
        self._guard = threading.Lock()
        self._memory: deque[Item] = deque()  # what the disk did not take yet
        self._delivered: set[int] = set()  # done, and not yet gone from the disk
        self._handed_out = 0  # the last number that ``take`` gave
        self.dropped, self.trouble = 0, ""
        where = f"[sink.{name}] spool = {str(folder)!r}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = None if sys.platform == "win32" else hold(folder)
        except OSError as error:
            raise DeviceError(f"{where}: {os_sentence(error)}") from error
        if self._lock is None and sys.platform != "win32":
            raise InputError(f"{where}: another edgead has it: give each process its own folder")
        try:
            self._store, self._settling = _open(folder / FILE), _connect(folder / FILE)
            count = "SELECT COUNT(*), COALESCE(SUM(LENGTH(record)), 0), COALESCE(MAX(number), 0)"
            found = self._store.execute(f"{count} FROM records").fetchone()
        except (sqlite3.Error, InputError) as error:
            if self._lock is not None:
                os.close(self._lock)
            kind = InputError if isinstance(error, InputError) else DeviceError
            cure = "move the folder away, or give another one"
            raise kind(f"{where}: {error}: {cure}") from error
        self._on_disk, self._bytes, self._last = found

    @property
    def queued(self) -> int:
        """Records that are not done."""
        with self._guard:
            return int(self._on_disk) + len(self._memory)

    def put(self, camera: str, record: bytes) -> None:
        """Append a record; it is there after ``kill -9``."""
        with self._guard:
            self._last += 1
            self._memory.append(Item(self._last, camera, record))
            self._to_disk()
            while len(self._memory) > MOST_IN_MEMORY:
                self._memory.popleft()
                self.dropped += 1

    def take(self, most: int) -> list[Item]:
        """The next up to ``most`` records that were not handed out yet, the oldest first."""
        with self._guard:
            found: list[Item] = []
            try:
                while len(found) < most and (rows := self._next(most - len(found))):
                    self._handed_out = rows[-1].number
                    found += [item for item in rows if item.number not in self._delivered]
            except sqlite3.Error:  # what cannot be read now is not lost, and not overtaken either
                return found
            later = [item for item in self._memory if item.number > self._handed_out]
            if later and len(found) < most:
                found += later[: most - len(found)]
                self._handed_out = found[-1].number
            return found

    def _next(self, most: int) -> list[Item]:
        rows = self._store.execute(
            "SELECT number, camera, record FROM records WHERE number > ? ORDER BY number LIMIT ?",
            (self._handed_out, most),
        )
        return [Item(*row) for row in rows]

    def done(self, numbers: Collection[int]) -> None:
        """The records with these numbers were delivered: they need not be kept."""
        with self._guard:
            held = {item.number for item in self._memory}
            self._memory = deque(item for item in self._memory if item.number not in numbers)
            self._delivered.update(number for number in numbers if number not in held)
            if self._delivered:
                self._to_disk()

    def rewind(self) -> None:
        """Hand out once more all that is not done, from the oldest on."""
        with self._guard:
            self._handed_out = 0

    def settle(self) -> None:
        """Bring what was written to the disk's surface; takes as long as the disk takes."""
        with contextlib.suppress(sqlite3.Error):
            self._settling.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Settle and let go of the folder; what is not done stays for the next process."""
        self.settle()
        with self._guard:
            self._settling.close()
            self._store.close()
            if self._lock is not None:
                os.close(self._lock)

    def _to_disk(self) -> None:
        """Write what is in memory, remove what is done, keep within the bound; all or nothing."""
        store, size = self._store, sum(len(item.record) for item in self._memory)
        try:
            store.execute("BEGIN IMMEDIATE")
            done = [(number,) for number in self._delivered]
            lengths = [
                store.execute("SELECT LENGTH(record) FROM records WHERE number = ?", number)
                for number in done
            ]
            gone = [row[0] for length in lengths for row in length]
            store.executemany("DELETE FROM records WHERE number = ?", done)
            old = self._oldest(self._bytes - sum(gone) + size - self._limit)
            store.executemany("DELETE FROM records WHERE number = ?", [(n,) for n, _ in old])
            store.executemany("INSERT INTO records VALUES (?, ?, ?)", self._memory)
            store.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                store.execute("ROLLBACK")
            self.trouble = f"the spool cannot be written: {error}"
            return
        self.trouble = ""
        self._bytes += size - sum(gone) - sum(length for _, length in old)
        self._on_disk += len(self._memory) - len(gone) - len(old)
        self.dropped += len(old)
        self._delivered.clear()
        self._memory.clear()

    def _oldest(self, excess: int) -> list[tuple[int, int]]:
        """Number and bytes of the oldest records that hold ``excess`` bytes and are not on their
        way."""
        found: list[tuple[int, int]] = []
        if excess > 0:
            for number, length in self._store.execute(
                "SELECT number, LENGTH(record) FROM records WHERE number > ? ORDER BY number",
                (self._handed_out,),
            ):
                if excess <= 0:
                    break
                if number not in self._delivered:
                    found.append((number, length))
                    excess -= length
        return found


def _connect(path: Path) -> sqlite3.Connection:
    # No time to wait for a lock: the folder's lock keeps other processes away.
    store = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
    store.execute("PRAGMA synchronous=NORMAL")
    store.execute("PRAGMA wal_autocheckpoint=0")  # it would flush within ``put``
    return store


def _open(path: Path) -> sqlite3.Connection:
    """The file with its table, made where it is not there."""
    store = _connect(path)
    try:
        application = store.execute("PRAGMA application_id").fetchone()[0]
        version = store.execute("PRAGMA user_version").fetchone()[0]
        if application not in (0, _APPLICATION) or version > _VERSION:
            raise InputError(f"{path.name} is of another program, or of a newer edgead")
        store.execute("PRAGMA journal_mode=WAL")
        store.execute(_SCHEMA)
        store.execute(f"PRAGMA application_id={_APPLICATION}")
        store.execute(f"PRAGMA user_version={_VERSION}")
        if (said := store.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"{path.name} is damaged ({said})")
    except BaseException:
        store.close()
        raise
    return store
