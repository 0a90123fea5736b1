"""The rows of verdicts: before a line is printed, and while the database takes none."""

from __future__ import annotations

import sqlite3
import time

from recorded import a_line

from edgead.records.reviews import Reviews


def test_a_line_waits_while_another_program_writes_and_is_there_later(
    open_records, results, tmp_path
):
    good, _ = results
    log = []
    records = open_records(log=log)
    with sqlite3.connect(tmp_path / "records" / "records.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for number in range(50):
            records.send(a_line(number, good))
        assert time.monotonic() - began < 5  # of SQLite's usual wait, one would take as long
        while not log:
            time.sleep(0.01)
        other.execute("COMMIT")
    other.close()
    records.close()
    assert "records are not saved: database is locked" in log[0][1]
    reviews = Reviews(tmp_path / "records")
    assert [int(e.id.rpartition("-")[2]) for e in reviews.after(0, 100)] == list(range(50))
    reviews.close()


def test_a_line_with_an_error_is_a_record_without_a_score(open_records, tmp_path):
    records = open_records()
    line = {"id": "left-0-1", "camera": "left", "frame": 1, "captured": "2026-11-30T10:00:00.000Z"}
    records.send({**line, "error": "the frame is broken"})
    records.close()
    reviews = Reviews(tmp_path / "records")
    (entry,) = reviews.history()
    assert (entry.score, entry.is_anomalous, entry.frame) == (None, None, None)
    assert reviews.line("left-0-1")["error"] == "the frame is broken"
    reviews.close()
