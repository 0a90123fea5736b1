"""A tiny data set of good parts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest


def write_parts(folder: Path, count: int, seed: int = 0) -> None:
    """Discs of slightly different place and brightness on a grey ground, 80x72 BGR PNG."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = np.full((80, 72, 3), 90, np.uint8)
        centre = (36 + int(rng.integers(-4, 5)), 40 + int(rng.integers(-4, 5)))
        cv2.circle(image, centre, 20, (60, 120, int(rng.integers(160, 220))), -1)
        image += rng.integers(0, 8, image.shape, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_parts(folder, 12)
    return folder


@pytest.fixture(scope="session")
def train_steps(parts: Path):
    """``train_steps(method, settings, out, steps=, stop_at=, stop_in=, resume=)``: a tiny run.

    ``stop_at`` sends this process SIGTERM after so many steps; ``stop_in`` is Ctrl-C in the midst
    of the bar with that title.
    """
    from edgead_training.fit import Bounds
    from edgead_training.progress import Bar, Reporter
    from edgead_training.run import train
    from edgead_training.run_record import TrainingOptions

    def run(method, settings, out, *, steps, stop_at=None, stop_in=None, resume=False):
        seen = []

        def progress(items, title):
            if title == stop_in:
                raise KeyboardInterrupt
            return iter(items)

        def update(*_):
            seen.append(None)
            if len(seen) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        options = TrainingOptions(method, parts, out, settings, 0, Bounds(steps=steps))
        reporter = Reporter(progress=progress, bar=Bar(update=update))
        return train(options, resume=resume, reporter=reporter)

    return run
