"""Is the queueing model of docs/throughput.md right? Cameras before Detectors, simulated and real.

    python benchmarks/throughput.py NAME.edgead [--hz 10] [--seconds 15] [--json]
    python benchmarks/throughput.py NAME.edgead --table [--json]

First the times of a frame are measured with every Detector busy. Then cameras send frames at three
loads, from light to more than the machine can do, by the clock and before real Detectors; the
model is given the same arrivals and the measured times. Beside each other: the share of frames
dropped, and percentiles of the latency.

--table: how many cameras a machine carries that takes so many milliseconds for a frame, for as
many Detectors. It is simulated; how times spread around their median is measured here.
--json adds to benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
from scale_results import keep

from edgead import Detector
from edgead.bench import queueing
from edgead.bench.throughput import Way, saturate
from edgead.cpu.processor import cores

LOADS = (0.4, 0.8, 1.3)
TIMES_MS, DETECTORS, RATES_HZ = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0), (1, 2, 8), (5.0, 10.0, 30.0)


def main() -> int:
    """Measure both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--frame", default="480x640", metavar="HxW")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    height, width = map(int, args.frame.split("x"))
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(8)]
    if args.table:
        return table(args, frames)
    rows: list[dict[str, Any]] = []
    print(
        "Detectors  cameras   load  dropped: model  real    p50 ms: model   real    "
        "p99 ms: model   real"
    )
    for detectors in sorted({1, cores()}):
        opened = [Detector(args.bundle, device="cpu", threads=1) for _ in range(detectors)]
        calls = [one.score for one in opened]
        for load in LOADS:
            way = Way("", list(calls), detectors, 1)
            saturate(way, frames, args.seconds / 3)  # again each time: the machine changes
            most = detectors / (np.mean(way.latency_ms) / 1e3)
            cameras = max(1, round(load * most / args.hz))
            same = {"seconds": args.seconds, "seed": cameras}
            model = queueing.simulate(way.latency_ms, detectors, cameras, args.hz, **same)
            real = queueing.measure(calls, frames, cameras, args.hz, **same)
            row = {
                "detectors": detectors,
                "cameras": cameras,
                "load": cameras * args.hz / most,
                "service_ms": way.latency_ms,
                "model": model.to_json(),
                "real": {**real.to_json(), "samples_ms": real.latency_ms},
                "machine_load": os.getloadavg()[0],
            }
            rows.append(row)
            told = " ".join(
                f"{row['model'].get(key, 0):14.2f} {row['real'].get(key, 0):6.2f}  "
                for key in ("dropped", "p50_ms", "p99_ms")
            )
            print(f"{detectors:9}  {cameras:7}  {row['load']:5.2f} {told}")
        for one in opened:
            one.close()
    if args.json:
        keep("queueing_model", {"hz": args.hz, "frame": [height, width], "rows": rows})
    return 0


def table(args: argparse.Namespace, frames: list[Any]) -> int:
    """Cameras for milliseconds per frame and numbers of Detectors, as Markdown."""
    with Detector(args.bundle, device="cpu", threads=1) as detector:
        way = Way("", [detector.score], 1, 1)
        saturate(way, frames, args.seconds)
    shape = np.asarray(way.latency_ms) / np.median(way.latency_ms)
    rows = []
    print(f"| ms per frame | Detectors | {' | '.join(f'{hz:g} frames/s' for hz in RATES_HZ)} |")
    for ms in TIMES_MS:
        for detectors in DETECTORS:
            found = [queueing.most_cameras(ms * shape, detectors, hz) for hz in RATES_HZ]
            rows.append({"ms": ms, "detectors": detectors, "cameras": found})
            print(f"| {ms:g} | {detectors} | {' | '.join(map(str, found))} |")
    if args.json:
        told = {"rates_hz": RATES_HZ, "rows": rows, "shape": shape.tolist()}
        keep("cameras_simulated", told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
