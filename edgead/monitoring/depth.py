"""Whether frames of uint16 use the range that they are taken to have: cameras differ in bits.

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

_USUAL = (8, 10, 12, 14)  # bits of cameras
_EVIDENT = 4  # bits that no well exposed set leaves out
_SUSPECT, _NEAR = 2, 0.75  # dark sets leave so many out too, unless they end close to the limit


class UsedBits:
    """The highest value of the uint16 frames of a set.

    Args:
        bit_depth: what is declared of them, None: nothing, and 16 are assumed.

    Raises:
        InputError: a bit depth out of its range.
    """

    def __init__(self, bit_depth: int | None = None) -> None:
        self.bit_depth = check_bit_depth(bit_depth)
        self.frames, self.highest = 0, 0

    def add(self, frame: NDArray[Any]) -> None:
        """Look at one frame."""
        if frame.dtype == np.uint16:
            self.frames += 1
            if self.highest <= _largest(14):
                self.highest = max(self.highest, highest_value(frame))

    def guess(self) -> int | None:
        """The bits that the frames seem to have; None where nothing speaks for fewer."""
        assumed = self.bit_depth or 16
        fitting = [bits for bits in _USUAL if 0 < self.highest <= _largest(bits)]
        if not fitting or fitting[0] >= assumed:
            return None
        bits = fitting[0]
        least = _SUSPECT if self.highest >= _NEAR * _largest(bits) else _EVIDENT
        return bits if assumed - bits >= least else None

    def concern(self, cure: str = "say so with") -> str | None:
        """Why the frames may have fewer bits, and the ``cure``; None where nothing says so.

        Frames that are declared to have 16 are said to be dark by that.
        """
        return None if self.bit_depth == 16 else self._concern(cure)

    def concern_of_serving(self, bundle: Bundle, cure: str = "say so with") -> str | None:
        """The concern about frames for ``bundle``; None where it has learnt from the like.

        Golden frames show what it has learnt from. One of them has a synthetic defect, which at 12
        bits that nobody declared is brighter than any of these: a single frame of the like is
        enough.
        """
        bits, said = self.guess(), self.bit_depth == 16 != bundle.manifest.preprocess.bit_depth
        if bits is None or said:
            return None
        golden = (frame for frame in golden_frames(bundle) if frame.dtype == np.uint16)
        like = any(0 < highest_value(frame) <= _largest(bits) for frame in golden)
        return None if like else self._concern(cure)

    def _concern(self, cure: str) -> str | None:
        bits = self.guess()
        if bits is None:
            return None
        seen = (
            f"no value of the {self.frames} frames in 16 bits is above {self.highest}, of "
            f"{_largest(self.bit_depth or 16)} that they can have: {bits} bits in 16 look like "
            "that, and so do very dark frames. "
        )
        if bits == 8:
            return f"{seen}If they are not dark, save them as images of 8 bits"
        dark = "" if self.bit_depth else "; if the frames are dark, --bit-depth 16 says that"
        return f"{seen}If the camera gives {bits} bits, {cure} --bit-depth {bits}{dark}"


def golden_frames(bundle: Bundle) -> Iterator[NDArray[Any]]:
    """The golden frames of a bundle, as they are stored."""
    for golden in bundle.manifest.golden:
        yield decode_image(bundle.read(golden.image), golden.image)


def _largest(bits: int) -> int:
    return (1 << bits) - 1
