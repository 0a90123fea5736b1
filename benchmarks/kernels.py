"""preprocess and anomaly_map beside what one would write without them.

    python benchmarks/kernels.py [--repeats N] [--json FILE]

Kernel and peer run in turns in one process, so that whatever else the machine does meets both;
the numbers are medians, ratio is peer time over kernel time. Every instruction set of this machine
is a path of its own. FILE keeps all samples. Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from edgead import _cpu, reference
from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.files import write_file
from edgead.machine import processor_name
from edgead.preprocess import Preprocessor, PreprocessParams

MAP_SIZE = (256, 256)
FRAMES = {"512x512x3 uint8": (512, 512, 3), "1920x1080x3 uint8": (1080, 1920, 3)}
FEATURES = {
    "EfficientNet-Lite0": ((24, 64, 64), (40, 32, 32), (112, 16, 16)),
    "WideResNet-50": ((256, 64, 64), (512, 32, 32), (1024, 16, 16)),
}
PEER_THREADS = {"torch eager": 2}

Work = Callable[[], Any]


def main() -> int:
    """Measure everything, print a table, write the file."""
    args = _arguments()
    cv2.setNumThreads(1)
    results = []
    for measured in (*preprocess_cases(), *anomaly_map_cases()):
        results.append(time_in_turns(*measured, repeats=args.repeats))
        _print(results[-1], header=len(results) == 1)
    if args.json:
        found = {"machine": machine(), "results": results, "traffic": []}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.json, (json.dumps(found) + "\n").encode())
    return 0


def time_in_turns(
    case: dict[str, Any], kernel: Work, peer: Work, *, repeats: int
) -> dict[str, Any]:
    """``case`` with the samples of both in milliseconds, their medians and the ratio."""
    samples: dict[str, list[float]] = {"kernel": [], "peer": []}
    for turn in range(-5, repeats):  # the first five warm caches and clocks up
        # Who goes first changes with the turn: the second finds warmer caches.
        for name in ("kernel", "peer") if turn % 2 else ("peer", "kernel"):
            work = kernel if name == "kernel" else peer
            started = perf_counter()
            work()
            if turn >= 0:
                samples[name].append(1e3 * (perf_counter() - started))
    median, peer_median = (statistics.median(samples[name]) for name in ("kernel", "peer"))
    return {
        **case,
        "threads": 1,
        "median_ms": median,
        "samples_ms": samples["kernel"],
        "peer_threads": PEER_THREADS.get(case["peer"], 1),
        "peer_median_ms": peer_median,
        "peer_samples_ms": samples["peer"],
        "ratio": peer_median / median,
    }


def preprocess_cases() -> list[tuple[dict[str, Any], Work, Work]]:
    """Each frame, path and peer."""
    params = PreprocessParams(MAP_SIZE)
    mean, std = np.float32(params.mean), np.float32(params.std)
    cases = []
    for workload, shape in FRAMES.items():
        frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        expected = reference.preprocess(frame, params)

        def resized(frame: Any = frame) -> Any:
            return cv2.resize(frame, MAP_SIZE[::-1], interpolation=cv2.INTER_AREA)

        def normalised(resized: Work = resized) -> Any:
            image = resized()[:, :, ::-1].astype(np.float32) / np.float32(255)
            return np.ascontiguousarray(((image - mean) / std).transpose(2, 0, 1))

        peers = {
            "cv2.resize INTER_AREA alone": resized,
            "cv2.resize + NumPy normalise + transpose": normalised,
        }
        for path in _cpu.simd_paths():
            kernel = Preprocessor(params, simd=path)
            out = np.empty((3, *MAP_SIZE), np.float32)
            case = {"kernel": "preprocess", "workload": workload, "path": path}
            case["max_error"] = float(np.abs(kernel(frame, out) - expected).max())
            for peer, work in peers.items():
                cases.append(({**case, "peer": peer}, _bind(kernel, frame, out), work))
    return cases


def anomaly_map_cases() -> list[tuple[dict[str, Any], Work, Work]]:
    """Each set of features, path and peer."""
    params = MapParams(MAP_SIZE)
    cases = []
    for workload, shapes in FEATURES.items():
        rng = np.random.default_rng(0)
        pairs = [tuple(rng.standard_normal((1, *s), np.float32) for _ in "ab") for s in shapes]
        expected, _ = reference.anomaly_map(pairs, params)
        peers = {"numpy.sum of the features": _bind(_read, pairs)}
        if (eager := torch_eager(pairs, params)) is not None:
            peers["torch eager"] = eager
        for path in _cpu.simd_paths():
            kernel = AnomalyMap(params, shapes, simd=path)
            out = np.empty((1, *MAP_SIZE), np.float32)
            case = {"kernel": "anomaly_map", "workload": workload, "path": path}
            case["max_error"] = float(np.abs(kernel(pairs, out)[0] - expected).max())
            for peer, work in peers.items():
                cases.append(({**case, "peer": peer}, _bind(kernel, pairs, out), work))
    return cases


def torch_eager(pairs: list[Any], params: MapParams) -> Work | None:
    """cosine_similarity, interpolate, add, Gaussian, amax on two threads; None without torch."""
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        print("kernels: torch is not installed, that peer is left out", file=sys.stderr)
        return None
    torch.set_num_threads(PEER_THREADS["torch eager"])
    tensors = [tuple(torch.from_numpy(array) for array in pair) for pair in pairs]
    radius = int(4 * params.blur_sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / params.blur_sigma) ** 2)
    taps = (taps / taps.sum()).float()

    @torch.inference_mode()
    def work() -> Any:
        fused = 0
        for (a, b), weight in zip(tensors, params.weights, strict=True):
            d = 1 - functional.cosine_similarity(a, b)[:, None]
            fused = fused + weight * functional.interpolate(d, params.size, mode="bilinear")
        padded = functional.pad(fused, [radius] * 4, mode="replicate")
        blurred = functional.conv2d(padded, taps[None, None, :, None])
        return functional.conv2d(blurred, taps[None, None, None, :]).amax()

    return work


def _read(pairs: list[Any]) -> None:
    for pair in pairs:
        for array in pair:
            array.sum()


def _bind(work: Callable[..., Any], *args: Any) -> Work:
    return lambda: work(*args)


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
    }


def _print(result: dict[str, Any], *, header: bool) -> None:
    row = "{:<12} {:<19} {:<9} {:>9} {:>9}  {:<41} {:>9} {:>7}"
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
    parser.add_argument("--repeats", type=int, default=100, metavar="N", help="turns, 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="machine and all samples")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}, wanted at least 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
