"""The bits of a frame's samples: what they mean, and whether they fit what is declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgead import _cpu
from edgead.errors import InputError

BIT_DEPTHS = range(_cpu.BIT_DEPTHS[0], _cpu.BIT_DEPTHS[1] + 1)
"""Of frames in uint16, as their cameras give them; frames in uint8 have 8 bits."""


def check_bit_depth(bit_depth: Any) -> int | None:
    """Return ``bit_depth`` as an int, None as it is, or raise InputError."""
    whole = isinstance(bit_depth, int | np.integer) and not isinstance(bit_depth, bool)
    if bit_depth is None:
        return None
    expected = _cpu.expected_bit_depth(int(bit_depth) if whole and 0 < bit_depth < 99 else 0)
    if expected:
        raise InputError(f"bit_depth is {bit_depth!r}, expected {expected}")
    return int(bit_depth)


def full_scale(dtype: npt.DTypeLike, bit_depth: int | None = None) -> int:
    """The largest value of a frame of ``dtype``; ``bit_depth``: of uint16, None is 16."""
    return 255 if np.dtype(dtype) == np.uint8 else (1 << (bit_depth or 16)) - 1


def highest_value(frame: npt.NDArray[Any]) -> int:
    """The largest value in a frame of any strides."""
    # NumPy is slow along few channels, unless they and the pixels are one run of samples.
    seen = frame[tuple(slice(None, None, -1 if step < 0 else 1) for step in frame.strides)]
    if seen.ndim == 3 and seen.strides[1] != seen.shape[2] * seen.strides[2]:
        return max(int(seen[:, :, c].max()) for c in range(seen.shape[2]))
    return int(seen.max())


def check_values(frame: npt.NDArray[Any], bit_depth: int | None) -> None:
    """Raise InputError where a frame of uint16 has values that its bit depth does not have."""
    if bit_depth is None or bit_depth == 16 or frame.dtype != np.uint16:
        return
    if problem := _cpu.problem_of_value(highest_value(frame), bit_depth):
        raise InputError(problem)
