"""Synthetic defects on good images: choices are made on these, never on a test set.

Seven kinds, drawn at random: lines (scratch, crack) and blobs (spot, stain, shifted, blurred and
foreign texture).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.images.bits import full_scale

Content = Callable[[NDArray[np.float32], int, np.random.Generator], Any]


def add_defect(
    frame: NDArray[Any],
    rng: np.random.Generator,
    bit_depth: int | None = None,
    *,
    at_border: bool = False,
) -> tuple[NDArray[Any], NDArray[np.bool_], str]:
    """A copy of frame [H, W] or [H, W, 3] with one defect, where it is [H, W], and its kind.

    ``frame`` is uint8 or uint16, of ``bit_depth`` bits (None: 16); shades are in 1/255 of the full
    scale of either.

    Blobs are ellipses of 2 to 20 % of the smaller side, lines a quarter of it at most. The place is
    one that differs from the frame's border, if there is any, so that the part is hit; or, with
    ``at_border``, on the frame's border, which the defect then reaches.
    """
    kind = str(rng.choice([*LINES, *BLOBS]))
    full = float(full_scale(frame.dtype, bit_depth))
    image = (frame.astype(np.float32) * (255 / full)).reshape(*frame.shape[:2], -1)
    side = min(frame.shape[:2])
    centre = _border_place(frame.shape[:2], rng) if at_border else _place(image, rng)
    mask = np.zeros(frame.shape[:2], np.float32)
    if kind in LINES:
        _line(mask, centre, LINES[kind], side, rng)
        shade = rng.uniform(25, 90) * (-1 if kind == "crack" or rng.random() < 0.5 else 1)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.7)
        changed = image + shade * soft[..., None]
    else:
        axes = tuple(max(2, int(side * rng.uniform(0.01, 0.1))) for _ in range(2))
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        soft = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None]
        changed = image + soft * (BLOBS[kind](image, side, rng) - image)
    shades = (changed * (full / 255)).clip(0, full)
    return shades.astype(frame.dtype).reshape(frame.shape), mask > 0, kind


def _place(image: NDArray[np.float32], rng: np.random.Generator) -> tuple[int, int]:
    """(x, y) in the inner three quarters."""
    height, width = image.shape[:2]
    border = np.median(np.concatenate([image[0], image[-1]]), axis=0)
    for _ in range(50):
        y, x = (int(rng.uniform(0.12, 0.88) * length) for length in (height, width))
        around = image[max(0, y - 9) : y + 9, max(0, x - 9) : x + 9]
        if np.abs(around - border).mean() > 25:
            break
    return x, y


def _border_place(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """(x, y) on one of the four sides, each as likely as it is long."""
    (height, width), at = size, int(rng.integers(2 * sum(size)))
    if at < 2 * width:
        return at % width, (height - 1) * (at // width)
    return (width - 1) * ((at - 2 * width) // height), (at - 2 * width) % height


def _line(
    mask: NDArray[np.float32], start: tuple[int, int], bend: float, side: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    corners, angle = [np.array(start, float)], rng.uniform(0, 2 * np.pi)
    count = int(rng.integers(3, 7))
    length = side * rng.uniform(0.05, 0.3) / count
    for _ in range(count):
        angle += rng.normal(0, bend)
        corners.append(corners[-1] + length * np.array([np.cos(angle), np.sin(angle)]))
    thickness = max(1, round(side / 256 * int(rng.integers(1, 4))))
    cv2.polylines(mask, [np.round(corners).astype(np.int32)], False, 1.0, thickness)


def _foreign(image: NDArray[np.float32], _side: int, rng: np.random.Generator) -> NDArray:
    height, width = image.shape[:2]
    grain = rng.normal(0, 1, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    return (cv2.resize(grain, (width, height)) * 35 + rng.uniform(60, 200))[..., None]


def _shift(image: NDArray[np.float32], side: int, rng: np.random.Generator) -> NDArray:
    return np.roll(image, [int(side * rng.uniform(0.1, 0.3)) for _ in range(2)], (0, 1))


def _blur(image: NDArray[np.float32], side: int, _rng: np.random.Generator) -> NDArray:
    return cv2.GaussianBlur(image, (0, 0), side / 40).reshape(image.shape)


LINES = {"scratch": 0.1, "crack": 0.5}  # radians from one piece to the next
BLOBS: dict[str, Content] = {
    "spot": lambda image, _side, rng: rng.uniform(0, 255, image.shape[2]),
    "stain": lambda image, _side, rng: image * rng.uniform(0.5, 0.85),
    "shift": _shift,
    "blur": _blur,
    "foreign": _foreign,
}
