"""The spool: first in, first out; nothing is lost but by its bound, which is counted."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from unittest.mock import Mock

import pytest

from edgead.errors import DeviceError, InputError
from edgead.live.sinks import spool as module
from edgead.live.sinks.spool import Spool


@pytest.fixture
def make(tmp_path):
    made = []

    def start(limit_mb=1.0, folder=None):
        made.append(Spool(folder or tmp_path / "spool", limit_mb, "hall"))
        return made[-1]

    yield start
    for each in made:
        if each._lock is not None:
            each.close()
            each._lock = None


def close(spool):
    spool.close()
    spool._lock = None


def numbers(items):
    return [int(item.record) for item in items]


def put(spool, those):
    for number in those:
        spool.put("left", b"%d" % number)


def test_what_is_put_is_taken_once_in_order_and_gone_when_done(make):
    spool = make()
    put(spool, range(5))
    first = spool.take(3)
    assert numbers(first) == [0, 1, 2]
    assert numbers(spool.take(9)) == [3, 4]
    assert spool.take(9) == []
    assert spool.queued == 5
    spool.done([item.number for item in first])
    assert spool.queued == 2
    spool.rewind()
    assert numbers(spool.take(9)) == [3, 4]


def test_the_next_process_finds_what_was_not_done(make):
    spool = make()
    put(spool, range(4))
    spool.done([spool.take(1)[0].number])
    close(spool)
    again = make()
    put(again, [4])
    assert numbers(again.take(9)) == [1, 2, 3, 4]


def test_against_a_queue_in_memory_with_any_order_of_calls(make):
    """A list is the truth; puts, confirmations in any order, losses and restarts are drawn."""
    draw, spool, truth, away, counter = random.Random(7), make(), [], [], 0
    for _ in range(400):
        match draw.randrange(5):
            case 0 | 1:
                put(spool, [counter])
                truth.append(counter)
                counter += 1
            case 2:
                taken = spool.take(draw.randrange(1, 5))
                expected = [n for n in truth if n not in [int(i.record) for i in away]]
                assert numbers(taken) == expected[: len(taken)]
                away += taken
            case 3 if away:
                chosen = draw.sample(away, draw.randrange(1, len(away) + 1))
                spool.done([item.number for item in chosen])
                truth = [n for n in truth if n not in numbers(chosen)]
                away = [item for item in away if item not in chosen]
            case 4:
                if draw.random() < 0.3:
                    close(spool)
                    spool = make()
                else:
                    spool.rewind()
                away = []
        assert spool.queued == len(truth)
    spool.rewind()
    assert numbers(spool.take(1000)) == truth


def test_over_the_bound_the_oldest_that_wait_are_dropped_and_counted(make, tmp_path):
    spool = make(limit_mb=1)
    put(spool, [0])
    spool.take(1)  # on its way: it is not dropped
    for number in range(1, 2001):
        spool.put("left", b"%-1000d" % number)
    kept = numbers(spool.take(10_000))
    assert kept == list(range(2001 - len(kept), 2001))
    assert 990 <= len(kept) <= 1000
    assert spool.dropped == 2000 - len(kept)
    assert spool.queued == len(kept) + 1
    spool.settle()
    assert sum(path.stat().st_size for path in (tmp_path / "spool").glob("spool.db")) < 1.5e6


def full(spool):
    """The disk takes no more: SQLite is told so, and says what it says of a full disk."""
    pages = spool._store.execute("PRAGMA page_count").fetchone()[0]
    spool._store.execute(f"PRAGMA max_page_count={pages}")


def test_on_a_full_disk_records_wait_in_memory_in_order_and_reach_the_disk_later(make, monkeypatch):
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 30)
    spool = make()
    put(spool, range(3))
    full(spool)
    for number in range(3, 50):
        spool.put("left", b"%-4000d" % number)
    assert "database or disk is full" in spool.trouble
    assert spool.dropped + spool.queued == 50
    found = spool.take(100)
    assert numbers(found) == sorted(numbers(found)) and numbers(found)[-1] == 49
    assert len(found) == spool.queued
    spool.done([item.number for item in found[:2]])
    spool._store.execute("PRAGMA max_page_count=100000")
    put(spool, [50])
    assert spool.trouble == ""
    left = [*numbers(found)[2:], 50]
    close(spool)
    assert numbers(make().take(100)) == left


def test_a_second_process_is_refused_and_a_killed_one_is_not_waited_for(make, tmp_path):
    folder = tmp_path / "spool"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from edgead.live.sinks.spool import Spool\n"
        f"spool = Spool(Path({str(folder)!r}), 1, 'hall')\n"
        "print('has it', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"has it\n"
        with pytest.raises(InputError, match=r"\[sink.hall\] spool = .*another edgead has it"):
            make()
        other.send_signal(signal.SIGKILL)
    make()


WRITER = """
import sys; from pathlib import Path
from edgead.live.sinks.spool import Spool
spool = Spool(Path(sys.argv[1]), 1, "hall")
for number in range(100_000):
    spool.put("left", b"%d" % number)
    print(number, flush=True)
    if number % 3 == 0:
        spool.done([spool.take(1)[0].number])
"""


@pytest.mark.parametrize("seconds", [0.05, pytest.param(0.3, marks=pytest.mark.exhaustive)])
def test_what_was_put_is_there_after_kill_9(make, tmp_path, seconds):
    words = [sys.executable, "-c", WRITER, str(tmp_path / "spool")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline())]
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        printed += [int(line) for line in writer.stdout.read().split(b"\n")[:-1] if line]
    assert len(printed) > 1
    with sqlite3.connect(tmp_path / "spool" / "spool.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    spool = make()
    left = numbers(spool.take(100_000))
    done = len(range(0, printed[-1] + 1, 3))
    assert left in (
        [n for n in range(printed[-1] + extra + 1) if n >= done - less]
        for extra in (0, 1)
        for less in (-1, 0, 1)
    )


def test_a_file_of_another_program_a_damaged_one_and_no_permission_are_named(make, tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    with sqlite3.connect(folder / "spool.db") as store:
        store.execute("PRAGMA application_id=7")
        store.execute("CREATE TABLE theirs (x)")
    with pytest.raises(InputError, match="of another program, or of a newer edgead: move"):
        make()
    (folder / "spool.db").write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(DeviceError, match="move the folder away"):
        make()
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="where there is a file"):
        make(folder=tmp_path / "file")


def test_what_cannot_be_read_now_is_not_overtaken(make, monkeypatch):
    spool = make()
    put(spool, [0])
    full(spool)
    for number in (1, 2):
        spool.put("left", b"%-9000d" % number)  # wait in memory
    with monkeypatch.context() as patch:
        error = sqlite3.OperationalError("disk I/O error")
        patch.setattr(spool, "_next", Mock(side_effect=error))
        assert spool.take(9) == []
    assert numbers(spool.take(9)) == [0, 1, 2]
