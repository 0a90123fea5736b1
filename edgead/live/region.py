"""The part of a frame that is scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgead.errors import InputError, shortened


class Region(NamedTuple):
    """A rectangle in pixels of the frame, from its left upper corner."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """The rectangle of ``image``, [H, W] or [H, W, 3]; not copied.

        Raises:
            InputError: it reaches over the edge, as of a frame that became smaller.
        """
        height, width = image.shape[:2]
        if self.x + self.width > width or self.y + self.height > height:
            raise InputError(
                f"roi {self.x},{self.y},{self.width},{self.height} reaches over the edge of a "
                f"frame of {height} x {width}: give one that lies within it"
            )
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def region_of(numbers: Sequence[object]) -> Region:
    """The region of ``[x, y, width, height]``.

    Raises:
        InputError: these are not four whole numbers of a rectangle.
    """
    whole = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool)]
    if len(whole) != len(numbers) or len(whole) != 4 or min(whole) < 0 or 0 in whole[2:]:
        raise InputError(
            f"roi {shortened(repr(list(numbers)), 60)}: expected x, y, width and height in pixels, "
            "as 100, 0, 640, 480"
        )
    return Region(*whole)


def parse_region(text: str) -> Region:
    """The region of ``X,Y,WIDTH,HEIGHT``; InputError as ``region_of``."""
    parts = text.split(",")
    numbers = [int(part) if re.fullmatch("[0-9]{1,9}", part) else part for part in parts]
    return region_of(numbers)
