"""When frames that edgead asks for are due; the clock is the test's."""

from __future__ import annotations

import pytest

from edgead.live.sources.industrial import Due


class Clock:
    """A clock that only waiting moves, and a Stop that waits on it."""

    def __init__(self) -> None:
        self.now_s, self.stops = 100.0, False

    def __call__(self) -> float:
        return self.now_s

    def is_set(self) -> bool:
        return self.stops

    def wait(self, timeout: float) -> bool:
        self.now_s += timeout
        return self.stops


def asked(due: Due, clock: Clock, *works_s: float) -> list[float]:
    """When frames are asked for, of which each then takes so long."""
    found = []
    for work_s in works_s:
        assert not due.wait(clock)
        found.append(clock.now_s - 100)
        clock.now_s += work_s
    return found


def test_the_rate_is_kept_however_long_a_frame_takes():
    clock = Clock()
    due = Due(10, clock)
    due.opened()
    works_s = (0.03, 0.09, 0.0, 0.15, 0.01, 0.01, 0.0)  # 0.15: the next one is late, no other
    expected = [0, 0.1, 0.2, 0.3, 0.45, 0.5, 0.6]
    assert asked(due, clock, *works_s) == pytest.approx(expected)


def test_frames_that_were_missed_are_not_made_up_for():
    clock = Clock()
    due = Due(10, clock)
    due.opened()
    assert asked(due, clock, 0.73, 0, 0, 0) == pytest.approx([0, 0.73, 0.83, 0.93])


def test_without_a_rate_every_frame_is_due_at_once():
    clock = Clock()
    due = Due(None, clock)
    assert asked(due, clock, 0, 0.5, 0) == pytest.approx([0, 0, 0.5])


def test_a_stop_ends_the_waiting():
    clock = Clock()
    due = Due(10, clock)
    assert not due.wait(clock)
    clock.stops = True
    assert due.wait(clock)
