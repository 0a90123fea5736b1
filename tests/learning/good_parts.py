"""Pictures of parts that look alike, and of parts with a scratch."""

from __future__ import annotations

import cv2
import numpy as np


def part(seed: int, size: tuple[int, int] = (80, 96)) -> np.ndarray:
    """A disc amid dark background, each of another grain, shade and place."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 3, (*size, 3))
    centre = (int(48 + rng.integers(-3, 4)), int(40 + rng.integers(-3, 4)))
    disc = np.zeros(size, np.uint8)
    cv2.circle(disc, centre, 25, 1, -1)
    grain = cv2.GaussianBlur(rng.normal(0, 25, (*size, 3)), (0, 0), 1.5)
    image[disc == 1] = (150 + rng.normal(0, 2) + grain)[disc == 1]
    return np.clip(image, 0, 255).astype(np.uint8)


def scratched(seed: int) -> np.ndarray:
    image = part(seed)
    cv2.line(image, (38, 30), (60, 52), (250, 250, 250), 3)
    return image
