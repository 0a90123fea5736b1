"""Records: what is kept, what is removed, what is reviewed, and who may."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from recorded import a_line, files, hear

from edgead.errors import DeviceError, InputError
from edgead.images import read_image
from edgead.records import pruning, schema
from edgead.records import store as module
from edgead.records.pruning import used_bytes
from edgead.records.readiness import why_not
from edgead.records.reviews import ReviewError, Reviews
from edgead.records.store import RecordsSettings


def test_every_verdict_is_a_row_and_alarms_have_their_files(open_records, results, tmp_path):
    good, alarm = results
    records = open_records()
    lines = [a_line(n, alarm if n == 2 else good) for n in range(4)]
    hear(records, *((line, alarm if line["frame"] == 2 else good) for line in lines))
    records.close()
    reviews = Reviews(tmp_path / "records")
    found = reviews.history()
    assert [entry.id for entry in found] == [line["id"] for line in lines[::-1]]
    for entry, line in zip(found[::-1], lines, strict=True):
        for key in ("camera", "captured", "score", "p_value", "is_anomalous", "threshold"):
            assert getattr(entry, key) == line[key]
    assert [entry.frame is not None for entry in found[::-1]] == [False, False, True, False]
    assert np.array_equal(read_image(found[1].frame), alarm.frame)
    assert found[1].heatmap.is_file()
    assert reviews.line(lines[2]["id"]) == lines[2]
    assert "regions" not in reviews.line(lines[0]["id"])
    reviews.close()


def test_the_sample_is_of_all_frames_and_waits_beside_the_alarms(open_records, results, tmp_path):
    good, alarm = results
    draws = iter([0.9, 0.01, 0.9, 0.01, 0.9, 0.9])
    records = open_records(draw=lambda: next(draws), sample_every=10)
    hear(records, *((a_line(n, r), r) for n, r in enumerate([good, good, alarm, alarm, good])))
    reviews = Reviews(tmp_path / "records")
    waiting = {e.id[-1]: (e.is_anomalous, e.is_sampled) for e in reviews.waiting()}
    assert waiting == {"1": (False, True), "2": (True, False), "3": (True, True)}
    reviews.close()


def test_a_sample_comes_as_often_as_was_asked_for(open_records, results, monkeypatch):
    """The system's chance: of 3000 frames one in 10, by the binomial distribution's 6 sigma."""
    records = open_records(draw=None, sample_every=10)
    kept = []
    monkeypatch.setattr(module, "WAITING_FRAMES", 10**9)
    records.close()
    monkeypatch.setattr(records, "_queue", kept)
    for number in range(3000):
        records.hear({"id": str(number)}, results[0])
    sampled = sum(is_sampled for _, _, is_sampled in kept)
    assert abs(sampled - 300) < 6 * (3000 * 0.1 * 0.9) ** 0.5


def test_over_the_limit_the_oldest_frames_go_and_those_under_review_stay(
    open_records, results, tmp_path, monkeypatch
):
    _, alarm = results
    monkeypatch.setattr(pruning, "ROWS_SHARE", 1)  # such small frames are less than their rows
    records = open_records(limit_mb=1)
    hear(records, (a_line(0, alarm), alarm))
    reviews = Reviews(tmp_path / "records")
    one = used_bytes(reviews._store) - pruning._database_bytes(reviews._store)
    records._limit = pruning._database_bytes(reviews._store) + 9 * one
    ids = [a_line(n, alarm)["id"] for n in range(40)]
    hear(records, *((a_line(n, alarm), alarm) for n in (1, 2)))
    reviews.mark(ids[0], "good", "Ada")
    reviews.claim(ids[1], "Grace")
    hear(records, *((a_line(n, alarm), alarm) for n in range(3, 30)))
    assert used_bytes(reviews._store) <= records._limit
    kept = [entry.id for entry in reviews.history(limit=100) if entry.frame is not None]
    assert ids[0] in kept and ids[1] in kept and ids[2] not in kept and ids[29] in kept
    assert kept == sorted(kept, key=ids.index, reverse=True)
    stems = {entry.frame.name[:28] for entry in reviews.history() if entry.frame}
    assert {name.split("/")[1][:28] for name in files(tmp_path / "records")} == stems
    with pytest.raises(ReviewError, match=r"the frame of .*-2 was pruned on 20.*raise limit_mb"):
        reviews.mark(ids[2], "good", "Ada")
    with pytest.raises(ReviewError, match="was pruned on"):
        reviews.claim(ids[2], "Ada")
    assert reviews.entry(ids[2]).pruned and reviews.entry(ids[2]).frame is None
    reviews.close()


def test_frames_under_review_that_fill_the_limit_are_said_and_a_release_makes_room(
    open_records, results, tmp_path, monkeypatch
):
    _, alarm = results
    monkeypatch.setattr(pruning, "ROWS_SHARE", 1)
    log = []
    records = open_records(log=log)
    hear(records, *((a_line(n, alarm), alarm) for n in range(3)))
    reviews = Reviews(tmp_path / "records")
    ids = [a_line(n, alarm)["id"] for n in range(5)]
    for identity in ids[:3]:
        reviews.mark(identity, "defective", "Ada")
    records._limit = used_bytes(reviews._store) + 9000
    hear(records, (a_line(3, alarm), alarm))
    assert reviews.entry(ids[3]).frame is None  # the verdict is there all the same
    assert records.skipped == 1 and "under review take up" in log[-1][1]
    reviews.release(ids[:2], "Ada", "learnt")
    hear(records, (a_line(4, alarm), alarm))
    assert reviews.entry(ids[4]).frame is not None
    assert log[-1][0] == "fine"
    assert [mark["label"] for mark in reviews.marks(ids[0])] == ["defective", "released"]
    reviews.close()


def test_old_verdicts_go_unless_they_are_under_review(open_records, results, tmp_path):
    good, alarm = results
    records = open_records(keep_days=1)
    hear(records, (a_line(5, good), good))
    old = [a_line(n, alarm, captured=f"2020-01-02T03:04:0{n}.000Z") for n in range(3)]
    records._age._keep *= 10_000  # they are recorded first
    hear(records, *((line, alarm) for line in old))
    reviews = Reviews(tmp_path / "records")
    reviews.mark(old[1]["id"], "good", "Ada")
    records._age._keep /= 10_000
    hear(records, (a_line(6, good), good))
    give_up = time.monotonic() + 60
    while len(reviews.history()) > 3 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert [entry.id[-1] for entry in reviews.history()] == ["6", "1", "5"]
    with pytest.raises(ReviewError, match=r"there is no record .*-0: it was never saved, or remov"):
        reviews.mark(old[0]["id"], "good", "Ada")
    records.close()
    assert len(files(tmp_path / "records")) == 3
    reviews.close()


@pytest.mark.parametrize("when", ["while it runs", "before the start"])
def test_a_clock_that_jumps_removes_nothing(open_records, results, tmp_path, monkeypatch, when):
    good, _ = results
    log = []
    records = open_records(keep_days=1, log=log)
    hear(records, *((a_line(n, good), good) for n in range(3)))
    real = time.time
    if when == "before the start":
        records.close()
    monkeypatch.setattr(pruning.time, "time", lambda: real() + 10 * 365 * 86400)
    if when == "before the start":
        records = open_records(keep_days=1, log=log)
    hear(records, (a_line(3, good), good))
    records.close()
    assert any(
        ("clock" in text and "none is removed" in text) or "jumped" in text for _, text in log
    )
    reviews = Reviews(tmp_path / "records")
    assert len(reviews.history()) == 4
    reviews.close()


def test_a_second_process_is_refused_and_readers_are_not(open_records, results, tmp_path):
    records = open_records()
    hear(records, (a_line(0, results[1]), results[1]))
    code = (
        "import sys; from pathlib import Path\n"
        "from edgead.records.store import Records, RecordsSettings\n"
        "Records(RecordsSettings(Path(sys.argv[1])), print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "records"], capture_output=True, text=True
    )
    assert "another edgead saves there; choose another folder" in done.stderr
    out = tmp_path / "verdicts.csv"
    words = ["records", "export", tmp_path / "records", "--csv", out]
    subprocess.run([sys.executable, "-m", "edgead", *words], check=True, capture_output=True)
    assert len(out.read_text().splitlines()) == 2


WRITER = """
import sys; from pathlib import Path
import numpy as np
from edgead import Detector
from edgead.images import read_image
from edgead.records.store import Records, RecordsSettings
sys.path.insert(0, sys.argv[3])
from recorded import a_line
frame = read_image(Path(sys.argv[2]))
with Detector(sys.argv[1], threads=1) as detector:
    result = detector.score(frame)
records = Records(RecordsSettings(Path(sys.argv[4]), sample_every=1), print)
for number in range(100_000):
    while records._frames > 2:
        pass
    line = a_line(number, result)
    records.send(line)
    print(number, flush=True)
    records.hear(line, result)
"""


def test_after_kill_9_the_database_is_whole_and_no_file_is_without_its_row(
    bundle_dir, results, open_records, tmp_path
):
    from edgead.images import write_png

    write_png(tmp_path / "frame.png", results[0].frame)
    folder = tmp_path / "records"
    words = [bundle_dir, tmp_path / "frame.png", Path(__file__).parent, folder]
    command = [sys.executable, "-c", WRITER, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline()) for _ in range(25)]
        writer.send_signal(signal.SIGKILL)
        printed += map(int, writer.stdout.read().split(b"\n")[:-1])
    with sqlite3.connect(folder / "records.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    open_records().close()  # the next watch clears what is left
    reviews = Reviews(folder)
    entries = reviews.history(limit=1000)
    assert {int(entry.id.rpartition("-")[2]) for entry in entries} >= set(printed)
    for entry in entries:
        if entry.frame is not None:
            assert np.array_equal(read_image(entry.frame), results[0].frame)
            assert entry.heatmap.is_file()
    assert len(files(folder)) == 3 * sum(entry.frame is not None for entry in entries)
    reviews.close()


def test_a_full_disk_is_said_once_leaves_nothing_half_and_ends(
    open_records, results, tmp_path, monkeypatch
):
    _, alarm = results
    log = []
    records = open_records(log=log)

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(module, "write_file", full)
    hear(records, *((a_line(n, alarm), alarm) for n in range(2)))
    assert len(log) == 1 and "no space left on the disk" in log[0][1]
    store = records._rows._store
    pages = store.execute("PRAGMA page_count").fetchone()[0]
    store.execute(f"PRAGMA max_page_count={pages}")
    for number in range(2, 200):
        hear(records, (a_line(number, alarm), alarm))
        if "full" in records._rows.trouble:
            break
    text = "records are not saved: database or disk is full; they wait in memory; verdicts go on"
    assert [said[1] for said in log if said[0] == "failed"][1:] == [text]
    assert files(tmp_path / "records") == set()
    monkeypatch.undo()
    store.execute("PRAGMA max_page_count=1000000")
    hear(records, (a_line(999, alarm), alarm))
    assert len(files(tmp_path / "records")) == 3
    records.close()
    assert [said[0] for said in log[2:]] == ["fine", "fine"] and records.skipped == number + 1
    reviews = Reviews(tmp_path / "records")  # none of the verdicts is lost, and their order stays
    numbers = [int(entry.id.rpartition("-")[2]) for entry in reviews.after(0, 1000)]
    assert numbers == [*range(number + 1), 999]
    reviews.close()


def test_an_older_file_is_brought_to_the_present_schema_and_a_newer_one_refused(
    tmp_path, monkeypatch, open_records, results
):
    records = open_records()
    hear(records, (a_line(0, results[0]), results[0]))
    records.close()
    path = tmp_path / "records" / "records.db"
    added = "ALTER TABLE verdicts ADD COLUMN shift TEXT NOT NULL DEFAULT 'day';"
    with monkeypatch.context() as later:
        later.setattr(schema, "STEPS", (*schema.STEPS, added))
        with pytest.raises(InputError, match="schema 2, of an older edgead: start edgead watch"):
            schema.connect(path, writes=False)
        assert why_not(RecordsSettings(path.parent, limit_mb=10)) is None  # the watch brings it
        store = schema.connect(path, writes=True)
        assert store.execute("SELECT shift FROM verdicts").fetchall() == [("day",)]
        assert store.execute("PRAGMA user_version").fetchone() == (3,)
        store.close()
        later.setattr(schema, "STEPS", (*schema.STEPS, "ALTER TABLE none ADD COLUMN x;"))
        with pytest.raises(DeviceError, match="no such table"):
            schema.connect(path, writes=True)
    with sqlite3.connect(path) as store:  # the step that failed changed nothing
        assert store.execute("PRAGMA user_version").fetchone() == (3,)
    with pytest.raises(InputError, match="schema 3, made by a newer edgead; this one reads up to"):
        schema.connect(path, writes=True)


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("moment", ["sqlite_master", "journal_mode"])
def test_two_processes_bring_a_file_to_the_present_schema_at_once(
    tmp_path, monkeypatch, steps, moment
):
    path, others = tmp_path / "records.db", []
    if steps:
        with monkeypatch.context() as before:
            before.setattr(schema, "STEPS", schema.STEPS[:steps])
            schema.connect(path, writes=True).close()

    class Overtaken(sqlite3.Connection):
        def execute(self, sql, *given):
            if moment in sql and not others:
                others.append(executor.submit(schema.connect, path, writes=True))
                wait(others, timeout=0.3)  # it may have to wait for this one
            return super().execute(sql, *given)

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, factory=Overtaken, **k))
    with ThreadPoolExecutor(1) as executor:
        stores = schema.connect(path, writes=True), others[0].result(timeout=60)
    for store in stores:
        assert store.execute("PRAGMA user_version").fetchone() == (len(schema.STEPS),)
        assert store.execute("SELECT withdrawn FROM reviews").fetchall() == []
        store.close()


def test_a_database_that_is_damaged_or_of_another_program_is_named(tmp_path, open_records):
    folder = tmp_path / "records"
    folder.mkdir()
    with sqlite3.connect(folder / "records.db") as store:
        store.execute("CREATE TABLE theirs (x)")
    with pytest.raises(InputError, match="is of another program: give another folder"):
        open_records()
    (folder / "records.db").write_bytes(b"no database at all" * 300)
    with pytest.raises(DeviceError, match="cannot be used: file is not a database: restore"):
        open_records()
    with pytest.raises(InputError, match="expected a folder of records"):
        Reviews(tmp_path)


def test_the_database_takes_a_quarter_of_the_limit_and_the_oldest_verdicts_go_first(
    open_records, results, tmp_path
):
    good, _ = results
    records = open_records(limit_mb=1)
    for number in range(600):
        records.send(a_line(number, good))
    records.close()
    reviews = Reviews(tmp_path / "records")
    kept = reviews.history(limit=1000)
    assert pruning._database_bytes(reviews._store) <= 250_000
    assert 50 < len(kept) < 600
    assert [entry.id.rpartition("-")[2] for entry in kept] == [
        str(number) for number in range(599, 599 - len(kept), -1)
    ]
    reviews.close()


def test_only_folders_of_cameras_are_cleared(open_records, results, tmp_path, monkeypatch):
    records = open_records()
    hear(records, (a_line(0, results[0]), results[0]))
    records.close()
    name = "20261122T223652227Z_00000043_frame.png"
    for folder in ("left", "seen", "lost+found"):
        (tmp_path / "records" / folder).mkdir()
        (tmp_path / "records" / folder / name).touch()
    real = Path.iterdir

    def iterdir(path):
        if path.name == "lost+found":  # of root, on a disk of its own
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    open_records().close()
    assert files(tmp_path / "records") == {f"seen/{name}", f"lost+found/{name}"}
