"""How a peer is asked: a process in its own environment that scores images named on stdin.

Uses the standard library and OpenCV only, so that it runs in every environment. One line for each
answer: first ``{"ready": …}``, then for each path ``{"ms", "score", "rss_mb"}``; ``score`` is None
where there is none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

Predict = Callable[[Any], "float | None"]
"""From a BGR frame [H, W, 3] uint8 in memory to a score."""


def serve(load: Callable[[], tuple[Predict, Callable[[Any], Any]]]) -> None:
    """Answer until stdin ends. ``load`` gives predict and what brings a BGR frame into its form.

    That form (RGB instead of BGR, or the network's image) is made before the clock starts.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print to stdout is not an answer
    predict, prepare = load()
    import cv2

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    answer(ready=True)
    for line in sys.stdin:
        frame = prepare(cv2.imread(line.rstrip("\n"), cv2.IMREAD_COLOR))
        started = perf_counter()
        score = predict(frame)
        answer(ms=1e3 * (perf_counter() - started), score=score, rss_mb=_rss_mb())


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("no VmRSS in /proc/self/status: the peers are measured on Linux")
