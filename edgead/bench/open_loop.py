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

from edgead.bench.samples import summary
from edgead.monitoring.percentiles import percentile, rank

LONGEST_SLEEP_S = 0.2  # how long a loop that is asked to stop may take to notice


class Clock(Protocol):
    """What the loop uses of the module ``time``."""

    def perf_counter(self) -> float:
        """Seconds; never goes back."""

    def sleep(self, seconds: float, /) -> None:
        """Wait about so long."""


class OpenLoop:
    """What became of every frame.

    Args:
        hz: frames per second
        count: how many frames arrive

    ``arrivals_s``: when each frame arrives, after the start. ``count``: frames that arrived, of
    ``planned``; fewer where the loop was stopped.
    """

    def __init__(self, hz: float, count: int) -> None:
        self.hz = hz
        self.count = self.planned = count
        # Filled beforehand: memory that grows while the machine is watched is not ours.
        self.arrivals_s = array("d", (number / hz for number in range(count)))
        self._served = array("q", bytes(8 * count))
        self._latency_ms = array("d", bytes(8 * count))
        self._queue_age_ms = array("d", bytes(8 * count))
        self._size = 0

    def add(self, number: int, latency_ms: float, queue_age_ms: float) -> None:
        """Note a frame that was scored."""
        self._served[self._size] = number
        self._latency_ms[self._size] = latency_ms
        self._queue_age_ms[self._size] = queue_age_ms
        self._size += 1

    @property
    def served(self) -> array[int]:
        """Numbers of the frames that were scored, in order."""
        return self._served[: self._size]

    @property
    def latency_ms(self) -> array[float]:
        """From the scheduled arrival to the verdict, of each frame that was scored."""
        return self._latency_ms[: self._size]

    @property
    def queue_age_ms(self) -> array[float]:
        """From the scheduled arrival to the start of scoring, of each frame that was scored."""
        return self._queue_age_ms[: self._size]

    @property
    def deadline_ms(self) -> float:
        """The time between two frames: a detector that needs longer on average falls behind."""
        return 1e3 / self.hz

    @property
    def drops(self) -> int:
        """Frames not scored, because a newer one had arrived when the detector came free."""
        return self.count - self._size

    @property
    def drops_busy(self) -> int:
        """Of the drops, those that came while the frame before was being scored.

        The others came to a free detector that the system woke only after the next frame.
        """
        period_ms, busy = self.deadline_ms, 0
        served, latency_ms = self._served, self._latency_ms
        for k in range(1, self._size):
            gap = served[k] - served[k - 1]
            # Frame i after the one before arrived within its latency.
            busy += sum(i * period_ms < latency_ms[k - 1] for i in range(1, gap))
        return busy

    @property
    def p99_over_p50(self) -> float:
        """How much longer than usual the slowest frame of a hundred takes."""
        return percentile(self.latency_ms, 99) / percentile(self.latency_ms, 50)

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
            "planned": self.planned,
            "served": list(self.served),
            "deadline_misses": self.deadline_misses,
            "drops": self.drops,
            "drops_busy": self.drops_busy,
            "drops_late": self.drops - self.drops_busy,
            "p99_over_p50": self.p99_over_p50,
            "latency": summary(self.latency_ms),
            "queue_age": summary(self.queue_age_ms),
        }


def open_loop(
    serve: Callable[[int], object],
    found: OpenLoop,
    clock: Clock = time,
    stopped: Callable[[], object] = bool,
) -> None:
    """Let the frames of ``found`` arrive, and note there what becomes of them.

    The latest frame wins: a detector that comes free takes the newest frame that has arrived and
    drops the older ones; if none is new, it waits. Takes no memory of its own.

    Args:
        serve: scores the frame of a number
        found: gets the latencies
        clock: where the time comes from
        stopped: ends the loop early when true; frames not waited for then count as never sent
    """
    arrivals_s, first_s = found.arrivals_s, clock.perf_counter()

    def now_s() -> float:
        return clock.perf_counter() - first_s

    following = 0  # the oldest frame that was neither scored nor dropped
    while following < len(arrivals_s):
        while not stopped() and (wait := arrivals_s[following] - now_s()) > 0:
            clock.sleep(min(wait, LONGEST_SLEEP_S))
        if stopped():
            found.count = following
            break
        started_s = now_s()
        number = bisect_right(arrivals_s, started_s) - 1
        serve(number)
        finished_s = now_s()
        arrival_s = arrivals_s[number]
        found.add(number, 1e3 * (finished_s - arrival_s), 1e3 * (started_s - arrival_s))
        following = number + 1
