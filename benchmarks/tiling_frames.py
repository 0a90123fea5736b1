"""Large frames of made-up materials, and tiny defects in them. Every frame is another draw."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]


def weave(rng: np.random.Generator, height: int, width: int) -> Field:
    """A woven cloth: threads of 11 pixels that bend, with grain."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    period = np.float32(11 + 0.3 * rng.uniform(-1, 1))
    bend = cv2.resize(rng.normal(0, 1.5, (6, 8)).astype(np.float32), (width, height))
    threads = np.sin(2 * np.pi * (x + bend) / period + phase[0])
    threads *= np.sin(2 * np.pi * (y + bend) / period + phase[1])
    return 22 * threads + 4 * _noise(rng, height, width, 1.0, 1.0)


def brushed(rng: np.random.Generator, height: int, width: int) -> Field:
    """Brushed metal: streaks along the rows, with grain."""
    streaks = _noise(rng, height, width, 40.0, 0.8)
    return 10 * streaks + 4 * _noise(rng, height, width, 0.7, 0.7)


def cast(rng: np.random.Generator, height: int, width: int) -> Field:
    """A cast surface: blotches of every size from 1 to 30 pixels."""
    found = 4 * _noise(rng, height, width, 1.0, 1.0)
    for sigma, strength in ((3.0, 5), (9.0, 6), (27.0, 8)):
        found += strength * _noise(rng, height, width, sigma, sigma)
    return found


MATERIALS: dict[str, Callable[[np.random.Generator, int, int], Field]] = {
    "weave": weave,
    "brushed": brushed,
    "cast": cast,
}


def make_frame(material: str, seed: int, height: int, width: int) -> Grey:
    """A good frame, [height, width], of grey values 128 +- 11 to 14, under uneven light."""
    rng = np.random.default_rng([sorted(MATERIALS).index(material), seed])
    light = cv2.resize(rng.normal(0, 6, (3, 4)).astype(np.float32), (width, height))
    values = 128 + MATERIALS[material](rng, height, width) + light
    return np.clip(values, 0, 255).astype(np.uint8)


def with_defect(
    frame: Grey, seed: int, side: int, contrast: float
) -> tuple[Grey, tuple[int, int], float]:
    """A copy with a spot of ``side`` x ``side`` pixels anywhere, its centre (x, y), its change.

    The spot is darker or lighter by ``contrast`` grey values, with edges as a lens makes them.
    """
    rng = np.random.default_rng([7, seed])
    margin = side
    top, left = (int(rng.integers(margin, n - side - margin)) for n in frame.shape)
    change = contrast if rng.random() < 0.5 else -contrast
    spot = np.zeros((side + 2 * margin,) * 2, np.float32)
    spot[margin : margin + side, margin : margin + side] = change
    spot = cv2.GaussianBlur(spot, (0, 0), 0.6)
    shown = frame.copy()
    window = shown[top - margin : top + side + margin, left - margin : left + side + margin]
    window[...] = np.clip(np.rint(window + spot), 0, 255)
    return shown, (left + side // 2, top + side // 2), change


def _noise(rng: np.random.Generator, height: int, width: int, across: float, down: float) -> Field:
    """Gaussian noise of unit deviation, blurred by ``across`` and ``down`` pixels."""
    white = rng.standard_normal((height, width), np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), sigmaX=across, sigmaY=down)
    return smooth / smooth.std()
