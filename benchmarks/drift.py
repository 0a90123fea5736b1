"""False alarms and delays of edgead.Drift, by simulation: the table in docs/notes/drift.md.

    python benchmarks/drift.py [RUNS]

Calibration and good frames are normal with deviation 1; a change moves the mean or the deviation.
False alarms are counted over HORIZON frames; delays, at the default rate of 1 %, are frames from
the change to the alarm, counted up to LONGEST.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np

from edgead import Drift

HORIZON, LONGEST = 3000, 2000
CHANGES = {
    "mean + 0.5": (0.5, 1.0),
    "mean + 1": (1.0, 1.0),
    "mean + 2": (2.0, 1.0),
    "mean + 5": (5.0, 1.0),
    "mean - 0.5": (-0.5, 1.0),
    "mean - 1": (-1.0, 1.0),
    "mean - 2": (-2.0, 1.0),
    "deviation x 2": (0.0, 2.0),
    "deviation / 2": (0.0, 0.5),
}


def start(rng: np.random.Generator, n: int, **settings: float) -> Drift:
    """A test against n calibration scores; a false-reject rate of 5 %."""
    calibration = SimpleNamespace(scores=tuple(rng.normal(size=n)), false_reject_rate=0.05)
    bundle = SimpleNamespace(manifest=SimpleNamespace(calibration=calibration))
    return Drift(bundle, **settings)  # type: ignore[arg-type]


def false_alarms(n: int, runs: int, rate: float) -> float:
    """Share of runs with an alarm within HORIZON good frames."""
    rng, count = np.random.default_rng(n), 0
    for _ in range(runs):
        test = start(rng, n, false_alarm_rate=rate)
        count += any(test.update(score) for score in rng.normal(size=HORIZON).tolist())
    return count / runs


def delays(n: int, runs: int, mean: float, deviation: float, before: int) -> list[int]:
    """Frames from the change, after ``before`` good ones, to the alarm; LONGEST for none."""
    rng, found = np.random.default_rng(n + before), []
    for _ in range(runs):
        test = start(rng, n)
        for score in rng.normal(size=before).tolist():
            test.update(score)
        stream = enumerate(rng.normal(mean, deviation, LONGEST).tolist(), 1)
        found.append(next((frame for frame, score in stream if test.update(score)), LONGEST))
    return found


def main() -> None:
    """Print both tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for rate in (0.01, 0.2):
        for n in (20, 100):
            reached = false_alarms(n, runs, rate)
            print(f"n = {n}, stated {rate:g}: {reached:g} of {runs} runs of {HORIZON} frames")
    print("change         | n = 20 | 100 | 1000 | 100, after 2000 good   (median delay, frames)")
    for name, (mean, deviation) in CHANGES.items():
        cells = [delays(n, runs // 5, mean, deviation, 0) for n in (20, 100, 1000)]
        cells.append(delays(100, runs // 5, mean, deviation, 2000))
        medians = [float(np.median(cell)) for cell in cells]
        shown = [f"{m:.0f}" if m < LONGEST else f"> {LONGEST}" for m in medians]
        print(f"{name:14} | " + " | ".join(shown), flush=True)


if __name__ == "__main__":
    main()
