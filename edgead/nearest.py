"""nearest: how far each position of a feature map is from a memory of good features.

``csrc/kernels/nearest.h`` has the formula, ``edgead/reference.py`` the same in float64 NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    check_size,
    check_weights,
    check_word,
    count_kept,
    describe,
    numbers,
    refuse,
)

F32 = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32] | npt.NDArray[np.float16]

MEMORY_DTYPES: tuple[str, ...] = _cpu.TYPES
SEARCHES: tuple[str, ...] = _cpu.SEARCHES
MAX_NEAREST: int = _cpu.MAX_NEAREST


@dataclass(frozen=True)
class Blend:
    """Of the nearest features one is blended, and the distance is that to it.

    The share of a feature at squared distance d falls as exp(-d / temperature), less that of the
    nearest one that is left out: where it ceases to be among the nearest, nothing jumps.

    Args:
        neighbours: how many are blended, 1 to 7; all where the memory has fewer rows.
        temperature: > 0, a squared distance.

    Raises:
        InputError: anything else.
    """

    neighbours: int
    temperature: float

    def __post_init__(self) -> None:
        count, temperature = self.neighbours, self.temperature
        whole = count if type(count) is int and 0 < count <= MAX_NEAREST else 0
        if expected := _cpu.expected_neighbours(whole):
            raise InputError(f"a blend of {count!r} neighbours, expected {expected}")
        number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        (value,) = numbers((temperature,)) if number else (math.nan,)
        expected = _cpu.expected_temperature(value)
        refuse("the temperature of a blend", temperature, expected)


@dataclass(eq=False)
class NearestMemory:
    """A memory of features, made ready to be searched; for any number of :class:`Nearest`.

    Computes the bound's index once: some 0.1 s for 4096 features of 152 channels.

    Args:
        features: [rows, channels], float32, float16 or int8, C-contiguous, finite; kept and not
            copied, so it must not change.
        scale: what a step of an int8 feature is worth, > 0, one number or one for each channel;
            None for the other types.
        search: "pruned" leaves out the rows that a lower bound excludes; "every" computes a
            float32 product with each row first, to compare with. The distances are the same.

    Raises:
        InputError: anything else.
    """

    features: npt.NDArray[Any]
    scale: InitVar[float | Sequence[float] | F32 | None] = None
    _: KW_ONLY
    search: str = "pruned"

    def __post_init__(self, scale: Any) -> None:
        features = self.features
        _check_features(features)
        check_word("search", self.search, SEARCHES)
        self._scale = _check_scale(scale, features)
        values = features.astype(np.float32)
        if self._scale is not None:
            values *= self._scale
        if not np.isfinite(values).all():
            raise InputError("the memory holds a NaN or an infinity, expected finite features")
        mean, basis = _cpu.principal_components(values)
        self.kernel = _cpu.NearestMemory(
            memory=features,
            type=MEMORY_DTYPES.index(features.dtype.name),
            search=SEARCHES.index(self.search),
            scale=np.empty(0, np.float32) if self._scale is None else self._scale,
            mean=mean,
            basis=basis,
        )

    @property
    def rows(self) -> int:
        """How many features it holds."""
        return int(self.features.shape[0])

    @property
    def channels(self) -> int:
        """Values of each feature."""
        return int(self.features.shape[1])


@dataclass(eq=False)
class Nearest:
    """Distances of feature maps to a memory, for one size of map.

    The distance of a position is the sum over i of weights[i] times the i-th smallest squared
    Euclidean distance from its feature to the rows of the memory, or the squared distance to a
    blend of the nearest rows. It is exact: each squared distance is a float32 sum over the
    channels, and the search changes no bit of the result.

    Remembers which rows were nearest, and tries them first in the next frame: frames of one camera
    are searched faster. Not for two threads at once; one per thread, and one memory for all.

    Args:
        memory: see :class:`NearestMemory`.
        size: (height, width) of the feature map in positions.
        weights: of the nearest, the second nearest .., 1 to 8 numbers >= 0, not all 0; (1,) is
            the nearest, k times 1 / k the mean of the k nearest. Or a :class:`Blend`.
        root: whether the distance is the root of that.
        dtype: of the queries, float32 or float16; everything after reading them is float32.
        layout: of the queries, "NCHW" [N, C, H, W] | "NHWC" [N, H, W, C].
        roi: [height, width], bool or uint8, 0 where a position is skipped; copied; None keeps all.
        simd: instruction set, one of ``edgead._cpu.nearest_paths()``; the best one when empty.

    Raises:
        InputError: more weights than the memory has rows; anything else.
    """

    memory: NearestMemory
    size: tuple[int, int]
    _: KW_ONLY
    weights: Sequence[float] | Blend = (1.0,)
    root: bool = False
    dtype: npt.DTypeLike = np.float32
    layout: str = "NCHW"
    roi: InitVar[npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None] = None
    simd: InitVar[str] = ""

    def __post_init__(self, roi: Any, simd: str) -> None:
        if not isinstance(self.memory, NearestMemory):
            raise InputError(f"memory is {describe(self.memory)}, expected a NearestMemory")
        self.size = height, width = check_size("size", self.size)
        weights, blended, temperature = sought(self.weights, self.memory.rows)
        self._count = len(weights)
        if not isinstance(self.root, bool):
            raise InputError(f"root is {self.root!r}, expected True or False")
        self.dtype = check_dtype(self.dtype)
        check_word("layout", self.layout, LAYOUTS)
        check_word("simd", simd, ("", *_cpu.nearest_paths()))
        count_kept(roi, self.size, "position")
        first, last = (self.memory.channels,), (height, width)
        self._shape = (*first, *last) if self.layout == "NCHW" else (*last, *first)
        self._kernel = _cpu.Nearest(
            self.memory.kernel,
            positions=height * width,
            width=width,
            weights=weights,
            blended=blended,
            temperature=temperature,
            root=self.root,
            type=DTYPES.index(self.dtype.name),
            layout=LAYOUTS.index(self.layout),
            roi=None if roi is None else roi.astype(bool).astype(np.uint8),
            simd=simd,
        )

    def run(self, queries: Features, out: F32 | None = None) -> F32:
        """Compute the distances of a batch.

        A NaN in a feature makes the distance of its position NaN, otherwise an infinity, or a
        squared distance over float32, makes it infinite: nothing hides it but a region of
        interest, and nothing raises here.

        Args:
            queries: [N, C, H, W] or, for NHWC, [N, H, W, C] of ``dtype``, aligned, C-contiguous.
            out: [N, height, width] float32 to write into; a new array when None.

        Returns:
            Distances [N, height, width] float32, >= 0; 0 where ``roi`` is.

        Raises:
            InputError: another dtype, shape or memory layout; an ``out`` that does not fit.
        """
        check_batch(queries, "queries", self._shape, self.dtype, self.layout)
        shape = (len(queries), *self.size)
        if out is None:
            out = np.empty(shape, np.float32)
        else:
            check_out(out, shape, np.float32, "the queries", [queries, self.memory.features])
        self._kernel.run(queries, out.reshape(len(queries), -1))
        return out

    @property
    def rows(self) -> npt.NDArray[np.int32]:
        """Rows of the memory nearest to each position of the last frame, [height, width, k].

        The nearest first; -1 where ``roi`` is 0 or the feature is not finite, and before a frame.
        """
        return self._kernel.rows().reshape(*self.size, self._count)


def _check_features(features: Any) -> None:
    fits = isinstance(features, np.ndarray) and features.ndim == 2
    fits = fits and features.dtype.name in MEMORY_DTYPES and features.dtype.isnative
    if not fits or not (features.flags.c_contiguous and features.flags.aligned):
        raise InputError(
            f"the memory is {describe(features)}, expected C-contiguous features [rows, channels], "
            f"one of {', '.join(MEMORY_DTYPES)}"
        )
    if expected := _cpu.expected_memory(*features.shape):
        raise InputError(f"the memory is {describe(features)}, expected {expected}")


def _check_scale(scale: Any, features: npt.NDArray[Any]) -> F32 | None:
    """The scale of each channel; None where features are not integers."""
    if features.dtype != np.int8:
        if scale is not None:
            raise InputError(f"scale is for a memory of int8, and this is {features.dtype}")
        return None
    channels = features.shape[1]
    try:
        given = np.atleast_1d(np.asarray(scale))
    except ValueError:
        given = np.empty(0, object)
    values = given.tolist() if given.dtype.kind in "fiu" and given.ndim == 1 else []
    refuse("scale", scale, _cpu.expected_scale(values, channels))
    return np.ascontiguousarray(np.broadcast_to(given, channels), np.float32)


def sought(given: Any, rows: int) -> tuple[tuple[float, ...], int, float]:
    """What a kernel is given for the weights of :class:`Nearest`.

    Args:
        given: weights, or a :class:`Blend`.
        rows: of the memory.

    Returns:
        A weight for each row that is looked for, how many are blended (0: none), the temperature.

    Raises:
        InputError: as :class:`Nearest`.
    """
    if isinstance(given, Blend):
        count = min(given.neighbours + 1, rows)  # the next one ends the shares
        return (0.0,) * count, min(given.neighbours, rows), given.temperature
    return check_weights(given, MAX_NEAREST), 0, 0.0
