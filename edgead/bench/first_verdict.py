"""The process of a cold start: opens a bundle, scores one image, prints the verdict.

    python -m edgead.bench.first_verdict BUNDLE IMAGE DEVICE COLOR THREADS PRECISION

THREADS is a number or "engine", which leaves the choice to the engine; PRECISION is one of
``edgead.engine.interface.PRECISIONS`` or "device": the device's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgead.cli.main import guard
from edgead.detector import Detector
from edgead.images import read_image


def main(arguments: Sequence[str]) -> int:
    """Score one image and print the verdict."""
    bundle, image, device, color, threads, precision = arguments
    number = None if threads == "engine" else int(threads)
    word = None if precision == "device" else precision
    detector = Detector(bundle, device=device, color=color, threads=number, precision=word)
    result = detector.score(read_image(Path(image)))
    print(f"verdict {result!r}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guard(lambda: main(sys.argv[1:])))
