"""The ignore mask: which pixels of a frame do not count, drawn by a person on one frame.

It is kept in pixels of the frame [H, W] as it was drawn. Pixel (i, j) of a map [h, w] stands for
the rows from ``i H / h`` to ``(i + 1) H / h`` of the frame and the columns from ``j W / w`` to
``(j + 1) W / w``, and is ignored when at least half of that area is. Computed by
``csrc/bundle/ignore_mask.cpp``, which the C library shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
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
        _cpu.check_ignore_mask(self.frame_size, self.polygons, self.image is not None)

    def check_frame(self, frame: Any) -> None:
        """Refuse an array of another height or width than the mask was drawn on.

        Raises: InputError.
        """
        size = tuple(getattr(frame, "shape", self.frame_size)[:2])
        _cpu.check_frame_size(self.frame_size, size)

    def ignored(self, image: NDArray[Any] | None = None) -> NDArray[np.bool_]:
        """Which pixels of the frame are ignored, bool [height, width].

        ``image``: the decoded file ``self.image``, [height, width] or [height, width, channels].
        Raises: InputError for an image of another size.
        """
        if image is not None:  # as the bytes of each pixel
            image = np.ascontiguousarray(image).view(np.uint8).reshape(*image.shape[:2], -1)
        return _cpu.ignored_pixels(self.frame_size, self.polygons, image)


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


def to_roi(ignored: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a mask of the frame [H, W] to a map of ``size``: [h, w], 1 where a pixel is kept.

    Raises: InputError when nothing is kept.
    """
    return _cpu.region_of_interest(ignored, size)
