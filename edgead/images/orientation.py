"""EXIF orientation: read from its block of bytes, and applied as ``cv2.imread`` does by default."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 0x0112


def exif_orientation(*blocks: bytes) -> int:
    """The orientation in the first EXIF block that has one; 1 where none has.

    Args:
        blocks: each a TIFF header and its first directory.
    """
    return next((found for block in blocks if (found := _tag(block)) is not None), 1)


def _tag(block: bytes) -> int | None:
    """The value of the tag, read as 16 bits whatever type its entry names, as OpenCV does."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            (tag,) = struct.unpack_from(f"{order}H", block, position)
            if tag == ORIENTATION_TAG:
                return int(struct.unpack_from(f"{order}H", block, position + 8)[0])
    except struct.error:
        pass  # a directory that is cut off says nothing
    return None


def upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``samples`` as they are looked at; an orientation beyond 1 to 8 leaves them as they are."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)
