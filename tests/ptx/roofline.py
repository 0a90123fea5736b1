"""The kernels on a Jetson Orin Nano, on paper: bytes and instructions counted, time from peaks.

    python tests/ptx/roofline.py [BACKBONE.onnx]

Runs the PTX that nvcc makes for compute_87 in the interpreter, at the demo's shapes, and counts
what the warps execute and ask memory for. A kernel's least time is the longer of two: its useful
bytes (each array once) at the module's bandwidth, and the sum over its launches of what they
execute: instructions at one for each scheduler and cycle, or the products of tensor cores at
their peak, whichever is longer. Of nearest an eighth of the positions is run and counted eight
times. PTX is not what the device executes: ptxas turns some instructions into several and drops
others. Of a BACKBONE (`edgead backbone`) in float16: for each product the longer of its arrays once
and its multiply-adds on tensor cores; beside it stands each kernel's share. Nothing is measured.
"""

from __future__ import annotations

import sys
import tempfile
from math import prod
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from compiled_kernels import Device, build  # its folders come first

from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams

# Jetson Orin Nano 8GB: 8 multiprocessors with 4 schedulers each at 625 MHz, LPDDR5 at 68 GB/s, and
# 20 dense int8 TOPS, so 10 in float16 (docs/notes/performance.md has the source).
BANDWIDTH, SCHEDULERS, CLOCK, HALF_PEAK, BYTE_PEAK = 68e9, 32, 625e6, 10e12, 20e12
SIZE = (256, 256)
LEVELS = ((24, 64, 64), (40, 32, 32), (112, 16, 16))
MEMORY = (4096, 152)
SECTOR = 32


def main() -> int:
    """Print a line for each kernel, and for the backbone."""
    backbone = backbone_seconds(Path(sys.argv[1]).read_bytes()) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        for kernel, (case, useful, times) in cases().items():
            device = Device.of(folder, count_traffic=True, races=False)
            device.run(case, folder)
            counts = [traffic for _, traffic in device.traffic]
            asked = times * SECTOR * sum(sum(traffic.sectors.values()) for traffic in counts)
            executed = times * sum(traffic.instructions for traffic in counts)
            products = times * sum(traffic.multiply_adds for traffic in counts)
            busy = times * sum(map(seconds_of, counts))
            seconds = max(useful / BANDWIDTH, busy)
            share = "" if backbone is None else f", {seconds / backbone:.0%} of the backbone"
            print(
                f"{kernel:<12} useful {useful:>9} bytes, asked for {asked:>9} in sectors, "
                f"{executed:>9} warp instructions, {products:>9} multiply-adds of bytes: "
                f"{1e6 * useful / BANDWIDTH:.1f} us of memory, {1e6 * busy:.1f} us busy{share}",
                flush=True,
            )
    if backbone is not None:
        print(f"{'backbone':<12} {1e6 * backbone:.0f} us in float16")
    return 0


def seconds_of(launch):
    """The least time of one launch's instructions and products, which go on side by side."""
    issued = launch.instructions / (SCHEDULERS * CLOCK)
    return max(issued, 2 * launch.multiply_adds / BYTE_PEAK)


def cases():
    """By kernel, at the demo's shapes: the case, its useful bytes, and what counts are times."""
    from harness import anomaly_map_case, nearest_case, preprocess_case

    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (512, 512, 3), np.uint8)
    pairs = [tuple(rng.standard_normal((2, 1, *s), np.float32)) for s in LEVELS]
    queries = rng.standard_normal((1, MEMORY[1], 32, 32), np.float32)
    memory = rng.standard_normal(MEMORY, np.float32)
    pixels = prod(SIZE)
    return {
        "preprocess": (
            preprocess_case(frame, PreprocessParams(SIZE)),
            frame.nbytes + 12 * pixels,
            1,
        ),
        "anomaly_map": (
            anomaly_map_case(pairs, MapParams(SIZE)),
            sum(a.nbytes + b.nbytes for a, b in pairs) + 4 * pixels,
            1,
        ),
        "nearest": (
            nearest_case(np.ascontiguousarray(queries[:, :, :4]), memory),
            queries.nbytes + memory.nbytes + 4 * 32 * 32,
            8,
        ),
    }


def backbone_seconds(model: bytes) -> float:
    """The least time of an ONNX graph's convolutions and matrix products, one after the other."""
    import openvino

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from multiply_adds import multiply_adds

    graph = openvino.Core().read_model(model)
    image = graph.inputs[0]
    sides = [side.get_length() if side.is_static else 256 for side in image.partial_shape]
    graph.reshape({image: [1, *sides[1:]]})
    seconds = 0.0
    for operator in graph.get_ops():
        if (products := multiply_adds(operator)) == 0:
            continue
        arrays = [*operator.inputs(), *operator.outputs()]
        moved = 2 * sum(prod(array.get_shape()) for array in arrays)
        seconds += max(moved / BANDWIDTH, 2 * products / HALF_PEAK)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
