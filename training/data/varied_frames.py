"""Good images as the camera might have seen them on another day: light and place a little off.

A method that learns from varied copies besides the images themselves does not take these changes
for defects. The ranges are ours: changes that an inspector would not notice.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.images.bits import full_scale

EXPOSURE = 0.1  # brighter or darker by this share
GAMMA = 0.1  # the exponent is 1 plus or minus this
SLOPE = 0.08  # brighter at one end of the image, darker at the other, by this share
SHIFT = 0.015  # of a side
TURN = 2.0  # degrees


def vary(
    frame: NDArray[Any], rng: np.random.Generator, bit_depth: int | None = None
) -> NDArray[Any]:
    """A varied copy of a frame: another exposure, gamma, slope of the light, place and turn.

    Args:
        frame: [H, W] or [H, W, 3], uint8 or uint16.
        rng: of the draws.
        bit_depth: of uint16; None: 16.

    Returns:
        [H, W] or [H, W, 3], as ``frame``. What is moved in at a border is mirrored.
    """
    height, width = frame.shape[:2]
    full = float(full_scale(frame.dtype, bit_depth))
    image = frame.astype(np.float32) / full
    exposure, gamma = 1 + rng.uniform(-1, 1, 2) * (EXPOSURE, GAMMA)
    direction, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, SLOPE)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    light = exposure * (1 + slope * (np.sin(direction) * y + np.cos(direction) * x))
    lit = image**gamma * (light if frame.ndim == 2 else light[..., None])
    move = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-TURN, TURN), 1.0)
    move[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    moved = cv2.warpAffine(
        lit.astype(np.float32), move, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    return (moved * full).round().clip(0, full).astype(frame.dtype)
