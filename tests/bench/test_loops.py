"""The loops' bookkeeping with a clock that only the test moves; every number by hand."""

from __future__ import annotations

import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from edgead.bench.closed_loop import closed_loop, scopes
from edgead.bench.open_loop import OpenLoop, open_loop

UNIT = 1 / 64  # seconds; a binary fraction, so that sums are exact
MS = 1e3 * UNIT
HZ = 8  # a frame every 8 units


class Clock:
    """Stands still but for sleeping, which takes ``over`` units longer than asked."""

    def __init__(self, over: float = 0, early: float = 1) -> None:
        self.time = 100.0
        self.over = over
        self.early = early

    def perf_counter(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds * self.early + self.over * UNIT


def run(services, count=8, **settings):
    """Let the scripted services (units of time) meet ``count`` frames."""
    clock, script = Clock(**settings), iter(services)

    def serve(_number: int) -> None:
        clock.time += next(script) * UNIT

    found = OpenLoop(HZ, count)
    open_loop(serve, found, clock)
    return found


def test_a_call_that_measures_itself_is_believed():
    """What asking another process takes is none of its time."""
    clock = Clock()

    def call(_frame):
        clock.time += 5 * UNIT
        return SimpleNamespace(timings_ms={"engine": 1.0, "end_to_end": 2.0})

    frames = [np.zeros((2, 2), np.uint8)]
    (found,) = closed_loop([call], frames, lambda turn: turn < 2, clock=clock.perf_counter)
    assert {name: list(samples) for name, samples in found.items()} == {
        "end_to_end": [2.0, 2.0], "engine": [1.0, 1.0],
    }  # fmt: skip


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
    assert found.drops_busy == 3  # 1 while 0 was scored, 5 and 6 while 4 was
    assert found.p99_over_p50 == 26 / 8  # of 2 7 8 20 26
    assert found.deadline_ms == 125
    # Ranks of 8 frames, of which 5 ended: 2 7 8 20 26.
    assert [found.percentile_ms(p) for p in (12.5, 50, 62.5)] == [2 * MS, 20 * MS, 26 * MS]
    assert math.isinf(found.percentile_ms(75))
    said = found.to_json()
    assert {key: said[key] for key in said if key not in ("latency", "queue_age")} == {
        "hz": 8, "deadline_ms": 125, "frames": 8, "planned": 8, "served": [0, 2, 3, 4, 7],
        "deadline_misses": 2, "drops": 3, "drops_busy": 3, "drops_late": 0, "p99_over_p50": 26 / 8,
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


def test_a_drop_that_meets_a_free_detector_is_the_systems():
    # Frames arrive at 0 8 16 24. 0 is scored from 0 to 1; the sleep until 8 ends at 17, when 16 has
    # arrived: 2 is taken, 1 dropped although the detector was free.
    found = run([1] * 3, count=4, over=9)
    assert list(found.served) == [0, 2, 3]
    assert (found.drops, found.drops_busy) == (1, 0)


def test_a_stopped_loop_keeps_what_was_scored_and_counts_what_had_come():
    clock, ended = Clock(), []

    def serve(number: int) -> None:
        clock.time += 20 * UNIT
        ended.append(number)

    found = OpenLoop(HZ, 8)
    open_loop(serve, found, clock, stopped=lambda: len(ended) == 2)
    # 0 from 0 to 20, then 2 from 20 to 40, 1 dropped; those from 3 on were not waited for.
    assert list(found.served) == [0, 2] and list(found.latency_ms) == [20 * MS, 24 * MS]
    assert (found.count, found.planned, found.drops, found.drops_busy) == (3, 8, 1, 1)


def test_a_loop_stopped_in_its_sleep_notices_soon():
    clock = Clock()
    found = OpenLoop(0.01, 3)
    open_loop(lambda _: None, found, clock, stopped=lambda: clock.time > 103)
    # Frames arrive at 100 and 200 seconds; sleeps are of 0.2.
    assert list(found.served) == [0] and found.count == 1
    assert 103 < clock.time < 103.3


def test_no_frame_is_scored_before_it_arrives_although_sleep_ends_early():
    found = run([1] * 3, count=3, early=0.5)
    assert min(found.queue_age_ms) >= 0
    assert list(found.served) == [0, 1, 2]


def test_the_last_frame_is_scored_although_all_arrived_long_ago():
    assert list(run([1000, 1]).served) == [0, 7]


def test_the_loop_itself_takes_no_memory():
    """A sample of 20,000 frames is 160 kB; the loop runs while the memory is watched."""
    found, clock = OpenLoop(HZ, 20_000), Clock()
    tracemalloc.start()
    open_loop(lambda _: None, found, clock)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.served) == 20_000
    assert grown < 10_000  # a few numbers


def result(**timings):
    return SimpleNamespace(timings_ms=timings)


def test_turns_share_frames_and_take_turns_at_being_first():
    seen = []
    clock = iter(range(100)).__next__

    def call(name, spent):
        def score(frame):
            seen.append((name, int(frame[0])))
            return result(preprocess=spent, engine=2 * spent)

        return score

    frames = [np.array([n]) for n in range(3)]
    first, second = closed_loop(
        [call("a", 1.0), call("b", 5.0)], frames, lambda turn: turn < 4, clock=clock
    )
    assert seen == [
        *[("a", 0), ("b", 0)],
        *[("b", 1), ("a", 1)],
        *[("a", 2), ("b", 2)],
        *[("b", 0), ("a", 0)],
    ]
    assert list(first["preprocess"]) == [1] * 4 and list(second["engine"]) == [10] * 4
    assert list(first["end_to_end"]) == [1000] * 4  # the clock goes on by a second a look
    assert scopes(second) == {"network": [10] * 4, "end_to_end": [1000] * 4}


def test_copies_are_a_scope_where_an_engine_has_them():
    series = closed_loop(
        [lambda frame: result(engine=3.0, copy=0.5)], [np.array([1])], lambda turn: turn < 1
    )[0]
    assert scopes(series)["copies"] == [3.5]
    assert list(scopes(series)) == ["network", "copies", "end_to_end"]


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames(count):
    assert list(run([1, 1], count=count).served) == list(range(count))
