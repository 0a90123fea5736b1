"""Whether frames of uint16 use the range that is assumed of them: cameras give 10 or 12 bits too.

A set in which no frame ever reaches beyond 4095 of 65535 is 12 bits in 16, or very dark; its values
alone cannot tell, so what is found is said with what was seen, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgead.images import decode_image
from edgead.images.bits import check_bit_depth, highest_value

if TYPE_CHECKING:
    from edgead.bundle.storage import Bundle

_USUAL = (10, 12)  # bits of cameras, whose upper bits no well exposed set leaves out
_NEAR = 0.75  # of 14 bits: what stays below a quarter of 65535 is dark, unless it ends close to it


class UsedBits:
    """The highest value of the uint16 frames of a set.

    Args:
        bit_depth: what is declared of them; then there is nothing to find.

    Raises:
        InputError: a bit depth out of its range.
    """

    def __init__(self, bit_depth: int | None = None) -> None:
        self.bit_depth = check_bit_depth(bit_depth)
        self.frames, self.highest = 0, 0

    def add(self, frame: NDArray[Any]) -> None:
        """Look at one frame."""
        if self.bit_depth is None and frame.dtype == np.uint16:
            self.frames += 1
            if self.highest <= _largest(14):
                self.highest = max(self.highest, highest_value(frame))

    def guess(self) -> int | None:
        """The bits that the frames seem to have, 8 to 14; None where nothing speaks against 16."""
        if self.highest == 0:  # no frame, or all black
            return None
        if self.highest <= _largest(8):
            return 8
        if _NEAR * _largest(14) <= self.highest <= _largest(14):
            return 14
        return next((bits for bits in _USUAL if self.highest <= _largest(bits)), None)

    def concern(self, cure: str = "say so with") -> str | None:
        """Why the frames may not have 16 bits, and the ``cure``; None where nothing says so."""
        bits = self.guess()
        if bits is None:
            return None
        seen = (
            f"no value of the {self.frames} frames in 16 bits is above {self.highest}, of 65535 "
            f"that they can have: {bits} bits in 16 look like that, and so do very dark frames. "
        )
        if bits == 8:
            return f"{seen}If they are not dark, save them as images of 8 bits"
        return (
            f"{seen}If the camera gives {bits} bits, {cure} --bit-depth {bits}; if the frames are "
            "dark, --bit-depth 16 says that"
        )


def concern_of_serving(used: UsedBits, bundle: Bundle) -> str | None:
    """The concern about frames that ``bundle`` scores; None where it has learnt from the like.

    Golden frames show what it has learnt from. One of them has a synthetic defect, which at 12 bits
    that nobody declared is brighter than any of these: a single frame of the like is enough.
    """
    bits, text = used.guess(), used.concern()
    if bits is None or bundle.manifest.preprocess.bit_depth is not None:
        return None
    golden = (frame for frame in golden_frames(bundle) if frame.dtype == np.uint16)
    return None if any(0 < highest_value(frame) <= _largest(bits) for frame in golden) else text


def golden_frames(bundle: Bundle) -> Iterator[NDArray[Any]]:
    """The golden frames of a bundle, as they are stored."""
    for golden in bundle.manifest.golden:
        yield decode_image(bundle.read(golden.image), golden.image)


def _largest(bits: int) -> int:
    return (1 << bits) - 1
