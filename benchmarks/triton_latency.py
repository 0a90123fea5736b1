"""What Triton adds to ``Detector.score``, one client, in turns on this machine.

    .scale/bin/python benchmarks/triton_latency.py NAME.edgead [--frame HxW] [--repeats N] [--json]

``make test-scale`` makes .scale. The tritonserver of nvidia-pytriton serves the bundle in its
Python backend. In each turn the same frame is scored by a Detector of this process, and by the
server: sent by gRPC, and lying in shared memory, where a camera would have put it. Only SCORE is
asked for, and also MAP. The Detector has the same number of threads in both. The bar is 1 ms at
the median with one client, of the better way, for the score alone; exit code 4 when it is missed.
--json adds to benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from scale_results import keep
from tritonclient.utils import shared_memory

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.monitoring.percentiles import percentile
from edgead.scale.triton.repository import RepositoryOptions, write_repository

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/scale"))
from triton_server import tritonserver

BAR_MS, MISSED, WARM_UP = 1.0, 4, 20


def main() -> int:
    """Measure, print; see the module's docstring for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--frame", type=_size, default=(480, 640), metavar="HxW")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*args.frame, 3), np.uint8) for _ in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        options = RepositoryOptions(threads=args.threads)
        bundle = open_bundle(args.bundle)
        write_repository([bundle], f"{folder}/models", options)
        with tritonserver(Path(folder, "models"), Path(folder)) as (url, _):
            found = measure(url, bundle.path.stem, Path(args.bundle), frames, args)
    base = statistics.median(found["Detector.score"])
    added = {way: statistics.median(ms) - base for way, ms in found.items()}
    for way, samples in found.items():
        print(
            f"{way:<38} p50 {percentile(samples, 50):7.3f} ms  "
            f"p99 {percentile(samples, 99):7.3f} ms  adds {added[way]:+.3f} ms at the median"
        )
    if args.json:
        told = {"frame": list(args.frame), "threads": args.threads, "bundle": bundle.path.stem}
        keep(
            "triton_latency", {**told, "bar_ms": BAR_MS, "added_p50_ms": added, "samples_ms": found}
        )
    best = min(added["Triton, gRPC, score"], added["Triton, shared memory, score"])
    return MISSED if best > BAR_MS else 0


def measure(
    url: str, name: str, bundle: Path, frames: list[Any], args: argparse.Namespace
) -> dict[str, list[float]]:
    """Milliseconds of each way, sample i of all from turn i; scores are compared on the way."""
    client = triton.InferenceServerClient(url)
    size = frames[0].nbytes
    region = shared_memory.create_shared_memory_region("frame", "/edgead_latency", size)
    client.register_system_shared_memory("frame", "/edgead_latency", size)
    detector = Detector(bundle, device="cpu", threads=args.threads)

    def sent(frame: Any) -> Any:
        given = triton.InferInput("FRAME", [1, *frame.shape], "UINT8")
        given.set_data_from_numpy(frame[None])
        return given

    given = triton.InferInput("FRAME", [1, *frames[0].shape], "UINT8")
    given.set_shared_memory("frame", size)

    def shared(_: Any) -> Any:
        return given

    def by(give: Callable[[Any], Any], *names: str) -> Callable[[Any], float]:
        asked = [triton.InferRequestedOutput(one) for one in names]
        return lambda frame: float(
            client.infer(name, [give(frame)], outputs=asked).as_numpy("SCORE")[0, 0]
        )

    ways: dict[str, Callable[[Any], float]] = {
        "Detector.score": lambda frame: detector.score(frame).score,
        "Triton, gRPC, score": by(sent, "SCORE"),
        "Triton, gRPC, score and map": by(sent, "SCORE", "MAP"),
        "Triton, shared memory, score": by(shared, "SCORE"),
        "Triton, shared memory, score and map": by(shared, "SCORE", "MAP"),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    try:
        for turn in range(-WARM_UP, args.repeats):
            frame = frames[turn % len(frames)]
            scores = set()
            shared_memory.set_shared_memory_region(region, [frame])
            for way, score in ways.items():
                before = perf_counter()
                scores.add(score(frame))
                if turn >= 0:
                    found[way].append(1e3 * (perf_counter() - before))
            if len(scores) != 1:
                raise SystemExit(f"scores differ: {scores}")
    finally:
        client.unregister_system_shared_memory("frame")
        shared_memory.destroy_shared_memory_region(region)
    return found


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(main())
