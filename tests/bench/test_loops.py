"""The loops' bookkeeping with a clock that only the test moves; every number by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from edgead.bench.closed_loop import closed_loop, scopes
from edgead.bench.open_loop import open_loop

UNIT = 1 / 64  # seconds; a binary fraction, so that sums are exact
MS = 1e3 * UNIT
HZ = 8  # a frame every 8 units


class Clock:
    """Stands still but for sleeping, which takes ``over`` units longer than asked."""

    def __init__(self, over: float = 0, early: float = 1) -> None:
        self.time = 100.0
        self.over = over
        self.early = early

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds * self.early + self.over * UNIT


def run(services, count=8, **settings):
    """Let the scripted services (units of time) meet ``count`` frames."""
    clock, script = Clock(**settings), iter(services)

    def serve(_number: int) -> None:
        clock.time += next(script) * UNIT

    return open_loop(serve, HZ, count, clock)


def test_drops_misses_and_queue_age_by_hand():
    # Frames arrive at 0 8 16 24 32 40 48 56.
    #   0 is scored from  0 to 20; then 8 and 16 have arrived: 2 is taken, 1 dropped
    #   2 is scored from 20 to 24, just within its deadline; 3 arrives at this moment
    #   3 is scored from 24 to 26; nothing is new until 32
    #   4 is scored from 32 to 58; 5, 6 and 7 have arrived: 7 is taken
    #   7 is scored from 58 to 63
    found = run([20, 4, 2, 26, 5])
    assert list(found.served) == [0, 2, 3, 4, 7]
    assert list(found.latency_ms) == [20 * MS, 8 * MS, 2 * MS, 26 * MS, 7 * MS]
    assert list(found.queue_age_ms) == [0, 4 * MS, 0, 0, 2 * MS]
    assert (found.drops, found.deadline_misses) == (3, 2)
    assert found.deadline_ms == 125
    # Ranks of 8 frames, of which 5 ended: 2 7 8 20 26.
    assert [found.percentile_ms(p) for p in (12.5, 50, 62.5)] == [2 * MS, 20 * MS, 26 * MS]
    assert math.isinf(found.percentile_ms(75))
    said = found.to_json()
    assert {k: said[k] for k in ("hz", "frames", "served", "deadline_misses", "drops")} == {
        "hz": 8, "frames": 8, "served": [0, 2, 3, 4, 7], "deadline_misses": 2, "drops": 3,
    }  # fmt: skip
    assert said["latency"]["p50_ms"] == 8 * MS
    assert said["queue_age"]["max_ms"] == 4 * MS


def test_a_fast_detector_waits_for_every_frame():
    found = run([1] * 8)
    assert list(found.served) == list(range(8))
    assert set(found.latency_ms) == {MS} and set(found.queue_age_ms) == {0}


def test_latency_counts_from_the_scheduled_arrival_although_sleep_overshoots():
    found = run([1] * 3, count=3, over=3)
    assert list(found.queue_age_ms) == [0, 3 * MS, 3 * MS]
    assert list(found.latency_ms) == [MS, 4 * MS, 4 * MS]


def test_no_frame_is_scored_before_it_arrives_although_sleep_ends_early():
    found = run([1] * 3, count=3, early=0.5)
    assert min(found.queue_age_ms) >= 0
    assert list(found.served) == [0, 1, 2]


def test_the_last_frame_is_scored_although_all_arrived_long_ago():
    assert list(run([1000, 1]).served) == [0, 7]


def result(**timings):
    return SimpleNamespace(timings_ms=timings)


def test_turns_share_frames_and_take_turns_at_being_first():
    seen = []
    clock = iter(range(100)).__next__

    def call(name, spent):
        def score(frames):
            seen.append((name, [int(f[0]) for f in frames]))
            return [result(preprocess=spent, engine=2 * spent) for _ in frames]

        return score

    frames = [np.array([n]) for n in range(3)]
    first, second = closed_loop(
        [call("a", 1.0), call("b", 5.0)], frames, lambda turn: turn < 2, batch=2, clock=clock
    )
    assert seen == [("a", [0, 1]), ("b", [0, 1]), ("b", [2, 0]), ("a", [2, 0])]
    assert list(first["preprocess"]) == [2, 2] and list(second["engine"]) == [20, 20]
    assert list(first["end_to_end"]) == [1000, 1000]  # the clock goes on by a second a look
    assert scopes(second) == {"network": [20, 20], "end_to_end": [1000, 1000]}


def test_copies_are_a_scope_where_an_engine_has_them():
    series = closed_loop(
        [lambda frames: [result(engine=3.0, copy=0.5)]], [np.array([1])], lambda turn: turn < 1
    )[0]
    assert scopes(series)["copies"] == [3.5]
    assert list(scopes(series)) == ["network", "copies", "end_to_end"]


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames(count):
    assert list(run([1, 1], count=count).served) == list(range(count))
