"""The schema of records.db, and the steps that bring an older file to it.

docs/records.md describes the tables; ``PRAGMA user_version`` has the number of steps taken.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edgead.errors import DeviceError, InputError
from edgead.records.pruning import transaction

FILE = "records.db"
APPLICATION = 0x65646172  # "edar", which tells it from other SQLite files
STEPS: tuple[str, ...] = (
    """
    CREATE TABLE verdicts (
      number INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      camera TEXT NOT NULL,
      captured TEXT NOT NULL,
      score REAL,
      p_value REAL,
      is_anomalous INTEGER CHECK (is_anomalous IN (0, 1)),
      threshold REAL,
      is_sampled INTEGER NOT NULL CHECK (is_sampled IN (0, 1)),
      line TEXT NOT NULL
    );
    CREATE INDEX verdicts_captured ON verdicts (captured);
    CREATE INDEX verdicts_camera ON verdicts (camera, captured);
    CREATE TABLE evidence (
      id TEXT PRIMARY KEY REFERENCES verdicts (id) ON DELETE CASCADE,
      frame TEXT NOT NULL,
      heatmap TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      pruned TEXT,
      claimed_by TEXT,
      claimed_until TEXT
    );
    CREATE TABLE reviews (
      number INTEGER PRIMARY KEY,
      id TEXT NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE,
      label TEXT NOT NULL CHECK (label IN ('good', 'defective', 'released')),
      reviewer TEXT NOT NULL,
      reviewed TEXT NOT NULL,
      note TEXT NOT NULL
    );
    CREATE INDEX reviews_id ON reviews (id, number);
    """,
    "ALTER TABLE reviews ADD COLUMN withdrawn TEXT;",
)
"""Each leads from the version of its place to the next; one that was released is never changed.

A semicolon ends a statement, and is nowhere else.
"""


def connect(
    path: Path, *, writes: bool, timeout_s: float = 10.0, older: bool = False
) -> sqlite3.Connection:
    """Open records.db.

    Args:
        path: of the file; made when it is not there and ``writes``.
        writes: bring it to the present schema; else it is only read, also while another process
            writes.
        timeout_s: how long to wait for another that writes.
        older: whether an older schema will do, to be read.

    Raises:
        InputError: it is of another program, or of a newer edgead.
        DeviceError: it is damaged, or cannot be written.
    """
    if not writes and not path.is_file():
        raise InputError(f"{path} does not exist: expected the folder of edgead watch --records")
    try:
        store = sqlite3.connect(
            path, timeout=timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(store, path, writes=writes, older=older)
        except BaseException:
            store.close()
            raise
    except sqlite3.Error as error:
        cure = "restore the folder, or move it away and give another one"
        raise DeviceError(f"{path} cannot be used: {error}: {cure}") from error
    return store


def _prepare(store: sqlite3.Connection, path: Path, *, writes: bool, older: bool) -> None:
    store.execute("BEGIN")  # of one moment: another process may make the file now
    application = store.execute("PRAGMA application_id").fetchone()[0]
    version = store.execute("PRAGMA user_version").fetchone()[0]
    empty = store.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
    store.execute("COMMIT")
    if application != APPLICATION and not (writes and empty):
        raise InputError(f"{path} is of another program: give another folder")
    if version > len(STEPS):
        raise InputError(
            f"{path} has schema {version}, made by a newer edgead; this one reads up to "
            f"{len(STEPS)}: update edgead"
        )
    if version < len(STEPS) and not writes and not older:
        raise InputError(
            f"{path} has schema {version}, of an older edgead: start edgead watch on it once, "
            f"which brings it to {len(STEPS)}"
        )
    store.execute("PRAGMA foreign_keys=ON")
    if not writes:
        store.execute("PRAGMA query_only=ON")
        return
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=NORMAL")
    for number in range(version, len(STEPS)):
        with transaction(store):  # a step is taken whole or not at all, and by one process
            if store.execute("PRAGMA user_version").fetchone()[0] == number:
                for statement in STEPS[number].split(";"):
                    store.execute(statement)
                store.execute(f"PRAGMA application_id={APPLICATION}")
                store.execute(f"PRAGMA user_version={number + 1}")
