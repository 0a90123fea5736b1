"""What ``isolate=True`` costs: ``Detector.score`` in another process beside the same in this one.

    python benchmarks/isolation.py NAME.edgead [--repeats N] [--threads N] [--json FILE]

Both score the same frames of noise in turns, by the CPU's engine in the same number of threads, so
that whatever else the machine does meets both alike. The cost is a copy of the frame and the map,
two messages and two changes of process, whatever the engine. Medians; raw samples are kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgead import Detector
from edgead.files import write_file

SIZES = ((512, 512), (1080, 1920))
WARM_UP = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", metavar="NAME.edgead")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write numbers and samples")
    args = parser.parse_args()
    found = [measure(args.bundle, size, args.repeats, args.threads) for size in SIZES]
    for one in found:
        print(
            f"frame {one['frame'][0]} x {one['frame'][1]} x 3: own {one['own_ms']:.3f} ms, "
            f"isolated {one['isolated_ms']:.3f} ms, {one['cost_ms']:+.3f} ms, "
            f"ratio {one['ratio']:.3f}"
        )
    if args.json:
        write_file(args.json, (json.dumps(found) + "\n").encode())


def measure(bundle: str, size: tuple[int, int], repeats: int, threads: int) -> dict[str, Any]:
    """Medians over ``repeats`` turns, in milliseconds."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    given: dict[str, Any] = {"device": "cpu", "threads": threads}
    samples: dict[str, list[float]] = {"own": [], "isolated": []}
    with Detector(bundle, **given) as own, Detector(bundle, **given, isolate=True) as isolated:
        for turn in range(-WARM_UP, repeats):
            # Who goes first changes with the turn: the second finds warmer caches.
            order = (("own", own), ("isolated", isolated))
            for name, detector in order if turn % 2 else order[::-1]:
                started = perf_counter()
                detector.score(frame)
                if turn >= 0:
                    samples[name].append(1e3 * (perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    pairs = zip(samples["isolated"], samples["own"], strict=True)
    return {
        "frame": list(frame.shape),
        "own_ms": medians["own"],
        "isolated_ms": medians["isolated"],
        "cost_ms": statistics.median(a - b for a, b in pairs),
        "ratio": medians["isolated"] / medians["own"],
        "samples_ms": samples,
    }


if __name__ == "__main__":
    main()
