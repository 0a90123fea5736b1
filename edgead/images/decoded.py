"""What the decoder of a container hands on: samples as stored, and what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError

MOST_PIXELS = 2**30  # what OpenCV reads at most
COPY_AGAIN = "copy it again or leave it out"


@dataclass(frozen=True)
class Decoded:
    """An image as its container stores it.

    ``samples``: [H, W] grey or [H, W, 3] BGR, uint8 or uint16, before orientation.
    ``orientation``: the tag of EXIF or TIFF, 1 to 8; anything else counts as 1.
    ``white``: the largest value that 16-bit samples can have, where the file declares it.
    ``low_bits``: of 16-bit samples, what lies below the bits that the file declares significant.
    ``pages``: images in the file; the first one was read.
    """

    samples: NDArray[Any]
    orientation: int = 1
    white: int | None = None
    low_bits: int = 0
    pages: int = 1


@dataclass(frozen=True)
class ImageFile:
    """An image file that was read.

    ``frame``: [H, W] or [H, W, 3] BGR, uint8 or uint16; ``pages``: images in the file, of which
    ``frame`` is the first; ``orientation``: the tag that was applied, 1 for none.
    """

    frame: NDArray[Any]
    pages: int
    orientation: int


def opencv_pixels(data: bytes) -> NDArray[Any]:
    """What OpenCV makes of ``data``, uint8 or uint16, without alpha; InputError for nothing."""
    import cv2

    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputError(f"cannot be decoded: {error.err}; {COPY_AGAIN}") from error
    if samples is None or samples.size == 0:
        raise InputError(
            f"cannot be decoded: it is truncated, damaged or of a kind that OpenCV does not read; "
            f"{COPY_AGAIN}"
        )
    if samples.ndim == 3:
        samples = samples[:, :, 0] if samples.shape[2] < 3 else samples[:, :, :3]
    return np.asarray(samples)
