"""What an image shows, kept so small that thousands of images can be compared with each other.

The digest tells copies, whatever their file: it is of the decoded pixels. The thumbnail and the
dots tell near-copies: of the same shot in another encoding, or of further shots of a part that has
not moved, which differ by the sensor's noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

THUMB, DOTS = 32, 48  # sides of both
BLACK, SATURATED = 0.05, 0.98  # shares of full scale: a pixel below or above shows nothing
MOST = 0.6  # of the pixels; the white ground behind a part may be half
NEARLY_ONE_VALUE = 1.0  # level of 255: the pixels' deviation; shot noise alone is more at mid-grey


@dataclass(frozen=True, eq=False)
class Content:
    """What is kept of one image, in units of the frame's values.

    Args:
        digest: SHA-256 of the pixels, 32 bytes; a colour image whose channels are all the same is
            grey.
        thumb: means of [32, 32] cells, 3 channels, float32: what is left without noise.
        dots: [48, 48] single pixels, evenly spaced, 3 channels: noise and fine texture.
        per_cell: how many pixels a cell of ``thumb`` is the mean of.
        deviation: standard deviation over the pixels, of the channel where it is largest.
        peak: the highest value.
        bits: 8 or 16.
        sharpness: deviation of the Laplacian over that of the pixels, at 256 x 256; 0 where all
            pixels are the same.
        size: (height, width).
    """

    digest: bytes
    thumb: NDArray[np.float32]
    dots: NDArray[Any]
    per_cell: float
    deviation: float
    peak: int
    bits: int
    sharpness: float
    size: tuple[int, int]

    @property
    def kind(self) -> str:
        """Colour and bits, for people; colour whose channels are all the same is grey."""
        return f"{'grey' if is_grey(self.thumb) else 'colour'} of {self.bits} bits"


def digest_of(frame: NDArray[Any]) -> bytes:
    """SHA-256 of the pixels of a frame, 32 bytes, whatever file it came from.

    Args:
        frame: [H, W] or [H, W, 3], uint8 or uint16, as ``read_image`` gives it.
    """
    frame = _plain(frame)
    pixels = sha256(f"{frame.shape} {frame.dtype.name} ".encode())
    pixels.update(frame.data)
    return pixels.digest()


def content_of(frame: NDArray[Any]) -> Content:
    """What to keep of a frame; takes less time than decoding it.

    Args:
        frame: [H, W] or [H, W, 3], uint8 or uint16, as ``read_image`` gives it.
    """
    import cv2

    frame = _plain(frame)
    height, width = frame.shape[:2]
    thumb = cv2.resize(frame.astype(np.float32), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    dots = frame[np.ix_(_even(height), _even(width))]
    _, deviation = cv2.meanStdDev(frame)
    return Content(
        digest_of(frame),
        _three(thumb),
        _three(dots),
        max(1.0, height * width / THUMB**2),
        float(deviation.max()),
        int(frame.max()),
        8 * frame.dtype.itemsize,
        _sharpness(frame),
        (height, width),
    )


def _sharpness(frame: NDArray[Any]) -> float:
    import cv2

    small = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = small if small.ndim == 2 else small.mean(axis=2)
    deviation = float(grey.std())
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) / deviation if deviation > 0 else 0.0


def levels(contents: Sequence[Content], bit_depth: int | None = None) -> list[float]:
    """For each image, how much 1/255 of full scale is, in units of its values.

    Full scale of 16-bit images is what ``bit_depth`` says; without it, that of as few bits as the
    brightest of them needs, since cameras give 10, 12 or 14 bits in 16.
    """
    brightest = max((one.peak for one in contents if one.bits == 16), default=0)
    bits = bit_depth or max(9, brightest.bit_length())
    white = {8: 255, 16: 2**bits - 1}
    return [white[one.bits] / 255 for one in contents]


def is_grey(frame: NDArray[Any]) -> bool:
    """Whether [H, W] or [H, W, 3] has no colour: its channels are all the same."""
    if frame.ndim == 2:
        return True
    return all(  # few pixels tell most
        np.array_equal(seen[:, :, 0], seen[:, :, other])
        for seen in (frame[::16, ::16], frame)
        for other in (1, 2)
    )


def is_constant(content: Content, level: float) -> bool:
    """Whether an image is all of one value, but for less than a sensor's noise, or dark noise."""
    if content.deviation <= NEARLY_ONE_VALUE * level:
        return True
    return is_black(content, level) and bool(content.thumb.std() <= 0.5 * level)


def is_black(content: Content, level: float) -> bool:
    """Whether 99 % of the pixels are darker than ``BLACK``."""
    return bool((content.dots.max(axis=2) <= BLACK * 255 * level).mean() >= 0.99)


def is_saturated(content: Content, level: float) -> bool:
    """Whether most of the pixels are at full scale in at least one channel."""
    return bool((content.dots.max(axis=2) >= SATURATED * 255 * level).mean() >= MOST)


def _plain(frame: NDArray[Any]) -> NDArray[Any]:
    """The frame, contiguous; grey where its channels are all the same."""
    if frame.ndim == 3 and is_grey(frame):
        frame = frame[:, :, 0]
    return np.ascontiguousarray(frame)


def _three(values: NDArray[Any]) -> NDArray[Any]:
    """Grey as three equal channels, so that grey and colour images can be compared."""
    return np.repeat(values[:, :, None], 3, axis=2) if values.ndim == 2 else values


def _even(side: int) -> NDArray[np.intp]:
    """``DOTS`` positions along a side, the same from both ends, so that mirrored images agree."""
    half = ((np.arange(DOTS // 2) + 0.5) * side / DOTS).astype(np.intp)
    return np.concatenate([half, side - 1 - half[::-1]])
