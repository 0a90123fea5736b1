"""Counts the CUDA kernels' global loads and stores in the simulation, beside their lower bound.

    python tests/cuda_on_cpu/traffic.py [--json FILE]

The lower bound reads every feature (the frame) once and writes the map (the image) once. ``bytes``
is what passes between memory and an L2 cache of 1 MiB in one call that finds it cold, tables and
arrays in between included; ``requested_bytes`` is what the warps ask for, in sectors of 32 bytes,
as if there were no cache. ``traffic.cpp`` has both definitions. Wants g++ and objcopy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from harness import HERE, HOST, KERNELS, Build, Case, anomaly_map_case, compile_object
from harness import nearest_case as make_nearest_case
from harness import preprocess_case as make_preprocess_case
from harness import whiten_case as make_whiten_case

from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams

SIZE = (256, 256)
FEATURES = {
    "EfficientNet-Lite0": ((24, 64, 64), (40, 32, 32), (112, 16, 16)),
    "WideResNet-50": ((256, 64, 64), (512, 32, 32), (1024, 16, 16)),
}
FRAMES = {"512x512x3 uint8": (512, 512, 3), "1920x1080x3 uint8": (1080, 1920, 3)}
MEMORY = (512, 152)  # rows, channels
PLACES = (112, 16, 16)  # of EfficientNet-Lite0, in regions of 2 x 2
LAUNCHES = {
    "anomaly_map": ("distances", "map", "pool"),
    "preprocess": ("preprocess",),
    "nearest": ("encode", "scan", "refine"),
    "whiten": ("whiten",),
}


def build(folder: Path, kernels: Sequence[Path] = KERNELS) -> Path:
    """run_cases with traffic.cpp: calls for the accesses of the kernels, and of nothing else."""
    plain = Build("g++", "plain")
    # Scalar replacement would split a vector load into four.
    counted = ("-fsanitize=thread", "-fno-tree-sra")
    sources = (*HOST, HERE / "cuda_on_cpu.cpp", HERE / "traffic.cpp")
    objects = [compile_object(plain, source, folder) for source in sources]
    objects += [compile_object(plain, source, folder, counted) for source in kernels]
    path = folder / "traffic"
    subprocess.run(["g++", *map(str, objects), "-o", str(path)], check=True)
    return path


def count(program: Path, case: Case, folder: Path) -> list[dict[str, Any]]:
    """What each launch requested of each array, and what of that reached memory."""
    (folder / "input").write_bytes(case.data)
    command = [str(program), str(folder / "input"), str(folder / "output"), "0"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def traffic(program: Path, folder: Path) -> list[dict[str, Any]]:
    """The kernels on workloads of the benchmark; nearest on an eighth of the memory."""
    rng = np.random.default_rng(0)
    rows = []
    for workload, shapes in FEATURES.items():
        pairs = [
            tuple(rng.standard_normal((1, *shape), np.float32) for _ in "ab") for shape in shapes
        ]
        counts = count(program, anomaly_map_case(pairs, MapParams(SIZE)), folder)
        values = 2 * sum(c * h * w for c, h, w in shapes) + SIZE[0] * SIZE[1]
        rows.append(summary("anomaly_map", workload, counts, 4 * values))
    for workload, shape in FRAMES.items():
        frame = rng.integers(0, 256, shape, np.uint8)
        counts = count(program, make_preprocess_case(frame, PreprocessParams(SIZE)), folder)
        lower = frame.nbytes + 4 * 3 * SIZE[0] * SIZE[1]
        rows.append(summary("preprocess", workload, counts, lower))
    memory = rng.standard_normal(MEMORY, np.float32)
    queries = rng.standard_normal((1, MEMORY[1], 32, 32), np.float32)
    counts = count(program, make_nearest_case(queries, memory), folder)
    lower = memory.nbytes + queries.nbytes + 4 * 32 * 32
    rows.append(summary("nearest", f"1024 x {MEMORY[0]} x {MEMORY[1]}", counts, lower))
    features, mean = (rng.standard_normal(shape, np.float32) for shape in ((1, *PLACES), PLACES))
    factors = rng.standard_normal((64, PLACES[0], PLACES[0]), np.float32)
    counts = count(program, make_whiten_case(features, mean, factors, 2), folder)
    lower = features.nbytes + mean.nbytes + factors.nbytes + 4 * 16 * 16
    rows.append(summary("whiten", "{}x{}x{}, 64 regions".format(*PLACES), counts, lower))
    return rows


def summary(kernel: str, workload: str, counts: list[dict[str, Any]], lower: int) -> dict[str, Any]:
    """One row: the totals, and beside them each launch with its arrays."""
    launches = []
    for number, launch in enumerate(LAUNCHES[kernel]):
        arrays: dict[str, dict[str, int]] = {}
        for found in (c for c in counts if c["launch"] == number):
            array = arrays.setdefault(found["array"], {"bytes": 0, "requested_bytes": 0})
            array["bytes"] += found["memory"]
            array["requested_bytes"] += found["requested"]
        launches.append({"launch": launch, "arrays": arrays})
    assert max(c["launch"] for c in counts) == len(launches) - 1
    return {
        "kernel": kernel,
        "workload": workload,
        "bytes": sum(c["memory"] for c in counts),
        "requested_bytes": sum(c["requested"] for c in counts),
        "lower_bound_bytes": lower,
        "launches": launches,
    }


def main() -> int:
    """Print a table, write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="all counts; - is the standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = traffic(build(Path(folder)), Path(folder))
    if args.json == "-":
        print(json.dumps(rows))
        return 0
    if args.json:
        Path(args.json).write_text(json.dumps(rows) + "\n")
    for row in rows:
        over = 100 * (row["bytes"] / row["lower_bound_bytes"] - 1)
        print(
            f"{row['kernel']:<12} {row['workload']:<19} {row['bytes']:>10} bytes, {over:+.1f} % on "
            f"the lower bound of {row['lower_bound_bytes']}; requested {row['requested_bytes']}"
        )
        for launch in row["launches"]:
            for name, array in launch["arrays"].items():
                counted = f"{array['bytes']:>10} bytes, requested {array['requested_bytes']}"
                print(f"    {launch['launch']:<10} {name:<9} {counted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
