"""How far the kernels are from float64: the tables of docs/notes/numerics.md, on standard output.

    python benchmarks/numerics.py

Nothing is timed. Every instruction set of this machine gets a column.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from kernels_anomaly_map import FEATURES, SIZE, features

from edgead import _cpu, reference
from edgead.anomaly_map import DISTANCES, DTYPES, FUSIONS, LAYOUTS, POOLINGS, AnomalyMap, MapParams
from edgead.preprocess import Preprocessor, PreprocessParams

ODD_SIZES = ((1, 1), (7, 5), (33, 129), (3, 1000))
FRAMES = ((512, 512, 3), (1080, 1920, 3))
PATHS = _cpu.simd_paths()


@dataclass
class Error:
    """Largest distances from float64: of the map's pixels, of them as a share of the map's largest
    pixel, and of the score as a share of the score."""

    pixel: float = 0.0
    share: float = 0.0
    score: float = 0.0

    def add(self, found: Any, exact: Any) -> None:
        """Take in (maps, scores) and what they should be."""
        for values, expected in zip(found[0], exact[0], strict=True):
            off = float(np.abs(values - expected).max())
            self.pixel = max(self.pixel, off)
            self.share = max(self.share, off / max(float(expected.max()), 1e-30))
        off_score = np.abs(found[1] - exact[1]) / np.maximum(exact[1], 1e-30)
        self.score = max(self.score, float(off_score.max()))


def main() -> int:
    """Print both tables."""
    _row("anomaly_map", "distance", "features", *PATHS)
    _row(*["---"] * (3 + len(PATHS)))
    for workload in (*FEATURES, "random odd sizes"):
        for distance in DISTANCES:
            for dtype in DTYPES:
                errors = {path: Error() for path in PATHS}
                for pairs, params in map_cases(workload, distance, dtype):
                    measure_map(pairs, params, errors)
                cells = [f"{e.pixel:.1e} · {e.share:.1e} · {e.score:.1e}" for e in errors.values()]
                _row(workload, distance, dtype, *cells)
    print()
    _row("preprocess", "frame", "image", "bits that differ", "from the unrounded filter")
    _row(*["---"] * 5)
    for shape in FRAMES:
        for depth in (np.uint8, np.uint16):
            for dtype in DTYPES:
                bits, far = measure_preprocess(shape, depth, dtype)
                name = f"{shape[1]}x{shape[0]}x{shape[2]} {np.dtype(depth)}"
                _row("to 256x256", name, dtype, f"{bits}", f"{far:.1e}")
    return 0


def map_cases(workload: str, distance: str, dtype: str) -> Iterator[tuple[Any, MapParams]]:
    """Pairs [N, C, H, W] of ``dtype`` and settings."""
    if workload in FEATURES:
        yield features(FEATURES[workload], dtype), MapParams(SIZE, distance)
        return
    rng = np.random.default_rng(1)
    for turn in range(64):
        levels = int(rng.integers(1, 4))
        shapes = [tuple(int(n) for n in rng.integers(1, (65, 40, 40))) for _ in range(levels)]
        yield (
            features(shapes, dtype),
            MapParams(
                ODD_SIZES[turn % 4],
                distance,
                tuple(rng.uniform(0.1, 1.0, levels)),
                FUSIONS[turn // 4 % 2],
                align_corners=bool(turn // 8 % 2),
                blur_sigma=(0.0, 1.0, 4.0)[turn % 3],
                pooling=POOLINGS[turn // 3 % 3],
                top_k=0.05,
            ),
        )


def measure_map(pairs: Any, params: MapParams, errors: dict[str, Error]) -> None:
    """Add what each path and layout makes of one case."""
    exact = reference.anomaly_map(pairs, params)
    shapes = [a.shape[1:] for a, _ in pairs]
    for path, error in errors.items():
        for layout in LAYOUTS:
            order = (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)
            held = [tuple(np.ascontiguousarray(a.transpose(order)) for a in p) for p in pairs]
            dtype = pairs[0][0].dtype
            kernel = AnomalyMap(params, shapes, dtype=dtype, layout=layout, simd=path)
            error.add(kernel.run(held), exact)


def measure_preprocess(shape: Any, depth: Any, dtype: str) -> tuple[int, float]:
    """Values that differ from the reference over all paths and layouts; and the largest distance,
    where black is 0 and white is 1, from the same filter without any rounding."""
    top = np.iinfo(depth).max
    frame = np.random.default_rng(0).integers(0, top, shape, depth, endpoint=True)
    params = PreprocessParams(SIZE)
    expected = reference.preprocess(frame, params, color="rgb").astype(dtype)
    differ = 0
    for path in PATHS:
        for layout in LAYOUTS:
            image = Preprocessor(params, "rgb", dtype=dtype, layout=layout, simd=path).run(frame)
            planes = image if layout == "NCHW" else image.transpose(2, 0, 1)
            bits = f"u{expected.itemsize}"
            differ += int((np.ascontiguousarray(planes).view(bits) != expected.view(bits)).sum())
    plain = replace(params, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    rows, columns = (reference.resize_weights(shape[i], SIZE[i], quantised=False) for i in range(2))
    exact = rows @ (frame.transpose(2, 0, 1) / top) @ columns.T
    return differ, float(np.abs(Preprocessor(plain, "rgb", dtype=dtype).run(frame) - exact).max())


def _row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
