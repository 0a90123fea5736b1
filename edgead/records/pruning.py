"""What is removed from the records, and what is not: frames under review stay.

Under review is a frame that was marked good or defective, until it is released, and one that a
person has claimed, until the claim lapses.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from edgead.records.evidence import FRAME

AT_ONCE = 200
"""Verdicts or frames that are removed in one transaction."""
JUMP_S = 3600.0
"""What a clock may be corrected by while the process runs; more is a jump."""
ROWS_SHARE = 4
"""The database may take a quarter of all bytes; the rest is for frames."""
UNDER_REVIEW = """(
  COALESCE((SELECT label FROM reviews WHERE reviews.id = verdicts.id AND withdrawn IS NULL
            ORDER BY reviews.number DESC LIMIT 1), '') IN ('good', 'defective')
  OR EXISTS (SELECT 1 FROM evidence WHERE evidence.id = verdicts.id
             AND evidence.claimed_until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"""
"""True of a row of ``verdicts`` that is never removed."""
Remove = Callable[[str], None]
"""Removes the files of a stem."""


class AgeLimit:
    """Until when verdicts are too old; a clock that was set to anything removes nothing.

    Args:
        store: the database, as it was found.
        keep_days: how long a verdict is kept.
        say: told when nothing is removed by age, and why.
    """

    def __init__(
        self, store: sqlite3.Connection, keep_days: float, say: Callable[[str, str], None]
    ) -> None:
        self._keep, self._say = timedelta(days=keep_days), say
        self._offset_s = _offset_s()
        newest = store.execute("SELECT MAX(captured) FROM verdicts").fetchone()[0]
        self._rests = newest is not None and newest < self._limit()
        if self._rests:
            text = f"all records are older than {keep_days:g} days by this machine's clock"
            say("note", f"{text}: none is removed for its age until the next start")

    def before(self) -> str | None:
        """Verdicts captured before this are too old; None while no age is believed."""
        jumped_s = _offset_s() - self._offset_s
        if not self._rests and abs(jumped_s) > JUMP_S:
            self._rests = True
            text = f"the clock jumped by {jumped_s:.0f} s: no record is removed for its age until"
            self._say("note", f"{text} the next start")
        return None if self._rests else self._limit()

    def _limit(self) -> str:
        try:
            return iso(datetime.fromtimestamp(time.time(), timezone.utc) - self._keep)
        except (OverflowError, ValueError, OSError):
            return ""


def prune_by_age(store: sqlite3.Connection, age: AgeLimit, remove: Remove) -> None:
    """Remove the verdicts that are too old and not under review, with their frames."""
    if (before := age.before()) is not None:
        while _remove_verdicts(store, remove, before):
            pass


def prune_by_size(store: sqlite3.Connection, limit: int, remove: Remove) -> bool:
    """Remove the oldest frames that are not under review until all fits into ``limit`` bytes.

    Where the database itself takes more than its share, the oldest verdicts go first.

    Returns:
        Whether it fits; False when what is under review alone is more.
    """
    while _database_bytes(store) > limit // ROWS_SHARE and _remove_verdicts(store, remove):
        pass
    while (excess := used_bytes(store) - limit) > 0:
        if not _remove_frames(store, remove, excess):
            return False
    return True


def used_bytes(store: sqlite3.Connection) -> int:
    """Of the files, and of the pages of the database that hold something."""
    files = store.execute("SELECT COALESCE(SUM(bytes), 0) FROM evidence").fetchone()[0]
    return int(files) + _database_bytes(store)


def _database_bytes(store: sqlite3.Connection) -> int:
    pages, free, size = (
        store.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _remove_verdicts(store: sqlite3.Connection, remove: Remove, before: str = "~") -> int:
    """Remove up to AT_ONCE of the oldest verdicts captured before ``before``; how many."""
    with transaction(store):
        rows = store.execute(
            "SELECT number, frame FROM verdicts LEFT JOIN evidence USING (id) "
            f"WHERE captured < ? AND NOT {UNDER_REVIEW} ORDER BY number LIMIT {AT_ONCE}",
            (before,),
        ).fetchall()
        store.executemany("DELETE FROM verdicts WHERE number = ?", [(row[0],) for row in rows])
    _remove_files(rows, remove)
    return len(rows)


def _remove_frames(store: sqlite3.Connection, remove: Remove, excess: int) -> int:
    """Remove the oldest frames that have ``excess`` bytes, up to AT_ONCE; how many."""
    with transaction(store):
        rows = store.execute(
            "SELECT id, frame, bytes FROM verdicts JOIN evidence USING (id) "
            f"WHERE pruned IS NULL AND NOT {UNDER_REVIEW} ORDER BY number LIMIT {AT_ONCE}"
        ).fetchall()
        chosen = []
        for row in rows:
            chosen.append(row)
            if (excess := excess - row[2]) <= 0:
                break
        now = iso(datetime.now(timezone.utc))
        store.executemany(
            "UPDATE evidence SET pruned = ?, bytes = 0 WHERE id = ?",
            [(now, row[0]) for row in chosen],
        )
    _remove_files(chosen, remove)
    return len(chosen)


def _remove_files(rows: list[tuple[Any, ...]], remove: Remove) -> None:
    for _, frame, *_ in rows:
        if frame is not None:
            remove(frame.removesuffix(FRAME))


@contextmanager
def transaction(store: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; no other process reviews meanwhile."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
        store.execute("COMMIT")
    except BaseException:
        if store.in_transaction:
            store.execute("ROLLBACK")
        raise


def iso(moment: datetime) -> str:
    """``2026-11-22T22:36:52.227Z``, as in every line."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _offset_s() -> float:
    return time.time() - time.monotonic()
