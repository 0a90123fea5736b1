"""Cameras before Detectors: a model of who waits and what is dropped, and the same for real.

Each camera sends a frame every 1/hz seconds, from a moment of its own on. It has one place for a
frame that waits; a newer one takes it, and the older one is dropped. A Detector that is free takes
the frame that has waited longest. So it is with ``edgead watch``, and with every loop that keeps
the newest frame.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgead.monitoring.percentiles import percentile

MOST_DROPPED = 0.01  # our choice: of the frames, for a number of cameras that "fits"
SIMULATED_S = 120.0
MOST_CAMERAS = 4096


@dataclass
class Served:
    """What became of the frames.

    Args:
        frames: that arrived.
        latency_ms: from arrival to verdict, of those that were scored.
    """

    frames: int = 0
    latency_ms: list[float] = field(default_factory=list)

    @property
    def dropped(self) -> float:
        """Share of the frames that a newer one replaced."""
        return 1 - len(self.latency_ms) / self.frames if self.frames else 0.0

    def to_json(self) -> dict[str, Any]:
        """Frames, the share dropped, and percentiles of the latency."""
        found: dict[str, Any] = {"frames": self.frames, "dropped": self.dropped}
        for percent in (50, 99):
            if self.latency_ms:
                found[f"p{percent}_ms"] = percentile(self.latency_ms, percent)
        return found


def arrivals(cameras: int, hz: float, seconds: float, seed: int) -> list[tuple[float, int]]:
    """(second, camera) of each frame, in order; where a camera begins is drawn at random."""
    starts = np.random.default_rng(seed).uniform(0, 1 / hz, cameras)
    number = int(seconds * hz)
    return sorted((float(s + n / hz), c) for c, s in enumerate(starts) for n in range(number))


def simulate(
    service_ms: Sequence[float],
    detectors: int,
    cameras: int,
    hz: float,
    *,
    seconds: float = SIMULATED_S,
    seed: int = 0,
) -> Served:
    """Let frames arrive before Detectors whose times are drawn from measured ones.

    Args:
        service_ms: measured with as many Detectors at work, so that what they take from each other
            is in it.
        detectors: how many.
        cameras: how many.
        hz: frames per second of each.
        seconds: that pass.
        seed: of the draws.
    """
    times_s = np.random.default_rng(seed + 1).choice(np.asarray(service_ms) / 1e3, 1 << 16)
    free = [0.0] * detectors  # when each comes free
    heapq.heapify(free)
    waiting: dict[int, float] = {}  # camera -> arrival of its frame, in order of arrival
    found, drawn = Served(), 0

    def serve_until(now_s: float) -> None:
        nonlocal drawn
        while waiting and free[0] <= now_s:
            camera = next(iter(waiting))
            arrived = waiting.pop(camera)
            end = max(heapq.heappop(free), arrived) + float(times_s[drawn % len(times_s)])
            drawn += 1
            heapq.heappush(free, end)
            found.latency_ms.append(1e3 * (end - arrived))

    for at_s, camera in arrivals(cameras, hz, seconds, seed):
        serve_until(at_s)
        found.frames += 1
        waiting.pop(camera, None)
        waiting[camera] = at_s
        serve_until(at_s)
    serve_until(float("inf"))
    return found


def most_cameras(service_ms: Sequence[float], detectors: int, hz: float) -> int:
    """The largest number of cameras of which at most ``MOST_DROPPED`` of the frames are dropped."""

    def fits(cameras: int) -> bool:
        seconds = min(SIMULATED_S, 20_000 / (cameras * hz))
        found = simulate(service_ms, detectors, cameras, hz, seconds=max(seconds, 20 / hz))
        return found.dropped <= MOST_DROPPED

    low, high = 0, 1
    while high <= MOST_CAMERAS and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def measure(
    score: Sequence[Callable[[Any], object]],
    frames: Sequence[Any],
    cameras: int,
    hz: float,
    *,
    seconds: float,
    seed: int = 0,
) -> Served:
    """The same for real: frames arrive by the clock, and Detectors in threads take them.

    Args:
        score: of each Detector.
        frames: in memory, taken in turn.
        cameras, hz, seconds, seed: as for ``simulate``.
    """
    planned = arrivals(cameras, hz, seconds, seed)
    waiting: dict[int, float] = {}
    found, changed, ended = Served(), threading.Condition(), False
    first_s = time.perf_counter() + 0.05

    def detector(call: Callable[[Any], object]) -> None:
        turn = 0
        while True:
            with changed:
                while not waiting and not ended:
                    changed.wait()
                if not waiting:
                    return
                camera = next(iter(waiting))
                arrived_s = waiting.pop(camera)
            call(frames[turn % len(frames)])
            turn += 1
            with changed:
                found.latency_ms.append(1e3 * (time.perf_counter() - first_s - arrived_s))

    threads = [threading.Thread(target=detector, args=(call,)) for call in score]
    for thread in threads:
        thread.start()
    for at_s, camera in planned:
        wait = first_s + at_s - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        with changed:
            found.frames += 1
            waiting.pop(camera, None)
            waiting[camera] = at_s
            changed.notify()
    with changed:
        ended = True
        changed.notify_all()
    for thread in threads:
        thread.join()
    return found
