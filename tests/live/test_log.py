"""The log: each kind of trouble is one line and then a count, whatever a source does."""

from __future__ import annotations

import random

from edgead.live.log import MOST_KINDS, PERIOD_S, Log


class Stage:
    """A log with a clock that is set by hand."""

    def __init__(self):
        self.lines, self.now_s = [], 0.0
        self.log = Log(self.lines.append, lambda: self.now_s)


def test_a_kind_is_said_once_and_then_counted_once_a_minute():
    stage = Stage()
    for number in range(6000):  # ten a second, for ten minutes
        stage.now_s = number / 10
        stage.log.say("failed", f"frame {number}", "frames")
        stage.log.tick()
    stage.log.close()
    assert stage.lines[0] == "failed frame 0"
    assert len(stage.lines) == 1 + 9 + 1
    # Another way to count: the first line stands for one, each other one for what it says.
    counted = [int(line.split()[1]) for line in stage.lines[1:]]
    assert 1 + sum(counted) == 6000
    assert stage.lines[1] == "failed 599 more in 60 s, the latest: frame 599"
    assert stage.lines[-1].endswith("the latest: frame 5999")


def test_kinds_words_and_what_has_no_kind_are_told_apart():
    stage = Stage()
    for _ in range(3):
        stage.log.say("failed", "a", "one")
        stage.log.say("failed", "b", "two")
        stage.log.say("fine", "c", "one")
        stage.log.say("watch", "d")
    assert stage.lines == [
        "failed a", "failed b", "fine   c", "watch  d", "watch  d", "watch  d"
    ]  # fmt: skip
    stage.log.close()
    assert sorted(stage.lines[6:]) == [
        "failed 2 more in 0 s, the latest: a",
        "failed 2 more in 0 s, the latest: b",
        "fine   2 more in 0 s, the latest: c",
    ]


def test_what_was_quiet_for_a_minute_is_said_at_once_again():
    stage = Stage()
    stage.log.say("lost", "first", "signal")
    stage.now_s = PERIOD_S + 1
    stage.log.say("lost", "second", "signal")
    assert stage.lines == ["lost   first", "lost   second"]


def test_kinds_that_a_source_makes_up_take_neither_memory_nor_lines():
    stage, draw = Stage(), random.Random(1)
    for _ in range(10_000):
        stage.log.say("failed", "x", f"{draw.random()}")
    assert len(stage.log._kinds) <= MOST_KINDS + 1 and len(stage.lines) <= MOST_KINDS + 1


def test_a_name_cannot_forge_a_line_and_a_dead_reader_is_survived():
    stage = Stage()
    stage.log.say("failed", "a\nedgead: fine \x1b[31m\u202e\udce9\u2028")
    assert stage.lines == ["failed a\\nedgead: fine \\x1b[31m\\u202e\\udce9\\u2028"]

    def dead(line):
        raise BrokenPipeError

    Log(dead).say("read", "x")
