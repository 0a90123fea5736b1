"""What a Detector costs on top of the bare engine: ``Detector.score`` beside inference alone.

    python benchmarks/overhead.py NAME.edgead [--frame HxW] [--repeats N] [--check] [--json FILE]

--device cuda: bare inference there has the image and the pairs in host memory, copies included.
--precision P: ``Detector.score`` in it, beside bare inference in float32 all the same.
--images DIR: real frames, brought to --frame in colour; else noise, to which no memory is near, so
that the kernel ``nearest`` can leave out least.

Both run the same compiled graph in turns in one process, so that whatever else the machine does
meets both alike; the numbers are medians. The budget of a 512 x 512 colour frame is 1.25 times
the bare inference; with --check, exit code 4 says that it was passed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead import Detector, EdgeadError
from edgead.engine.interface import Engine
from edgead.files import write_file
from edgead.images import list_images, read_image

BUDGET = 1.25
MOST_FRAMES = 16


def main() -> int:
    """Parse, measure, print; see the module's docstring for the exit code."""
    args = _arguments()
    try:
        given = {"device": args.device, "threads": args.threads}
        detector = Detector(args.bundle, **given, precision=args.precision)
        exact = Detector(args.bundle, **given, precision="float32") if args.precision else detector
        frames = [np.random.default_rng(0).integers(0, 256, (*args.frame, 3), np.uint8)]
        if args.images is not None:
            frames = read_frames(list_images(args.images), args.frame)
    except EdgeadError as error:
        print(f"overhead: {error}", file=sys.stderr)
        return error.exit_code
    found = measure(detector, frames, args.repeats, exact.engine)
    _print(found)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.json, (json.dumps(found, indent=2) + "\n").encode())
    return 4 if args.check and found["ratio"] > BUDGET else 0


def read_frames(paths: Sequence[Path], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """At most ``MOST_FRAMES`` images, evenly chosen, in colour and of ``size``."""
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, MOST_FRAMES).astype(int)]
    frames = []
    for path in chosen:
        frame = cv2.resize(read_image(path), size[::-1], interpolation=cv2.INTER_AREA)
        frames.append(frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2))
    return frames


def measure(
    detector: Detector,
    frames: Sequence[NDArray[np.uint8]],
    repeats: int,
    bare_engine: Engine | None = None,
) -> dict[str, Any]:
    """Medians over ``repeats`` turns, in milliseconds; a frame of ``frames``, all alike, a turn.

    Bare inference is of ``bare_engine``, or else of that of ``detector``.
    """
    bare = (bare_engine or detector.engine).session()
    bare.image[...] = np.random.default_rng(1).normal(size=bare.image.shape)
    for turn in range(20):
        bare.infer()
        detector.score(frames[turn % len(frames)])
    bare_ms, score_ms, stages = [], [], []
    for turn in range(repeats):
        # Who goes first changes with the turn: the second finds warmer caches.
        for work in ("bare", "score") if turn % 2 else ("score", "bare"):
            started = perf_counter()
            if work == "bare":
                bare.infer()
                bare_ms.append(1e3 * (perf_counter() - started))
            else:
                result = detector.score(frames[turn % len(frames)])
                score_ms.append(1e3 * (perf_counter() - started))
                stages.append(result.timings_ms)
    medians = {name: statistics.median(stage[name] for stage in stages) for name in stages[0]}
    own = [
        total - sum(value for name, value in stage.items() if name != "total")
        for total, stage in zip(score_ms, stages, strict=True)
    ]
    return {
        **detector.info(),
        "frame": list(frames[0].shape),
        "repeats": repeats,
        "bare_ms": statistics.median(bare_ms),
        "score_ms": statistics.median(score_ms),
        "ratio": statistics.median(score_ms) / statistics.median(bare_ms),
        "turn_ratio": statistics.median(s / b for s, b in zip(score_ms, bare_ms, strict=True)),
        "stages_ms": {**medians, "python": statistics.median(own)},
    }


def _print(found: dict[str, Any]) -> None:
    height, width, _ = found["frame"]
    print(f"{found['device']}, {found['version']}, kernels {found['kernels']}")
    print(f"frame {height} x {width} x 3, median of {found['repeats']}")
    print(f"bare inference   {found['bare_ms']:8.3f} ms")
    print(f"Detector.score   {found['score_ms']:8.3f} ms")
    for name, value in found["stages_ms"].items():
        if name != "total":
            print(f"  {name:<14} {value:8.3f} ms")
    print(f"ratio            {found['ratio']:8.3f}   (budget {BUDGET})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", metavar="NAME.edgead")
    parser.add_argument("--frame", type=_size, default=(512, 512), metavar="HxW")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default: %(default)s)")
    parser.add_argument("--precision", metavar="P", help="of Detector.score")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames (default: noise)")
    parser.add_argument("--threads", type=int, help="threads of the engine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 4 over the budget")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
