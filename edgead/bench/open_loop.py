"""Open loop: frames arrive at a camera's cadence, whether the detector is ready or not.

The arrival times are fixed before the first frame, and a latency counts from the scheduled arrival.
A loop that waits for the detector instead would not see the frames that a slow one keeps waiting
(coordinated omission).
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Protocol

from edgead.bench.samples import rank, summary


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Seconds; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait about so long."""


class WallClock:
    """The machine's own."""

    def now(self) -> float:
        """Seconds of ``perf_counter``."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """``time.sleep``."""
        time.sleep(seconds)


class OpenLoop:
    """What became of every frame.

    ``served``: numbers of the frames that were scored, in order; ``latency_ms`` and
    ``queue_age_ms`` belong to them: from the scheduled arrival to the verdict, and to the start of
    scoring. ``count`` - ``len(served)`` frames were dropped because a newer one had arrived when
    the detector came free.
    """

    def __init__(self, hz: float, count: int) -> None:
        self.hz = hz
        self.count = count
        self.served: array[int] = array("q")
        self.latency_ms: array[float] = array("d")
        self.queue_age_ms: array[float] = array("d")

    @property
    def deadline_ms(self) -> float:
        """The time between two frames: who needs longer on average falls behind."""
        return 1e3 / self.hz

    @property
    def drops(self) -> int:
        """Frames that were never scored."""
        return self.count - len(self.served)

    @property
    def deadline_misses(self) -> int:
        """Frames that were scored, but later than the deadline."""
        return sum(latency > self.deadline_ms for latency in self.latency_ms)

    def percentile_ms(self, percent: float) -> float:
        """Latency at the nearest rank of all frames; a dropped frame never ends: infinity."""
        place = rank(percent, self.count)
        ordered = sorted(self.latency_ms)
        return ordered[place - 1] if place <= len(ordered) else float("inf")

    def to_json(self) -> dict[str, Any]:
        """The object ``open_loop`` of the JSON file."""
        return {
            "hz": self.hz,
            "deadline_ms": self.deadline_ms,
            "frames": self.count,
            "served": list(self.served),
            "deadline_misses": self.deadline_misses,
            "drops": self.drops,
            "latency": summary(self.latency_ms),
            "queue_age": summary(self.queue_age_ms),
        }


def open_loop(
    serve: Callable[[int], object], hz: float, count: int, clock: Clock | None = None
) -> OpenLoop:
    """Let ``count`` frames arrive at ``hz`` per second; ``serve(number)`` scores one of them.

    The latest frame wins: a detector that comes free takes the newest frame that has arrived and
    drops the older ones; if none is new, it waits.
    """
    clock = clock or WallClock()
    found = OpenLoop(hz, count)
    first = clock.now()
    arrivals = [first + number / hz for number in range(count)]
    following = 0  # the oldest frame that was neither scored nor dropped
    while following < count:
        while (wait := arrivals[following] - clock.now()) > 0:
            clock.sleep(wait)
        started = clock.now()
        number = bisect_right(arrivals, started) - 1
        serve(number)
        finished = clock.now()
        found.served.append(number)
        found.queue_age_ms.append(1e3 * (started - arrivals[number]))
        found.latency_ms.append(1e3 * (finished - arrivals[number]))
        following = number + 1
    return found
