"""The ignore mask: which pixels of a frame do not count, drawn by a person on one frame.

It is kept in pixels of the frame [H, W] as it was drawn. Pixel (i, j) of a map [h, w] stands for
the rows from ``i H / h`` to ``(i + 1) H / h`` of the frame and the columns from ``j W / w`` to
``(j + 1) W / w``, and is ignored when at least half of that area is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.preprocess import check_size

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels of the frame, (0, 0) the outer corner of its first pixel."""


@dataclass(frozen=True)
class IgnoreMask:
    """The parts of a frame that do not count: inside a polygon, or not 0 in an image.

    Args:
        frame_size: (height, width) in pixels of the frame that the mask was drawn on.
        polygons: each at least three corners (x, y), 0 <= x <= width and 0 <= y <= height; a pixel
            is inside when its centre is, by the even-odd rule.
        image: name of a PNG in the bundle, [height, width], not 0 where a pixel is ignored.

    Raises:
        InputError: neither polygons nor image, a corner outside the frame, under three corners.
    """

    frame_size: tuple[int, int]
    polygons: tuple[Polygon, ...] = ()
    image: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame_size", check_size("frame_size", self.frame_size))
        if not self.polygons and self.image is None:
            raise InputError(
                "an ignore mask has neither polygons nor an image, expected one of them"
            )
        height, width = self.frame_size
        for polygon in self.polygons:
            if len(polygon) < 3:
                raise InputError(f"a polygon has {len(polygon)} corners; expected at least three")
            for x, y in polygon:
                if not (0 <= x <= width and 0 <= y <= height):  # nor NaN
                    raise InputError(
                        f"the corner {x:g},{y:g} of a polygon is outside the frame of "
                        f"{_times(self.frame_size)} (height x width): expected x from 0 to {width} "
                        f"and y from 0 to {height}"
                    )
            if not _inside(polygon, self.frame_size).any():
                text = " ".join(f"{x:g},{y:g}" for x, y in polygon)
                raise InputError(
                    f'the polygon "{text}" holds the centre of no pixel; expected corners that '
                    "enclose an area"
                )

    def check_frame(self, frame: Any) -> None:
        """Refuse an array of another height or width than the mask was drawn on.

        Raises: InputError.
        """
        size = tuple(getattr(frame, "shape", self.frame_size)[:2])
        if size != self.frame_size:
            raise InputError(
                f"the frame is {_times(size)} (height x width) and the ignore mask of the bundle "
                f"was drawn on {_times(self.frame_size)}: draw one for this frame size with "
                "edgead mask, or use the bundle without a mask"
            )

    def ignored(self, image: NDArray[Any] | None = None) -> NDArray[np.bool_]:
        """Which pixels of the frame are ignored, bool [height, width].

        ``image``: the decoded file ``self.image``, [height, width] or [height, width, channels].
        Raises: InputError for an image of another size.
        """
        ignored = np.zeros(self.frame_size, np.bool_)
        for polygon in self.polygons:
            ignored |= _inside(polygon, self.frame_size)
        if image is not None:
            if image.shape[:2] != self.frame_size:
                raise InputError(
                    f"the image of the ignore mask is {_times(image.shape[:2])} (height x width) "
                    f"and the frame {_times(self.frame_size)}: draw it on a frame of this camera, "
                    "without scaling or cropping"
                )
            ignored |= image.any(axis=2) if image.ndim == 3 else image != 0
        return ignored


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def parse_polygon(text: str) -> Polygon:
    """``"x,y x,y x,y"`` as corners. Raises: InputError that quotes what is not a corner."""
    corners = []
    for word in text.split():
        try:
            if "_" in word or not word.isascii():  # which float takes, as 1_0 and ٣
                raise ValueError(word)
            x, y = (float(number) for number in word.split(","))
        except ValueError as error:
            raise InputError(
                f"polygon {text!r}: {word!r} is not a corner; expected x,y in pixels of the frame, "
                'corners separated by blanks: "40,10 90,10 90,60"'
            ) from error
        corners.append((x, y))
    if len(corners) < 3:
        raise InputError(
            f"polygon {text!r} has {len(corners)} corners; expected at least three, as in "
            '"40,10 90,10 90,60"'
        )
    return tuple(corners)


def _inside(polygon: Polygon, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre is inside, by the even-odd rule: a row changes at each edge it meets."""
    height, width = size
    changes = np.zeros((height, width + 1), np.bool_)
    centres = np.arange(height) + 0.5
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        rows = np.flatnonzero((centres >= min(y0, y1)) & (centres < max(y0, y1)))
        at = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0 or 1.0)
        first = np.clip(np.ceil(at - 0.5).astype(np.int64), 0, width)  # centre right of the edge
        changes[rows, first] ^= True
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(changes, axis=1)[:, :width]
    return inside


# A share of exactly one half must not depend on the rounding of a sum of float64.
_HALF = 0.5 - 1e-9


def to_roi(ignored: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a mask of the frame [H, W] to a map of ``size``: [h, w], 1 where a pixel is kept.

    Raises: InputError when nothing is kept.
    """
    share = _cell_means(_cell_means(ignored.astype(np.float64), size[0]).T, size[1]).T
    roi = (share < _HALF).astype(np.uint8)
    if not roi.any():
        raise InputError(
            "the ignore mask leaves no pixel of the frame: ignore less (inside a polygon, or not 0 "
            "in the PNG, is ignored; if you drew what is to be kept, invert it)"
        )
    return roi


def _cell_means(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means of [n, m] over ``count`` equal parts of the first axis, exact for any n: [count, m]."""
    n = values.shape[0]
    sums = np.zeros((n + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=sums[1:])
    edges = np.arange(count + 1) * n / count
    low = np.minimum(edges.astype(np.int64), n - 1)
    reached = sums[low] + (edges - low)[:, None] * values[low]
    return np.asarray(np.diff(reached, axis=0) * count / n)
