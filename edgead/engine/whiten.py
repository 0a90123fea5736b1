"""whiten: how far each position's feature is from the mean of its place, by the spread there.

``csrc/kernels/whiten.h`` has the formula, ``edgead/reference.py`` the same in float64 NumPy.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgead import _cpu
from edgead.errors import InputError
from edgead.preprocess import (
    DTYPES,
    LAYOUTS,
    check_batch,
    check_dtype,
    check_out,
    check_word,
    count_kept,
    describe,
    numbers,
    refuse,
)

F32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float16]

EPSILON: float = _cpu.WHITEN_EPSILON


@dataclass(eq=False)
class Whiten:
    """Squared distances of feature maps to what is usual at each place.

    The distance of a position is the mean of the squares of ``factor @ (x - mean)`` over the
    outputs: with the inverse of a covariance as ``factor.T @ factor`` and as many outputs as
    channels, the squared Mahalanobis distance by channel. Not for two threads at once; one per
    thread.

    Args:
        mean: [C, H, W] of each place, float32 or float16, finite; copied.
        factors: [regions, outputs, C] float32 or float16, finite; copied. Square blocks of
            ``side`` x ``side`` positions, row by row, the last of a row or column may be smaller,
            have a factor each. Zeros below the diagonals of all are found, and not computed with.
        side: of a region in positions, 1 or more; None: one region, so [1, outputs, C].
        channel_normal: bring each position's feature to mean 0 and variance 1 over its channels
            first.
        epsilon: added to that variance, 1e-12 to 1e6.
        dtype: of the features, float32 or float16; everything after reading them is float32.
        layout: of the features, "NCHW" [N, C, H, W] | "NHWC" [N, H, W, C].
        roi: [height, width], bool or uint8, 0 where a position is skipped; copied; None keeps all.
        simd: instruction set, one of ``edgead._cpu.simd_paths()``; the best one when empty.

    Raises:
        InputError: shapes that do not go together, not as many factors as regions, values that are
            not finite, anything else.
    """

    mean: InitVar[Floats]
    factors: InitVar[Floats]
    side: int | None = None
    _: KW_ONLY
    channel_normal: bool = False
    epsilon: float = EPSILON
    dtype: npt.DTypeLike = np.float32
    layout: str = "NCHW"
    roi: InitVar[npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None] = None
    simd: InitVar[str] = ""

    def __post_init__(self, mean: Any, factors: Any, roi: Any, simd: str) -> None:
        mean, factors = _floats("mean", mean, "C, H, W"), _floats("factors", factors, _FACTORS)
        channels, height, width = mean.shape
        self.size = (height, width)
        side = self.side = self._check_side(self.side)
        if expected := _cpu.expected_factors(factors.shape, channels, height, width, side):
            raise InputError(f"factors is {describe(factors)}, expected {expected}")
        if type(self.channel_normal) is not bool:
            raise InputError(f"channel_normal is {self.channel_normal!r}, expected True or False")
        self.epsilon = _check_epsilon(self.epsilon)
        self.dtype = check_dtype(self.dtype)
        check_word("layout", self.layout, LAYOUTS)
        check_word("simd", simd, ("", *_cpu.simd_paths()))
        count_kept(roi, self.size, "position")
        first, last = (channels,), self.size
        self._shape = (*first, *last) if self.layout == "NCHW" else (*last, *first)
        self._kernel = _cpu.Whiten(
            size=self.size,
            channels=channels,
            outputs=factors.shape[1],
            side=side,
            triangular=_cpu.triangular(factors),
            channel_normal=self.channel_normal,
            epsilon=self.epsilon,
            type=DTYPES.index(self.dtype.name),
            layout=LAYOUTS.index(self.layout),
            mean=mean,
            factor=factors,
            roi=None if roi is None else roi.astype(bool).astype(np.uint8),
            simd=simd,
        )

    def run(self, features: Floats, out: F32 | None = None) -> F32:
        """Compute the distances of a batch.

        A NaN, an infinity or a sum over float32 makes the distance of its position NaN or
        infinite: nothing hides it but a region of interest, and nothing raises here.

        Args:
            features: [N, C, H, W] or, for NHWC, [N, H, W, C] of ``dtype``, aligned, C-contiguous.
            out: [N, height, width] float32 to write into; a new array when None.

        Returns:
            Distances [N, height, width] float32, >= 0; 0 where ``roi`` is.

        Raises:
            InputError: another dtype, shape or memory layout; an ``out`` that does not fit.
        """
        check_batch(features, "features", self._shape, self.dtype, self.layout)
        shape = (len(features), *self.size)
        if out is None:
            out = np.empty(shape, np.float32)
        else:
            check_out(out, shape, np.float32, "the features", [features])
        self._kernel.run(features, out)
        return out

    def _check_side(self, side: Any) -> int:
        """``side``, at most what makes one region."""
        whole: int = max(self.size)
        if side is None:
            return whole
        found = min(side, whole) if type(side) is int else 0
        refuse("side", side, _cpu.expected_side(max(found, 0)))
        return found


_FACTORS = "regions, outputs, C"


def _floats(name: str, array: Any, shape: str) -> F32:
    """``array`` as float32, C-contiguous."""
    fits = isinstance(array, np.ndarray) and array.ndim == 3 and array.size > 0
    if not fits or array.dtype.name not in DTYPES or not array.dtype.isnative:
        raise InputError(
            f"{name} is {describe(array)}, expected [{shape}], {' or '.join(DTYPES)}, at least one "
            "value"
        )
    refuse(f"shape of {name}", array.shape, _cpu.expected_shape(array.shape))
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a NaN or an infinity, expected finite values")
    return np.ascontiguousarray(array, np.float32)


def _check_epsilon(epsilon: Any) -> float:
    number = isinstance(epsilon, (int, float)) and type(epsilon) is not bool
    (value,) = numbers((epsilon,)) if number else (math.nan,)
    refuse("epsilon", epsilon, _cpu.expected_epsilon(value))
    return value
