"""preprocess: a camera frame of any size becomes the network's image.

The result is fixed bit by bit (formula: ``csrc/kernels/preprocess.h``): training, evaluation and
the runtime, on the CPU or a GPU, get the same image from the same frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgead import _cpu
from edgead.errors import InputError
from edgead.images.arrays import as_frame
from edgead.images.bits import check_bit_depth, check_values, full_scale

COLORS = ("bgr", "rgb", "gray")

DTYPES: tuple[str, ...] = _cpu.TYPES[:2]
LAYOUTS: tuple[str, ...] = _cpu.LAYOUTS
MAX_SIDE: int = _cpu.MAX_SIDE

_DTYPES_OF_FRAMES = (np.dtype(np.uint8), np.dtype(np.uint16))
_ORDER = {"bgr": (2, 1, 0), "rgb": (0, 1, 2), "gray": (0, 0, 0)}


@dataclass(frozen=True)
class PreprocessParams:
    """The input of the network.

    Args:
        size: (height, width) of the image in pixels, each 1 to 32767.
        mean: of R, G, B, where 0 is black and 1 is the largest value that a frame can have.
        std: likewise, > 0.
        bit_depth: of uint16 frames, 9 to 16: their largest value is ``2**bit_depth - 1``; None: not
            declared, which is 16. The largest value of uint8 frames is 255, whatever it says.

    Raises:
        InputError: a value that is none of these.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet's, as torchvision has them
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bit_depth", check_bit_depth(self.bit_depth))
        object.__setattr__(self, "size", check_size("size", self.size))
        for name, check in (("mean", _cpu.expected_mean), ("std", _cpu.expected_std)):
            given = getattr(self, name)
            values = numbers(given)
            refuse(name, given, check(values))
            object.__setattr__(self, name, values)

    def declared(self, bit_depth: int | None) -> PreprocessParams:
        """The same for uint16 frames of another bit depth; None changes nothing.

        Args:
            bit_depth: 9 to 16.

        Raises:
            InputError: another number.
        """
        return self if bit_depth is None else replace(self, bit_depth=bit_depth)


def refuse(name: str, given: Any, expected: str) -> None:
    """Raise InputError where something else is expected, in the words of ``edgead._cpu``."""
    if expected:
        raise InputError(f"{name} is {given!r}, expected {expected}")


def numbers(given: Any) -> tuple[float, ...]:
    """``given`` as floats; a NaN, which every rule refuses, where it holds something else."""
    try:
        return tuple(float(number) for number in given)
    except (TypeError, ValueError, OverflowError):
        return (math.nan,)


def whole_numbers(given: Any) -> tuple[int, ...]:
    """``given`` as ints of 64 bits; none, which every rule refuses, where it holds others."""
    try:
        found = tuple(int(number) for number in given)
        same = found == tuple(given) and all(-(2**63) <= number < 2**63 for number in found)
    except (TypeError, ValueError, OverflowError):
        same = False
    return found if same else ()


def check_size(name: str, size: Any) -> tuple[int, int]:
    """Return ``size`` as (height, width), or raise InputError."""
    sides = whole_numbers(size)
    refuse(name, size, _cpu.expected_size(sides))
    height, width = sides
    return height, width


def check_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as NumPy's, or raise InputError unless it is float32 or float16."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.float32, np.float16):
        raise InputError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    return found


def check_word(name: str, given: Any, expected: tuple[str, ...]) -> None:
    """Raise InputError unless ``given`` is one of the words."""
    if not isinstance(given, str) or given not in expected:
        named = ", ".join(filter(None, expected))
        raise InputError(f"{name} is {given!r}, expected one of {named}")


def check_weights(given: Any, most: int) -> tuple[float, ...]:
    """Return 1 to ``most`` weights as floats, or raise InputError."""
    weights = numbers(given)
    refuse("weights", given, _cpu.expected_weights(weights, most))
    return weights


def count_kept(roi: Any, size: tuple[int, int], what: str) -> int:
    """How many of a map ``roi`` keeps, "pixel" or "position" by ``what``; else InputError."""
    if roi is None:
        return size[0] * size[1]
    fits = isinstance(roi, np.ndarray) and roi.shape == size and roi.dtype in (bool, np.uint8)
    if not fits:
        raise InputError(
            f"roi is {describe(roi)}, expected bool or uint8 of shape {size}, the size of the map"
        )
    kept = int(np.count_nonzero(roi))
    if kept == 0:
        raise InputError(f"roi keeps no {what}, expected at least one that is not 0")
    return kept


def check_frame(frame: Any, color: str = "bgr") -> npt.NDArray[Any]:
    """Return what :func:`preprocess` takes as the array it reads; else raise InputError."""
    check_word("color", color, COLORS)
    array = as_frame(frame, color)
    check_geometry(array, color)
    return array


def check_geometry(frame: Any, color: str) -> None:
    """The part of :func:`check_frame` that looks at ``dtype``, ``shape`` and ``ndim`` only."""
    if frame.dtype not in _DTYPES_OF_FRAMES:
        # Arrays of the host were looked at by as_frame: this one lies in GPU memory.
        tensor = hasattr(getattr(frame, "array", frame), "permute")
        cast = "to(torch.uint8)" if tensor else 'astype("uint8")'
        line, white = f"frame.{cast}", 255
        if frame.dtype.kind == "f":
            line, white = f"(255 * frame).round().{cast}", 1
        raise InputError(
            f"the frame's dtype is {frame.dtype}, expected uint8 or uint16. Where {white} is "
            f"white: give {line}"
        )
    shape = frame.shape
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and shape[2] not in (1, 3)):
        raise InputError(
            f"the frame has shape {shape}, expected [H, W], [H, W, 1] or [H, W, 3]: of four "
            "channels give frame[:, :, :3]"
        )
    if problem := _cpu.problem_of_frame(shape[0], shape[1]):
        raise InputError(problem)
    if color == "gray" and frame.ndim == 3 and shape[2] == 3:
        raise InputError(
            f"the frame has shape {shape} and color is 'gray': pass color='bgr' or 'rgb', "
            "or one channel of it"
        )


def normalisation(
    params: PreprocessParams, dtype: npt.DTypeLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The float32 (scale, bias) [3] that turn the filter's integers into the image."""
    scale, bias = _cpu.normalisation(params.mean, params.std, _bits(dtype, params))
    return np.asarray(scale, np.float32), np.asarray(bias, np.float32)


def _bits(dtype: npt.DTypeLike, params: PreprocessParams) -> int:
    return full_scale(dtype, params.bit_depth).bit_length()


def kernel_arguments(
    frame: Any, params: PreprocessParams, color: str, dtype: npt.DTypeLike, layout: str
) -> dict[str, Any]:
    """The arguments of both kernels; of ``frame`` only ``shape``, ``strides`` and ``dtype``."""
    grey = frame.ndim == 2 or frame.shape[2] == 1
    bits = _bits(frame.dtype, params)
    scale, bias = _cpu.normalisation(params.mean, params.std, bits)
    return {
        "shape": (*frame.shape[:2], 1 if grey else 3),
        "strides": frame.strides if frame.ndim == 3 else (*frame.strides, 0),
        "sample_bytes": frame.dtype.itemsize,
        "bit_depth": bits,
        "size": params.size,
        "order": _ORDER["gray" if grey else color],
        "scale": scale,
        "bias": bias,
        "type": DTYPES.index(np.dtype(dtype).name),
        "layout": LAYOUTS.index(layout),
    }


@dataclass(eq=False)
class Preprocessor:
    """:func:`preprocess` for a stream: keeps the filter of the last frame's geometry.

    Not for two threads at once; one per thread costs a few hundred kilobytes.

    Args:
        params, color, dtype, layout: see :func:`preprocess`.
        bit_depth: of uint16 frames, 9 to 16; None: what ``params`` declares, else 16.
        simd: instruction set, one of ``edgead._cpu.simd_paths()``; the best one when empty.
        checked: the caller has looked for values above the bit depth.

    Raises:
        InputError: an unknown color, another dtype or layout, a bit depth out of its range.
    """

    params: PreprocessParams
    color: str = "bgr"
    _: KW_ONLY
    dtype: npt.DTypeLike = np.float32
    layout: str = "NCHW"
    bit_depth: int | None = None
    simd: str = ""
    checked: bool = False

    def __post_init__(self) -> None:
        check_word("color", self.color, COLORS)
        check_word("layout", self.layout, LAYOUTS)
        check_word("simd", self.simd, ("", *_cpu.simd_paths()))
        self.params = self.params.declared(self.bit_depth)
        self.dtype, size = check_dtype(self.dtype), self.params.size
        self._shape = (3, *size) if self.layout == "NCHW" else (*size, 3)
        self._geometry: tuple[Any, ...] | None = None
        self._kernel: Any = None

    def run(self, frame: Any, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Make the image of one frame, as :func:`preprocess` does.

        Args:
            frame: [H, W], [H, W, 1] or [H, W, 3], uint8 or uint16, any size and strides, or what
                :func:`edgead.images.arrays.as_frame` makes such an array of.
            out: where to write the image, writable and C-contiguous; None: a new array.

        Returns:
            The image, ``out`` where it was given.

        Raises:
            InputError: an array that is not a frame, a value above what the bit depth has, an
                ``out`` that does not fit.
        """
        known = type(frame) is np.ndarray
        if not known or (frame.shape, frame.strides, frame.dtype) != self._geometry:
            frame = check_frame(frame, self.color)
            geometry = (frame.shape, frame.strides, frame.dtype)
            if geometry != self._geometry:
                given = kernel_arguments(frame, self.params, self.color, self.dtype, self.layout)
                self._kernel = _cpu.Preprocess(**given, simd=self.simd)
                self._geometry = geometry
        if not self.checked:
            check_values(frame, self.params.bit_depth)
        if out is None:
            out = np.empty(self._shape, self.dtype)
        else:
            check_out(out, self._shape, self.dtype, "the frame", [frame])
        self._kernel.run(frame, out)
        return out


def check_out(
    out: Any, shape: tuple[int, ...], dtype: npt.DTypeLike, what: str, inputs: Iterable[Any]
) -> None:
    """Raise InputError unless a kernel can write to ``out``; ``what`` names its ``inputs``."""
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype == dtype
    if not fits or not out.flags.carray:  # C-contiguous, aligned, writable
        raise InputError(
            f"out is {describe(out)}, expected a writable C-contiguous {np.dtype(dtype)} array of "
            f"shape {shape}"
        )
    if any(np.may_share_memory(out, array) for array in inputs):
        raise InputError(f"out overlaps {what}, expected memory of its own")


def check_batch(
    batch: Any, what: str, shape: tuple[int, ...], dtype: npt.DTypeLike, layout: str
) -> None:
    """Raise InputError unless a kernel can read ``batch``, [N, *shape]; ``what`` names it."""
    fits = isinstance(batch, np.ndarray) and batch.shape[1:] == shape and batch.dtype == dtype
    if not fits or len(batch) == 0 or not (batch.flags.c_contiguous and batch.flags.aligned):
        raise InputError(
            f"{what} is {describe(batch)}, expected C-contiguous, aligned {np.dtype(dtype)} of "
            f"shape (N, {', '.join(map(str, shape))}), {layout}, N at least 1"
        )


def describe(array: Any) -> str:
    """A few words for an error message: dtype and shape, or the type."""
    if not isinstance(array, np.ndarray):
        return f"a {type(array).__name__}"
    flags = array.flags
    order = "" if flags.c_contiguous else ", not C-contiguous"
    order += "" if flags.aligned else ", not aligned"
    return f"{array.dtype} of shape {array.shape}{order}{'' if flags.writeable else ', read-only'}"


def preprocess(
    frame: Any,
    params: PreprocessParams,
    *,
    color: str = "bgr",
    dtype: npt.DTypeLike = np.float32,
    layout: str = "NCHW",
    bit_depth: int | None = None,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Resize a frame with antialiasing, order its channels, normalise it.

    ``image[c] = (resize(frame)[c] / full - mean[c]) / std[c]``, where full is 255, or of uint16
    frames ``2**bit_depth - 1``, never by their content. Grey frames are replicated to three
    channels. A float16 image is the float32 one rounded to nearest even.

    Args:
        frame: [H, W], [H, W, 1] or [H, W, 3], uint8 or uint16, any strides, sides 1 to 32767, or
            what :func:`edgead.images.arrays.as_frame` makes such an array of.
        params: size, mean and std of the image.
        color: order of a three-channel frame, "bgr" | "rgb"; "gray" allows none.
        dtype: of the image, float32 or float16.
        layout: of the image, "NCHW" [3, height, width] | "NHWC" [height, width, 3].
        bit_depth: of a uint16 frame, 9 to 16; None: what ``params`` declares, else 16.
        out: the image to write into; a new array when None.

    Returns:
        The image, channels R, G, B.

    Raises:
        InputError: another type, dtype, shape, color or layout; a value above the bit depth's
            largest; an ``out`` that does not fit.

    Source: half-pixel bilinear, the triangle widened when shrinking, as
    ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` has it.
    """
    stream = Preprocessor(params, color, dtype=dtype, layout=layout, bit_depth=bit_depth)
    return stream.run(frame, out)
