"""anomaly_map: feature pairs become the anomaly map and one score per frame.

``csrc/kernels/anomaly_map.h`` has the formula, ``edgead/reference.py`` the same in float64 NumPy.
"""

from __future__ import annotations

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
    check_dtype,
    check_out,
    check_size,
    check_weights,
    check_word,
    count_kept,
    describe,
    numbers,
    refuse,
    whole_numbers,
)

F32 = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Pairs = Sequence[tuple[Features, Features]]

DISTANCES: tuple[str, ...] = _cpu.DISTANCES
FUSIONS: tuple[str, ...] = _cpu.FUSIONS
POOLINGS: tuple[str, ...] = _cpu.POOLINGS
MAX_LEVELS: int = _cpu.MAX_LEVELS


@dataclass(frozen=True)
class MapParams:
    """How distances become a map and a score.

    Args:
        size: (height, width) of the map in pixels.
        distance: over the channels of a position, a the reference and b the reconstructed feature:
            "cosine" 1 - <a, b> / max(|a| |b|, 1e-8), "l1" mean |a - b|, "l2" mean (a - b)^2.
        weights: one per pair, >= 0 and not all 0.
        fusion: "sum" of w_k up(d_k) | their "product".
        align_corners: of the bilinear upsampling, as in torch.
        blur_sigma: of the Gaussian in pixels of the map, 0 to 1000; 0 means no blur.
        pooling: of the map into the score, "max" | "mean" | "top_k".
        top_k: share of the map's kept pixels that "top_k" averages, in (0, 1]; at least 1 pixel.

    Raises:
        InputError: anything else.
    """

    size: tuple[int, int]
    distance: str = "cosine"
    weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    fusion: str = "sum"
    align_corners: bool = False
    blur_sigma: float = 4.0
    pooling: str = "max"
    top_k: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size", self.size))
        for name, expected in (("distance", DISTANCES), ("fusion", FUSIONS), ("pooling", POOLINGS)):
            check_word(name, getattr(self, name), expected)
        weights = check_weights(self.weights, MAX_LEVELS)
        (sigma,), (top_k,) = numbers((self.blur_sigma,)), numbers((self.top_k,))
        refuse("blur_sigma", self.blur_sigma, _cpu.expected_blur_sigma(sigma))
        refuse("top_k", self.top_k, _cpu.expected_top_k(top_k))
        if not isinstance(self.align_corners, bool):
            raise InputError(f"align_corners is {self.align_corners!r}, expected True or False")
        for name, value in (("weights", weights), ("blur_sigma", sigma), ("top_k", top_k)):
            object.__setattr__(self, name, value)

    def top_count(self, pixels: int) -> int:
        """Number of pixels that "top_k" averages.

        Args:
            pixels: how many the map has, or keeps.
        """
        return _cpu.top_count(self.top_k, pixels)


def kernel_arguments(
    params: MapParams,
    shapes: Sequence[tuple[int, int, int]],
    dtype: npt.DTypeLike,
    layout: str,
    roi: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
) -> dict[str, Any]:
    """The arguments of both kernels; InputError for a ``roi`` that does not fit the map."""
    return {
        "shapes": shapes,
        "weights": params.weights,
        "size": params.size,
        "distance": DISTANCES.index(params.distance),
        "fusion": FUSIONS.index(params.fusion),
        "pooling": POOLINGS.index(params.pooling),
        "top_count": params.top_count(count_kept(roi, params.size, "pixel")),
        "align_corners": params.align_corners,
        "sigma": params.blur_sigma,
        "type": DTYPES.index(np.dtype(dtype).name),
        "layout": LAYOUTS.index(layout),
        "roi": None if roi is None else roi.astype(np.uint8),
    }


@dataclass(eq=False)
class AnomalyMap:
    """Maps and scores of frames, for one set of feature shapes.

    Computes its operators and workspace once. Not for two threads at once; one per thread.

    With a region of interest, ignored pixels are exactly 0 in the map and the score is pooled over
    the kept ones. It changes neither the distances nor the blur: a kept pixel is the same with it
    and without it, so what lies under an ignored pixel still reaches the kept pixels around it.

    Args:
        params: see :class:`MapParams`.
        shapes: (channels, height, width) of each pair, whatever the layout.
        dtype: of the features, float32 or float16; everything after reading them is float32.
        layout: of the features, "NCHW" [N, C, H, W] | "NHWC" [N, H, W, C].
        roi: [height, width] of the map, bool or uint8, 0 where a pixel is ignored; copied; None
            keeps all.
        simd: instruction set, one of ``edgead._cpu.simd_paths()``; the best one when empty.

    Raises:
        InputError: no shape for a weight, a zero, a feature of more than 2^31 - 1 values, another
            dtype or layout, a ``roi`` of another shape or dtype or one that keeps no pixel.
    """

    params: MapParams
    shapes: Sequence[tuple[int, int, int]]
    _: KW_ONLY
    dtype: npt.DTypeLike = np.float32
    layout: str = "NCHW"
    roi: InitVar[npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None] = None
    simd: InitVar[str] = ""

    def __post_init__(self, roi: Any, simd: str) -> None:
        self.shapes = tuple(_shape(k, shape) for k, shape in enumerate(self.shapes))
        self.dtype = check_dtype(self.dtype)
        check_word("layout", self.layout, LAYOUTS)
        check_word("simd", simd, ("", *_cpu.simd_paths()))
        last = self.layout == "NHWC"
        self._shapes = tuple((h, w, c) if last else (c, h, w) for c, h, w in self.shapes)
        given = kernel_arguments(self.params, self.shapes, self.dtype, self.layout, roi)
        self._kernel = _cpu.AnomalyMap(**given, simd=simd)

    def run(self, pairs: Pairs, out: F32 | None = None) -> tuple[F32, F32]:
        """Compute the maps and scores of a batch.

        A NaN or an infinity in a feature makes the map there and the score not finite: nothing
        hides it, except a region of interest that ignores every pixel it reaches, and nothing
        raises here.

        Args:
            pairs: (reference, reconstructed), each [N, C, H, W] or, for NHWC, [N, H, W, C] of
                ``dtype``, aligned and C-contiguous.
            out: [N, height, width] float32 to write the maps into; a new array when None.

        Returns:
            Maps [N, height, width] float32, scores [N] float32, both >= 0, unbounded.

        Raises:
            InputError: another dtype, shape or memory layout; an ``out`` that does not fit.
        """
        batch = self._check(pairs)
        if out is None:
            out = np.empty((batch, *self.params.size), np.float32)
        else:
            features = (array for pair in pairs for array in pair)
            check_out(out, (batch, *self.params.size), np.float32, "a feature", features)
        score = np.empty(batch, np.float32)
        self._kernel.run(pairs, out, score)
        return out, score

    def _check(self, pairs: Pairs) -> int:
        try:
            batch: int = pairs[0][0].shape[0]
            if batch > 0 and len(pairs) == len(self._shapes):
                fits = True
                for (a, b), shape in zip(pairs, self._shapes, strict=True):
                    expected = (batch, *shape)
                    fits = fits and self._fits(a, expected) and self._fits(b, expected)
                if fits:
                    return batch
        except (AttributeError, TypeError, ValueError, IndexError, KeyError):
            pass  # whatever it is, _explain says what is wrong with it
        raise self._explain(pairs)

    def _fits(self, array: Any, shape: tuple[int, ...]) -> bool:
        same = array.shape == shape and array.dtype == self.dtype
        return bool(same and array.flags.c_contiguous and array.flags.aligned)

    def _explain(self, pairs: Any) -> InputError:
        """Find out what :meth:`_check` disliked."""
        try:
            rows = [tuple(pair) for pair in pairs]
        except TypeError:
            return InputError(f"pairs is {describe(pairs)}, expected a sequence of pairs of arrays")
        if len(rows) != len(self.shapes) or any(len(row) != 2 for row in rows):
            return InputError(
                f"pairs has {len(rows)} entries of {[len(row) for row in rows]} arrays, expected "
                f"{len(self.shapes)} pairs (reference, restored)"
            )
        arrays = [a for a, _ in rows if isinstance(a, np.ndarray) and a.ndim == 4]
        batch = arrays[0].shape[0] if arrays else 0
        for k, (row, shape) in enumerate(zip(rows, self._shapes, strict=True)):
            for name, array in zip(("reference", "restored"), row, strict=True):
                if not isinstance(array, np.ndarray) or not self._fits(array, (batch, *shape)):
                    return InputError(
                        f"{name} of pair {k} is {describe(array)}, expected C-contiguous, aligned "
                        f"{self.dtype} of shape (N, {', '.join(map(str, shape))}), {self.layout}, "
                        "N the same in all pairs"
                    )
        return InputError("pairs have N = 0 frames, expected at least one")


def _shape(k: int, given: Any) -> tuple[int, int, int]:
    shape = whole_numbers(given)
    refuse(f"shape of pair {k}", given, _cpu.expected_shape(shape))
    channels, height, width = shape
    return channels, height, width


def pool(values: F32, roi: npt.NDArray[np.uint8] | None, params: MapParams) -> float:
    """The score of a stitched map [h, w], as the kernel pools the map of one image.

    ``roi``: 0 where a pixel does not count; None keeps all. Not finite where a kept value is not.
    """
    return _cpu.pool(values, roi, POOLINGS.index(params.pooling), params.top_k)
