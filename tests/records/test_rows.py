"""The rows of verdicts: before a line is printed, and while the database takes none."""

from __future__ import annotations

import sqlite3
import threading
import time

from recorded import a_line, files

from edgead.records import rows
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


def test_the_frame_of_a_line_that_waits_is_kept(open_records, results, tmp_path):
    good, alarm = results
    log = []
    records = open_records(log=log)
    with sqlite3.connect(tmp_path / "records" / "records.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        records.send(a_line(0, good))
        records.send(a_line(1, alarm))
        records.hear(a_line(1, alarm), alarm)
        while len(files(tmp_path / "records")) < 3:  # written, and now it waits for the database
            time.sleep(0.01)
        records.send(a_line(2, good))
        other.execute("COMMIT")
    other.close()
    while records._frames:
        time.sleep(0.01)
    assert records.skipped == 0 and not any("frames" in said[1] for said in log), log
    records.close()
    assert records.saved == 3
    reviews = Reviews(tmp_path / "records")
    entries = reviews.after(0, 100)
    assert [int(e.id.rpartition("-")[2]) for e in entries] == [0, 1, 2]
    assert [e.frame is not None and e.frame.is_file() for e in entries] == [False, True, False]
    reviews.close()


def test_lines_that_wait_at_the_end_are_not_given_up_at_once(
    open_records, results, tmp_path, monkeypatch
):
    monkeypatch.setattr(rows, "CLOSE_S", 60.0)
    records = open_records()
    path = tmp_path / "records" / "records.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    records.send(a_line(0, results[0]))
    close = records._rows.close

    def ending():
        threading.Timer(0.3, other.execute, ["COMMIT"]).start()
        close()

    monkeypatch.setattr(records._rows, "close", ending)
    records.close()
    other.close()
    assert (records.saved, records.skipped) == (1, 0)


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
