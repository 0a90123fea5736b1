"""A kernel and its peer, timed in turns in one process."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

WARM_UP = 5  # turns that only fill caches and raise clocks


@dataclass(frozen=True)
class Case:
    """One row of the table: the same work, done by a kernel and without it.

    Args:
        kernel: its name, "preprocess" | "anomaly_map" | "nearest" | "whiten"
        workload: what it works on
        path: the instruction set of the kernel
        max_error: largest distance of its result from ``edgead/reference.py``
        run: the kernel, in one thread
        peer: what stands beside it
        run_peer: the peer, in ``peer_threads`` threads
    """

    kernel: str
    workload: str
    path: str
    max_error: float
    run: Callable[[], Any]
    peer: str
    run_peer: Callable[[], Any]
    peer_threads: int = 1


def time_in_turns(case: Case, repeats: int) -> dict[str, Any]:
    """Time both ``repeats`` times; samples and medians in milliseconds, ratio = peer / kernel."""
    samples: dict[str, list[float]] = {"kernel": [], "peer": []}
    for turn in range(-WARM_UP, repeats):
        # Who goes first changes with the turn: the second finds warmer caches.
        for name in ("kernel", "peer") if turn % 2 else ("peer", "kernel"):
            work = case.run if name == "kernel" else case.run_peer
            started = perf_counter()
            work()
            if turn >= 0:
                samples[name].append(1e3 * (perf_counter() - started))
    median, peer_median = (statistics.median(samples[name]) for name in ("kernel", "peer"))
    return {
        "kernel": case.kernel,
        "workload": case.workload,
        "path": case.path,
        "threads": 1,
        "median_ms": median,
        "samples_ms": samples["kernel"],
        "max_error": case.max_error,
        "peer": case.peer,
        "peer_threads": case.peer_threads,
        "peer_median_ms": peer_median,
        "peer_samples_ms": samples["peer"],
        "ratio": peer_median / median,
    }
