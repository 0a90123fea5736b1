"""edgead: NAME.edgead THREADS (0: the engine's choice). Runs in an environment that has edgead."""

from __future__ import annotations

import sys
from typing import Any

from protocol import Predict, serve


def load() -> tuple[Predict, Any]:
    """A qualified Detector."""
    from edgead import Detector

    bundle, threads = sys.argv[1], int(sys.argv[2])
    detector = Detector(bundle, threads=threads or None)
    return (lambda frame: float(detector.score(frame).score)), (lambda frame: frame)


if __name__ == "__main__":
    serve(load)
