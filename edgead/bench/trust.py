"""Why a number should not be believed, in sentences. No sample is ever left out for it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bench.monitor import MachineReading
from edgead.bench.samples import PERCENTILES, ratio_interval
from edgead.monitoring.percentiles import percentile, rank

BEYOND = 10  # samples above a percentile, at least, before it is more than luck
OUTLIER = 10.0  # robust standard deviations above the median
DRIFT = 0.05  # of the median between the halves
OTHERS = 0.05  # of the machine's CPU time used by other processes
STEAL = 0.01  # of the machine's CPU time taken by the hypervisor
SLOWER_CLOCK = 0.9  # of the clock at the start
GROWTH_MB = 1.0  # of memory after the first minute


def of_samples(name: str, samples: Sequence[float], percent: float) -> Iterator[str]:
    """Warnings about samples.

    Args:
        name: of their scope
        samples: [n] milliseconds
        percent: the percentile that is asked for
    """
    values = np.asarray(samples, np.float64)
    yield from _few(name, values.size, percent)
    yield from _outliers(name, values)
    yield from _drift(name, values)


def of_frames(frames: Sequence[NDArray[Any]]) -> Iterator[str]:
    """Warnings about the input."""
    flat = sum(bool((frame == frame.flat[0]).all()) for frame in frames)
    if flat:
        yield (
            f"flat frames: {flat} of {len(frames)} frames have one value everywhere; some engines "
            f"and caches are faster on those: measure with images of the camera"
        )


def of_machine(readings: Sequence[MachineReading], kept_mb: float = 0.0) -> Iterator[str]:
    """Warnings about the time from the first reading to the last.

    Args:
        readings: at least one
        kept_mb: memory that the benchmark itself filled with samples meanwhile
    """
    first, last = readings[0], readings[-1]
    yield from _others(first, last)
    for name, before in first.mhz.items():
        after = last.mhz.get(name, before)
        if after < SLOWER_CLOCK * before:
            yield (
                f"clocks: {name} fell from {before:.0f} to {after:.0f} MHz: the machine throttled "
                f"or saved power; fix the clocks, or cool it"
            )
    growth = rss_growth_mb(readings)
    if growth is not None and growth > GROWTH_MB + kept_mb:
        yield (
            f"memory: the process grew by {growth:.1f} MB after the first minute, {kept_mb:.1f} MB "
            f"of it the samples kept here: something is not given back"
        )


def rss_growth_mb(readings: Sequence[MachineReading]) -> float | None:
    """Growth of memory after the first minute; None in shorter runs.

    The median of the last minute less that of the first one after it, or of the halves of what is
    left: a single reading may find a frame more in memory than the next.
    """
    later = [(r.at_s, r.rss_mb) for r in readings if r.at_s >= 60 and r.rss_mb is not None]
    if len(later) < 2:
        return None
    first_s, last_s = later[0][0], later[-1][0]
    span_s = min(60.0, (last_s - first_s) / 2)
    begin = [rss_mb for at_s, rss_mb in later if at_s <= first_s + span_s]
    end = [rss_mb for at_s, rss_mb in later if at_s >= last_s - span_s]
    return statistics.median(end) - statistics.median(begin)


def _few(name: str, count: int, percent: float) -> Iterator[str]:
    beyond = count - rank(percent, count)
    if beyond < BEYOND and percent < 100:
        # The smallest count with BEYOND samples above the rank, up to one for the rounding.
        expected = math.ceil(round(BEYOND / (1 - percent / 100), 6))
        yield (
            f"few samples: p{percent:g} of {name} rests on {beyond} of {count} samples above it; "
            f"about {expected} samples are expected"
        )
    luck = [p for p in PERCENTILES.values() if p != percent and rank(p, count) == count]
    if luck:
        named = ", ".join(f"p{p:g}" for p in luck)
        yield f"few samples: {named} of {name} is the largest of {count} samples, nothing more"


def _outliers(name: str, values: NDArray[np.float64]) -> Iterator[str]:
    median = percentile(values, 50)
    # 1.4826: the median absolute deviation of a normal distribution is its sigma / 1.4826. The
    # floor of 1 % of the median keeps a very quiet machine from calling its own grain outliers.
    scale = max(1.4826 * percentile(np.abs(values - median), 50), 0.01 * median)
    far = values > median + OUTLIER * scale
    if far.any():
        yield (
            f"outliers: {int(far.sum())} of {values.size} samples of {name} are far above the "
            f"median of {median:.3g} ms, the largest is {values.max():.3g} ms (sample "
            f"{int(values.argmax())}); they count: the machine did something else meanwhile"
        )


def _drift(name: str, values: NDArray[np.float64]) -> Iterator[str]:
    half = values.size // 2
    if half < BEYOND:
        return
    ratio, low, high = ratio_interval(values[-half:], values[:half], 50)
    if abs(ratio - 1) > DRIFT and not low <= 1 <= high:
        word = "slower" if ratio > 1 else "faster"
        yield (
            f"drift: the second half of {name} is {100 * abs(ratio - 1):.0f} % {word} than the "
            f"first (medians): the machine warmed up, throttled or became busy; measure longer, "
            f"with a longer --warm-up"
        )


def shares_of_others(first: MachineReading, last: MachineReading) -> tuple[float, float] | None:
    """The shares of the machine's CPU time that other processes and the hypervisor took, by what
    /proc/stat counted between two readings; None where it says nothing."""
    names = ("machine_busy_s", "machine_s", "steal_s")
    pairs = [(getattr(first, name), getattr(last, name)) for name in names]
    if any(None in pair for pair in pairs):
        return None
    busy, passed, stolen = (after - before for before, after in pairs)
    if passed <= 0:
        return None
    return (busy - (last.cpu_s - first.cpu_s)) / passed, stolen / passed


def _others(first: MachineReading, last: MachineReading) -> Iterator[str]:
    """Doubts about other processes and the hypervisor."""
    found = shares_of_others(first, last)
    if found is None:
        return
    others, steal = found
    if others > OTHERS:
        yield (
            f"noisy machine: other processes used {100 * others:.0f} % of the machine's CPU time "
            f"(load {last.load}): stop them and measure again"
        )
    if steal > STEAL:
        yield (
            f"steal: the hypervisor gave {100 * steal:.0f} % of the CPU time to others: measure on "
            f"a machine of your own"
        )
