"""Bit depth of 16-bit samples: what a file declares is brought to what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.images.bits import check_values, full_scale
from edgead.images.decoded import Decoded

FULL = 65535


def settle(decoded: Decoded, bit_depth: int | None) -> NDArray[Any]:
    """The samples with white at ``2**bit_depth - 1`` (65535 for None); 8 bits stay 8 bits.

    Raises:
        InputError: nothing is declared and a value is above the expected white; without the name.
    """
    samples = decoded.samples
    if samples.dtype != np.uint16:
        return samples
    white = full_scale(samples.dtype, bit_depth)
    if decoded.white is not None:
        return rescale(samples, decoded.white, white)
    if white == FULL:
        return samples
    if decoded.low_bits:
        return rescale(samples >> decoded.low_bits, FULL >> decoded.low_bits, white)
    check_values(samples, bit_depth)
    return samples


def rescale(samples: NDArray[Any], white: int, to: int) -> NDArray[Any]:
    """Samples whose white is ``white``, with white at ``to``: rounded to the nearest, half up."""
    if white == to:
        return samples
    values = np.arange(white + 1, dtype=np.uint64)
    table = (2 * values * np.uint64(to) + np.uint64(white)) // np.uint64(2 * white)
    return np.asarray(table.astype(np.uint8 if to <= 255 else np.uint16)[samples])


def significant(samples: NDArray[Any], bits: int) -> tuple[int | None, int]:
    """(white, low bits) of 16-bit PNG samples that declare ``bits`` significant ones.

    The format has them scaled up to 16 bits; programs of cameras store them as they are. A value
    that ``bits`` cannot hold tells the former, as do low bits that are never used.
    """
    if not 0 < bits < 16:
        return None, 0
    white, low_bits = 2**bits - 1, 16 - bits
    if int(samples.max()) > white or not (samples & (2**low_bits - 1)).any():
        return None, low_bits
    return white, 0
