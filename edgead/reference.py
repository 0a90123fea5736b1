"""Every kernel again in NumPy: the meaning of the library, slow and easy to check.

The tests hold the kernels against this file, and this file against independent truths (torch,
scipy, cases computed by hand).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgead.anomaly_map import MapParams
from edgead.images.bits import full_scale
from edgead.nearest import Blend
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


NV12_FACTORS = (
    (16, 1.164, 1.596, 0.391, 0.813, 2.018),
    (0, 1.0, 1.402, 0.344, 0.714, 1.772),
    (16, 1.164, 1.793, 0.213, 0.533, 2.112),
    (0, 1.0, 1.575, 0.187, 0.468, 1.856),
)
"""Black; of Y in all colours, V in red, U and V in green, U in blue: in the order of the names in
``edgead.images.nv12``."""


def nv12(
    light: npt.NDArray[np.uint8], chroma: npt.NDArray[np.uint8], color_space: int
) -> npt.NDArray[np.uint8]:
    """:meth:`edgead.images.nv12.Nv12.colors`, the same bytes.

    Args:
        light: [H, W].
        chroma: [H / 2, W] of U V.
        color_space: number of the row of ``NV12_FACTORS``.

    Returns:
        [H, W, 3] in the order R, G, B.
    """
    black, *factors = NV12_FACTORS[color_space]
    of_y, red_v, green_u, green_v, blue_u = (int(factor * 2**20 + 0.5) for factor in factors)
    height, width = light.shape
    pairs = chroma.reshape(height // 2, width // 2, 2).astype(np.int64) - 128
    u, v = np.moveaxis(pairs.repeat(2, axis=0).repeat(2, axis=1), 2, 0)
    y = np.maximum(light.astype(np.int64) - black, 0) * of_y + 2**19
    sums = np.stack([y + red_v * v, y - green_u * u - green_v * v, y + blue_u * u], axis=2)
    return np.asarray(np.clip(sums // 2**20, 0, 255), np.uint8)


def preprocess(
    frame: npt.NDArray[Any],
    params: PreprocessParams,
    *,
    color: str = "bgr",
    dtype: npt.DTypeLike = np.float32,
    layout: str = "NCHW",
    bit_depth: int | None = None,
) -> npt.NDArray[Any]:
    """:func:`edgead.preprocess.preprocess`, the same bits.

    The integers are held in float64: all of them are below 2^53, so each product and sum is exact.

    Args:
        frame: [H, W], [H, W, 1] or [H, W, 3], uint8 or uint16.
        params: size and normalisation of the image.
        color: channel order of the frame, "bgr", "rgb" or "gray".
        dtype: float32 or float16.
        layout: "NCHW" or "NHWC".
        bit_depth: of a uint16 frame; None: what ``params`` declares, else 16. Values above it are
            not refused here: the sums are bounded, as in the kernels.

    Returns:
        The image, [3, h, w] or [h, w, 3].
    """
    frame = check_frame(frame, color)
    params = params.declared(bit_depth)
    bits = full_scale(frame.dtype, params.bit_depth).bit_length()
    channels = frame.reshape(*frame.shape[:2], -1)
    if channels.shape[2] == 1:
        channels = np.repeat(channels, 3, axis=2)
    elif color == "bgr":
        channels = channels[:, :, ::-1]
    planes = channels.transpose(2, 0, 1).astype(np.float64)
    acc = resize_weights(frame.shape[0], params.size[0]) @ planes
    mid = np.minimum(np.floor((acc + 2.0 ** (bits - 3)) / 2.0 ** (bits - 2)), 65535.0)
    acc = mid @ resize_weights(frame.shape[1], params.size[1]).T
    scale, bias = normalisation(params, frame.dtype)
    image = acc.astype(np.float32) * scale[:, None, None] + bias[:, None, None]
    with np.errstate(over="ignore"):  # beyond 65504 a float16 is infinite
        image = image.astype(dtype)
    return np.ascontiguousarray(image if layout == "NCHW" else image.transpose(1, 2, 0))


def distance(a: npt.ArrayLike, b: npt.ArrayLike, kind: str) -> F64:
    """Distance of features over the channels.

    Args:
        a, b: [N, C, H, W].
        kind: "cosine", "l1" or "l2".

    Returns:
        [N, H, W] float64, 0 where they are equal.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if kind == "l1":
        return np.asarray(np.abs(a - b).mean(axis=1))
    if kind == "l2":
        return np.asarray(np.square(a - b).mean(axis=1))
    dot = (a * b).sum(axis=1)
    norm = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return np.asarray(np.maximum(1.0 - dot / np.maximum(norm, 1e-8), 0.0))


def upsample_matrix(size_in: int, size_out: int, *, align_corners: bool) -> F64:
    """Bilinear interpolation of one direction as a dense matrix [size_out, size_in]."""
    i = np.arange(size_out)
    if align_corners:
        at = i * (size_in - 1) / max(size_out - 1, 1)
    else:
        at = (i + 0.5) * size_in / size_out - 0.5
    at = np.clip(at, 0.0, size_in - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, size_in - 1)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (i, low), 1.0 - (at - low))
    np.add.at(matrix, (i, high), at - low)
    return matrix


def blur_matrix(size: int, sigma: float) -> F64:
    """Gaussian of one direction as a dense matrix [size, size]; the border is repeated."""
    if sigma == 0:
        return np.eye(size)
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / sigma**2 * offsets**2)
    weights /= weights.sum()
    matrix = np.zeros((size, size))
    for i in range(size):
        np.add.at(matrix[i], np.clip(i + offsets, 0, size - 1), weights)
    return matrix


def anomaly_map(
    pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    params: MapParams,
    roi: npt.NDArray[Any] | None = None,
) -> tuple[F64, F64]:
    """:func:`edgead.anomaly_map.AnomalyMap` step by step, in float64.

    Args:
        pairs: reference and reconstructed features of each level, [N, C, H, W] each.
        params: distance, weights, fusion, blur and pooling.
        roi: [h, w], 0 where a pixel of the map is ignored; None: all count.

    Returns:
        maps [N, h, w] and scores [N].
    """
    height, width = params.size
    levels = []
    for (a, b), weight in zip(pairs, params.weights, strict=True):
        d = distance(a, b, params.distance)
        rows = upsample_matrix(d.shape[1], height, align_corners=params.align_corners)
        columns = upsample_matrix(d.shape[2], width, align_corners=params.align_corners)
        levels.append(weight * (rows @ d @ columns.T))
    fused = np.sum(levels, axis=0) if params.fusion == "sum" else np.prod(levels, axis=0)
    maps = blur_matrix(height, params.blur_sigma) @ fused @ blur_matrix(width, params.blur_sigma).T
    kept = np.ones(params.size, bool) if roi is None else roi != 0
    return np.where(kept, maps, 0.0), pool(maps[:, kept], params)


def pool(pixels: F64, params: MapParams) -> F64:
    """Pool the kept pixels of maps.

    Args:
        pixels: [N, pixels] float64.
        params: "pooling" and "top_k" of them.

    Returns:
        Scores [N].
    """
    if params.pooling == "mean":
        return np.asarray(pixels.mean(axis=1))
    if params.pooling == "max":
        return np.asarray(pixels.max(axis=1))
    top = params.top_count(pixels.shape[1])
    return np.asarray(np.sort(pixels, axis=1)[:, -top:].mean(axis=1))


def nearest(
    queries: npt.ArrayLike,
    memory: npt.ArrayLike,
    weights: Sequence[float] | Blend = (1.0,),
    roi: npt.NDArray[Any] | None = None,
) -> F64:
    """:func:`edgead.nearest.Nearest` in float64: every difference, squared and added.

    Args:
        queries: [N, C, H, W].
        memory: [M, C]; of int8, times its scale.
        weights: of the nearest, the second nearest ..., or a ``Blend`` of these.
        roi: [H, W], 0 where a position is skipped; None: all count.

    Returns:
        Distances [N, H, W]; NaN where a query holds a NaN, otherwise infinite where an infinity.
    """
    queries, memory = np.asarray(queries, np.float64), np.asarray(memory, np.float64)
    count, _, height, width = queries.shape
    found = np.zeros((count, height, width))
    for place in np.ndindex(count, height, width):
        if roi is not None and roi[place[1:]] == 0:
            continue
        feature = queries[place[0], :, place[1], place[2]]
        squares = np.square(feature - memory).sum(axis=1)
        if not isinstance(weights, Blend):
            found[place] = np.dot(weights, np.sort(squares)[: len(weights)])
        elif np.isfinite(squares).all():
            found[place] = np.square(feature - _blend(squares, memory, weights)).sum()
        else:
            found[place] = squares.min()
    return found


def whiten(
    features: npt.ArrayLike,
    mean: npt.ArrayLike,
    factors: npt.ArrayLike,
    side: int | None = None,
    *,
    channel_normal: bool = False,
    epsilon: float = 1e-5,
    roi: npt.NDArray[Any] | None = None,
) -> F64:
    """:func:`edgead.engine.whiten.Whiten` in float64, one position at a time.

    Args:
        features: [N, C, H, W].
        mean: [C, H, W].
        factors: [regions, outputs, C].
        side: of a region in positions; None: one region.
        channel_normal: features to mean 0 and variance 1 over the channels first.
        epsilon: added to that variance.
        roi: [H, W], 0 where a position is skipped; None: all count.

    Returns:
        Distances [N, H, W].
    """
    features, mean = np.asarray(features, np.float64), np.asarray(mean, np.float64)
    factors = np.asarray(factors, np.float64)
    count, _, height, width = features.shape
    side = side or max(height, width)
    across = -(-width // side)
    found = np.zeros((count, height, width))
    for n, y, x in np.ndindex(found.shape):
        if roi is not None and roi[y, x] == 0:
            continue
        feature = features[n, :, y, x]
        if channel_normal:
            feature = (feature - feature.mean()) / np.sqrt(feature.var() + epsilon)
        factor = factors[y // side * across + x // side]
        found[n, y, x] = np.square(factor @ (feature - mean[:, y, x])).mean()
    return found


def _blend(squares: F64, memory: F64, blend: Blend) -> F64:
    """What a :class:`Blend` makes of the nearest rows [M, C] at ``squares`` [M]: [C]."""
    nearest = np.argsort(squares, kind="stable")[: blend.neighbours + 1]
    share = np.exp((squares[nearest[0]] - squares[nearest]) / blend.temperature)
    share /= share.sum()
    if len(nearest) > blend.neighbours:
        share = share[:-1] - share[-1]
    share += 1e-4  # where all are equal, their mean counts
    return np.asarray(share / share.sum() @ memory[nearest[: len(share)]])


def signals(
    distances: Sequence[npt.ArrayLike],
    shown: Sequence[npt.ArrayLike | None],
    scored: Sequence[npt.ArrayLike | None],
    own_levels: tuple[float, float] | None = None,
) -> tuple[list[F64], F64]:
    """What the map is told of distances to what was learnt, and the sum for the score.

    Args:
        distances: of each memory and whitening, [height, width].
        shown, scored: what each position counts in the map and in the sum; None: nothing.
        own_levels: the lowest and the highest of good frames, between which others are raised to
            the highest; None: they stay as they are.

    Returns:
        The distances of each that counts in the map, times what they count; the sum.
    """
    counted = [
        np.asarray(d, np.float64) * np.asarray(w, np.float64)
        for d, w in zip(distances, shown, strict=True)
        if w is not None
    ]
    terms = [
        np.asarray(d, np.float64) * np.asarray(w, np.float64)
        for d, w in zip(distances, scored, strict=True)
        if w is not None
    ]
    total: F64 = np.asarray(np.sum(terms, axis=0, dtype=np.float64))
    if own_levels is None:
        return counted, total
    own = np.sqrt(np.sum(counted, axis=0)).mean()
    factor = own_levels[1] / np.clip(own, *own_levels) if np.isfinite(own) else 1.0
    return [factor * one for one in counted], np.asarray(factor * total)


def principal_components(values: npt.ArrayLike) -> tuple[F64, F64]:
    """The mean [channels] and the directions of most variance [channels, channels], best first."""
    features = np.asarray(values, np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors[:, ::-1].T


def growth(value: float, usual: float) -> float:
    """How many times a tolerance counts at an expected ``value``; ``usual``: the largest known."""
    return max(1.0, abs(value) / usual) if usual > 0 else 1.0
