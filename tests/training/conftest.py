"""A tiny data set of good parts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage


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


@pytest.fixture(scope="session")
def fine64():
    """``fine64(images)``: [N, C, H, W] less their slow part, in float64, by other means."""

    def less_slow(images: np.ndarray) -> np.ndarray:
        count, channels, height, width = images.shape
        wide = images.astype(np.float64)
        cells = wide.reshape(count, channels, height // 8, 8, width // 8, 8).mean((3, 5))
        slow = np.empty_like(wide)
        for plane, out in zip(cells.reshape(-1, *cells.shape[2:]), slow.reshape(-1, height, width),
                              strict=True):  # fmt: skip
            inside = np.pad(plane, 1, constant_values=np.nan)
            windows = np.lib.stride_tricks.sliding_window_view(inside, (3, 3))
            out[:] = cv2.resize(np.nanmean(windows, axis=(2, 3)), (width, height))
        return wide - slow

    return less_slow


@pytest.fixture(scope="session")
def units64():
    """``units64(residuals)``: 1 / sqrt(E) of an even number of residuals [N, T, C, h, w], float64,
    and the share of places in it."""

    def usual(known: np.ndarray, share: float) -> np.ndarray:
        error = (known**2).mean(0)
        error = share * error + (1 - share) * error.mean((2, 3), keepdims=True)
        sigma = error.shape[2] / 64  # 4 px at 256
        smooth = ndimage.gaussian_filter(error, sigma, mode="mirror", axes=(2, 3))
        return smooth.clip(1 / 510**2) + 0.1 * smooth.mean((1, 2, 3), keepdims=True)

    def surprise(known: np.ndarray, held_out: np.ndarray, share: float) -> float:
        error = usual(known, share)
        return (np.log(error) + (held_out**2).mean(0) / error).mean()

    def measured(residuals: np.ndarray) -> tuple[np.ndarray, float]:
        a, b = np.split(residuals, 2)
        share = min((0, 0.25, 0.5, 0.75, 1), key=lambda s: surprise(a, b, s) + surprise(b, a, s))
        return usual(residuals, share) ** -0.5, share

    return measured
