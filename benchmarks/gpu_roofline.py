"""The CUDA kernels on this GPU beside what its memory allows, as JSON; a step of make gpu-check.

    python benchmarks/gpu_roofline.py [--repeats N]    times, and the bandwidth of a copy
    python benchmarks/gpu_roofline.py --once           every kernel once, for a profiler

The roof is measured, not looked up: how fast this device copies its own memory. A kernel's least
time is that of its useful bytes (each array once) at that speed; ``over_roof`` is how many times
longer it takes. nearest is bound by products, not by bytes: its row says how far. Shapes are those
of the demo, the first launches are not counted, and all samples are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgead import anomaly_map, preprocess
from edgead.anomaly_map import MapParams
from edgead.cli.main import guard
from edgead.preprocess import PreprocessParams

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "gpu"))

from on_device import OnDevice, open_device

SIZE = (256, 256)
LEVELS = ((24, 64, 64), (40, 32, 32), (112, 16, 16))
MEMORY = (4096, 152)
GRID = (32, 32)
COPIED = 256 * 2**20  # bytes; more than any cache holds
LAUNCHES = 20  # between two events: one launch is shorter than what an event resolves
WARM_UP = 3


@dataclass(frozen=True)
class Kernel:
    """A kernel ready to run: its name, each of its arrays counted once, and the launch."""

    name: str
    useful_bytes: int
    launch: Callable[[], None]


def main() -> int:
    """Print one JSON object."""
    args = _arguments()
    device = open_device()
    with device.memory.current():
        kernels = make_kernels(device)
        if args.once:
            for kernel in kernels:
                kernel.launch()
            device.stream.synchronize()
            return 0
        print(json.dumps(measure(device, kernels, args.repeats)))
    return 0


def measure(device: OnDevice, kernels: list[Kernel], repeats: int) -> dict[str, Any]:
    """Times of the kernels and of the copy, in turns: a clock that changes changes all of them."""
    there = [device.memory.allocate(COPIED) for _ in range(2)]
    copy = Kernel(
        "copy", 2 * COPIED, lambda: device.stream.copy(there[0].address, there[1].address, COPIED)
    )
    samples: dict[str, list[float]] = {kernel.name: [] for kernel in (copy, *kernels)}
    for turn in range(WARM_UP + repeats):
        for kernel in (copy, *kernels):
            milliseconds = time_of(device, kernel)
            if turn >= WARM_UP:
                samples[kernel.name].append(milliseconds)
    per_ms = copy.useful_bytes / median(samples["copy"])
    rows = []
    for kernel in kernels:
        found, least = samples[kernel.name], kernel.useful_bytes / per_ms
        rows.append({
            "kernel": kernel.name, "useful_bytes": kernel.useful_bytes, "ms": median(found),
            "least_ms": least, "over_roof": median(found) / least, "samples_ms": found,
        })  # fmt: skip
    return {
        "device": device.memory.name,
        "copy_gb_s": per_ms / 1e6,
        "copy_samples_ms": samples["copy"],
        "kernels": rows,
    }


def time_of(device: OnDevice, kernel: Kernel) -> float:
    """Milliseconds of one launch, of ``LAUNCHES`` one after the other."""
    events = device.kernels.Events(2)
    events.record(0, device.stream.handle)
    for _ in range(LAUNCHES):
        kernel.launch()
    events.record(1, device.stream.handle)
    device.stream.synchronize()
    return float(events.intervals_ms()[0]) / LAUNCHES


def make_kernels(device: OnDevice) -> list[Kernel]:
    """preprocess, anomaly_map and nearest with their arrays on the device."""
    rng = np.random.default_rng(0)
    return [_preprocess(device, rng), _anomaly_map(device, rng), _nearest(device, rng)]


def _preprocess(device: OnDevice, rng: np.random.Generator) -> Kernel:
    frame = rng.integers(0, 256, (512, 512, 3), np.uint8)
    given = preprocess.kernel_arguments(frame, PreprocessParams(SIZE), "bgr", np.float32, "NCHW")
    kernel, block = device.kernels.Preprocess(**given), device.up(frame)
    count = 4 * 3 * SIZE[0] * SIZE[1]
    image = device.memory.allocate(count)

    def launch() -> None:
        kernel.run(block.address, image.address, device.stream.handle)

    return Kernel("preprocess", frame.nbytes + count, launch)


def _anomaly_map(device: OnDevice, rng: np.random.Generator) -> Kernel:
    pairs = [rng.standard_normal((2, 1, *shape), np.float32) for shape in LEVELS]
    given = anomaly_map.kernel_arguments(MapParams(SIZE), LEVELS, np.float32, "NCHW", None)
    kernel = device.kernels.AnomalyMap(**given, batch=1)
    blocks = [(device.up(pair[0]), device.up(pair[1])) for pair in pairs]
    addresses = [(a.address, b.address) for a, b in blocks]
    found, score = device.memory.allocate(4 * SIZE[0] * SIZE[1]), device.memory.allocate(4)

    def launch() -> None:
        _ = blocks  # the addresses are theirs
        kernel.run(addresses, found.address, score.address, device.stream.handle)

    return Kernel("anomaly_map", sum(p.nbytes for p in pairs) + 4 * SIZE[0] * SIZE[1], launch)


def _nearest(device: OnDevice, rng: np.random.Generator) -> Kernel:
    queries = rng.standard_normal((1, MEMORY[1], *GRID), np.float32)
    memory = rng.standard_normal(MEMORY, np.float32)
    kernel = device.kernels.Nearest(
        memory, None, positions=GRID[0] * GRID[1], width=GRID[1], weights=[1.0], blended=0,
        temperature=0.0, root=False, type=0, layout=0, channels=MEMORY[1], rows=MEMORY[0],
        memory_type=0,
    )  # fmt: skip
    held = device.up(memory), device.up(queries)
    distance = device.memory.allocate(4 * GRID[0] * GRID[1])
    workspace = device.memory.allocate(kernel.workspace_bytes(1))

    def launch() -> None:
        kernel.run(
            held[0].address, 0, held[1].address, 1, 0, 0, 0, distance.address, 0, 0, False,
            workspace.address, device.stream.handle,
        )  # fmt: skip

    return Kernel("nearest", queries.nbytes + memory.nbytes + 4 * GRID[0] * GRID[1], launch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=30, metavar="N", help="default %(default)s")
    parser.add_argument("--once", action="store_true", help="run every kernel once, time nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guard(main))
