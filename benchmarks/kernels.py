"""preprocess, anomaly_map, nearest and whiten beside what one would write without them.

    python benchmarks/kernels.py [--only KERNEL] [--repeats N] [--json FILE] [--data FOLDER]

Kernel and peer run in turns in one process, so that whatever else the machine does meets both;
the numbers are medians, ratio is peer time over kernel time. Every instruction set of this machine
is a path of its own. FILE keeps all samples. Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import kernels_anomaly_map
import kernels_nearest
import kernels_preprocess
import kernels_whiten
import numpy as np
from turns import time_in_turns

from edgead import _cpu
from edgead.cpu.processor import processor_name
from edgead.files import write_file

CASES = {
    "preprocess": lambda _: kernels_preprocess.cases(),
    "anomaly_map": lambda _: kernels_anomaly_map.cases(),
    "nearest": kernels_nearest.cases,
    "whiten": lambda _: kernels_whiten.cases(),
}


def main() -> int:
    """Measure, print a table, write the file."""
    args = _arguments()
    results = []
    for name in args.only or CASES:
        for case in CASES[name](args.data):
            results.append(time_in_turns(case, args.repeats))
            _print(results[-1], header=len(results) == 1)
    if args.json:
        found = {"machine": machine(), "results": results, "traffic": traffic()}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.json, (json.dumps(found) + "\n").encode())
    return 0


def traffic() -> list[dict[str, Any]]:
    """The CUDA kernels' global loads and stores, counted in the simulation of tests/cuda_on_cpu."""
    if shutil.which("g++") is None or shutil.which("objcopy") is None:
        print("kernels: no g++ or no objcopy, the traffic is left out", file=sys.stderr)
        return []
    script = Path(__file__).resolve().parents[1] / "tests" / "cuda_on_cpu" / "traffic.py"
    command = [sys.executable, str(script), "--json", "-"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def machine() -> dict[str, Any]:
    """What the numbers belong to."""
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "paths": _cpu.simd_paths(),
        "nearest_paths": _cpu.nearest_paths(),
    }


def _print(result: dict[str, Any], *, header: bool) -> None:
    row = "{:<11} {:<45} {:<10} {:>8} {:>7}  {:<40} {:>8} {:>6}"
    if header:
        print(row.format("kernel", "workload", "path", "ms", "error", "peer", "ms", "ratio"))
    times = [f"{result[name]:.3f}" for name in ("median_ms", "peer_median_ms")]
    error, ratio = f"{result['max_error']:.1e}", f"{result['ratio']:.2f}"
    names = [result[name] for name in ("kernel", "workload", "path")]
    print(row.format(*names, times[0], error, result["peer"], times[1], ratio), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=CASES, help="one kernel, not all")
    parser.add_argument("--repeats", type=int, default=100, metavar="N", help="turns, 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="machine and all samples")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="sets in MVTec AD's layout: real features"
    )
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}, expected at least 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
