"""Golden frames: what every engine must reproduce before it may serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Golden
from edgead.bundle.storage import npy
from edgead.images import encode_png
from edgead.images.bits import full_scale

ScoreFrame = Callable[[NDArray[Any]], tuple[NDArray[np.float32], float]]
"""Frame to (map [h, w] float32, score)."""

COUNT = 3
"""Calibration frames kept, spread over the range of scores; a synthetic defect comes on top."""


def spread_over(scores: NDArray[np.float64], count: int = COUNT) -> list[int]:
    """Indices of ``count`` scores (fewer where there are fewer), evenly over their range.

    The lowest, the highest, and for each step between the score nearest to it that is still free.
    """
    free = list(range(len(scores)))
    chosen: list[int] = []
    for target in np.linspace(scores.min(), scores.max(), min(count, len(scores))):
        nearest = min(free, key=lambda i: (abs(scores[i] - target), i))
        free.remove(nearest)
        chosen.append(nearest)
    return chosen


def synthetic_defect(frame: NDArray[Any], bit_depth: int | None = None) -> NDArray[Any]:
    """A copy of ``frame`` with a piece of itself turned, made darker or lighter, pasted elsewhere.

    The piece is square, a quarter of the shorter side, cut left and above the middle, turned by 90
    degrees, moved by 30 % of full scale away from its own mean's side, and pasted right and below
    the middle. ``frame``: [H, W] or [H, W, 3], uint8 or uint16, down to 1x1.
    """
    height, width = frame.shape[:2]
    side = max(1, min(height, width) // 4)
    full = float(full_scale(frame.dtype, bit_depth))
    top, left = (height - side) // 4, (width - side) // 4
    piece = np.rot90(frame[top : top + side, left : left + side]).astype(np.float64)
    shift = -0.3 * full if piece.mean() > full / 2 else 0.3 * full
    piece = np.clip(np.rint(piece + shift), 0, full).astype(frame.dtype)
    result = np.array(frame)
    top, left = (height - side) * 5 // 8, (width - side) * 5 // 8
    result[top : top + side, left : left + side] = piece
    return result


def with_defect(
    scores: NDArray[np.float64], read: Callable[[int], NDArray[Any]], bit_depth: int | None = None
) -> list[NDArray[Any]]:
    """The frames of ``spread_over``, and a synthetic defect in the middle one."""
    shown = [read(index) for index in spread_over(scores)]
    return [*shown, synthetic_defect(shown[len(shown) // 2], bit_depth)]


def golden_files(
    run: ScoreFrame,
    shown: Sequence[NDArray[Any]],
    scored: Callable[[], NDArray[np.float32] | None] = lambda: None,
) -> tuple[dict[str, bytes], tuple[Golden, ...]]:
    """The files of the golden frames, and what the embedded engine says of each.

    ``scored``: what the score of the last frame was pooled from, where that was not its map.
    """
    files: dict[str, bytes] = {}
    frames = []
    for index, frame in enumerate(shown):
        values, score = run(frame)
        pooled = scored()
        name = None if pooled is None else f"golden/{index}.scored.npy"
        entry = Golden(f"golden/{index}.png", f"golden/{index}.npy", score, name)
        files[entry.image], files[entry.map] = encode_png(frame, "frame"), npy(values)
        if name is not None and pooled is not None:
            files[name] = npy(pooled)
        frames.append(entry)
    return files, tuple(frames)
