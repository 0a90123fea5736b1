"""Every kernel again in NumPy: the meaning of the library, slow and easy to check.

The tests hold the kernels against this file, and this file against independent truths (torch,
scipy, cases computed by hand).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgead.preprocess import PreprocessParams, check_frame, normalisation

F64 = npt.NDArray[np.float64]


def resize_weights(size_in: int, size_out: int, *, quantised: bool = True) -> F64:
    """The filter of one direction as a dense matrix [size_out, size_in].

    Row i is a triangle around (i + 0.5) * in / out whose half width is max(1, in / out) samples,
    normalised. Quantised: integers that sum to 16384, the differences of the rounded running sum.
    """
    scale = size_in / size_out
    support = max(1.0, scale)
    weights = np.zeros((size_out, size_in))
    for i in range(size_out):
        center = (i + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), size_in)
        tent = np.maximum(1.0 - np.abs((np.arange(first, last) + 0.5 - center) / support), 0.0)
        running = np.cumsum(tent)  # in order, as the kernel does it
        if quantised:
            reached = np.floor(running / running[-1] * 16384.0 + 0.5)
            weights[i, first:last] = np.diff(reached, prepend=0.0)
        else:
            weights[i, first:last] = tent / running[-1]
    return weights


def preprocess(
    frame: npt.NDArray[Any], params: PreprocessParams, *, color: str = "bgr"
) -> npt.NDArray[np.float32]:
    """:func:`edgead.preprocess.preprocess`, the same bits.

    The integers are held in float64: all of them are below 2^53, so each product and sum is exact.
    """
    check_frame(frame, color)
    channels = frame.reshape(*frame.shape[:2], -1)
    if channels.shape[2] == 1:
        channels = np.repeat(channels, 3, axis=2)
    elif color == "bgr":
        channels = channels[:, :, ::-1]
    planes = channels.transpose(2, 0, 1).astype(np.float64)
    acc = resize_weights(frame.shape[0], params.size[0]) @ planes
    half, unit = (2.0**5, 2.0**6) if frame.dtype == np.uint8 else (2.0**13, 2.0**14)
    mid = np.floor((acc + half) / unit)
    acc = mid @ resize_weights(frame.shape[1], params.size[1]).T
    scale, bias = normalisation(params, frame.dtype)
    image = acc.astype(np.float32) * scale[:, None, None] + bias[:, None, None]
    return np.ascontiguousarray(image)
