"""anomaly_map of float32 and float16, NCHW and NHWC features: every setting against float64."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from edgead import reference
from edgead.anomaly_map import (
    DISTANCES,
    DTYPES,
    FUSIONS,
    LAYOUTS,
    POOLINGS,
    AnomalyMap,
    MapParams,
)

from .grid import grid

# As in test_anomaly_map.py. float16 needs no more: it is exact in float32, and the reference gets
# the values after their rounding to float16.
ROUNDINGS = 40 * 2.0**-24

# Map size: shapes of the pairs. Channels below, at, above and between whole vectors; positions too,
# and more of them than one tile has.
CASES = {
    (1, 1): ((1, 1, 1), (40, 3, 5)),
    (7, 5): ((37, 7, 5), (19, 1, 1)),
    (33, 129): ((5, 33, 129), (16, 3, 17)),
    (3, 1000): ((21, 3, 250), (2, 1, 1000)),
}


@cache
def features(size, dtype):
    """Pairs [2, C, H, W] of ``dtype`` for a map of ``size``."""
    rng = np.random.default_rng(7)
    pairs = []
    for shape in CASES[size]:
        a = rng.standard_normal((2, *shape))
        b = a + 0.5 * rng.standard_normal(a.shape)
        pairs.append((a.astype(dtype), b.astype(dtype)))
    return pairs


@cache
def exact_maps(size, dtype, distance, fusion, align_corners, sigma):
    params = MapParams(size, distance, (0.5, 1.5), fusion, align_corners, sigma)
    return reference.anomaly_map(features(size, dtype), params)[0]


def in_layout(pairs, layout):
    """NCHW arrays as arrays of ``layout``."""
    if layout == "NCHW":
        return pairs
    return [tuple(np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in pair) for pair in pairs]


@pytest.mark.parametrize(("size", "dtype", "layout"), grid(list(CASES), DTYPES, LAYOUTS))
def test_every_setting_follows_float64(size, dtype, layout, simd):
    pairs = in_layout(features(size, dtype), layout)
    for distance, fusion, align_corners, sigma in itertools.product(
        DISTANCES, FUSIONS, [False, True], [0.0, 0.7, 4.0]
    ):
        exact = exact_maps(size, dtype, distance, fusion, align_corners, sigma)
        atol = max(1.0, float(exact.max())) * len(pairs) * ROUNDINGS
        for pooling in POOLINGS:
            params = MapParams(
                size, distance, (0.5, 1.5), fusion, align_corners, sigma, pooling, top_k=0.1
            )
            kernel = AnomalyMap(params, CASES[size], dtype=dtype, layout=layout, simd=simd)
            maps, scores = kernel.run(pairs)
            assert maps.dtype == scores.dtype == np.float32
            np.testing.assert_allclose(maps, exact, rtol=0, atol=atol)
            pooled = reference.pool(exact.reshape(2, -1), params)
            np.testing.assert_allclose(scores, pooled, rtol=0, atol=atol)


def test_every_half_is_read_exactly(simd):
    # l1 of one channel against 0 is the value itself: all 2^16 bit patterns, in lanes and in tails.
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]  # 62 * 1024
    for layout, size in itertools.product(LAYOUTS, [(62, 1024), (3, 11), (1, 3)]):
        params = MapParams(size, "l1", (1.0,), blur_sigma=0.0)
        kernel = AnomalyMap(params, [(1, *size)], dtype=np.float16, layout=layout, simd=simd)
        values = finite[-size[0] * size[1] :].reshape(size)
        (pair,) = in_layout([(values[None, None], np.zeros_like(values)[None, None])], layout)
        np.testing.assert_array_equal(kernel.run([pair])[0][0], np.abs(values).astype(np.float32))


@pytest.mark.parametrize("channels", [1, 3, 4, 15, 16, 17, 24, 32, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_channel_counts_once(channels, dtype, simd):
    # Powers of two and one position that differs in one channel: the sums are exact.
    for channel, (height, width) in itertools.product(range(channels), [(1, 2), (5, 7)]):
        a = np.zeros((1, channels, height, width), dtype)
        a[0, channel, -1, -1] = 8.0
        expected = np.zeros((1, height, width), np.float32)
        expected[0, -1, -1] = np.float32(8.0) / np.float32(channels)
        params = MapParams((height, width), "l1", (1.0,), blur_sigma=0.0)
        for layout in LAYOUTS:
            kernel = AnomalyMap(
                params, [(channels, height, width)], dtype=dtype, layout=layout, simd=simd
            )
            maps, _ = kernel.run(in_layout([(a, np.zeros_like(a))], layout))
            np.testing.assert_array_equal(maps, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_the_features_lie_changes_no_bit(layout, dtype, simd, make_pairs):
    # From one whole vector to three tiles, on every boundary between two cache lines.
    for shape in [(5, 4, 4), (18, 1, 17), (3, 25, 41)]:
        ((a, b),) = in_layout([tuple(x.astype(dtype) for x in make_pairs([shape])[0])], layout)
        params = MapParams((9, 40), weights=(1.0,))
        kernel = AnomalyMap(params, [shape], dtype=dtype, layout=layout, simd=simd)
        expected = kernel.run([(a, b)])
        for offset in range(0, 64, a.itemsize):
            room = np.full(a.nbytes + 128, 255, np.uint8)  # NaN, in either dtype
            first = offset - room.ctypes.data % 64 + 64
            moved = room[first : first + a.nbytes].view(dtype).reshape(a.shape)
            moved[...] = a
            for one, other in zip(kernel.run([(moved, b)]), expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_features_give_exactly_zero(layout, dtype, distance, simd, make_pairs):
    shapes = [(13, 9, 7), (37, 4, 4)]
    pairs = in_layout([(a.astype(dtype),) * 2 for a, _ in make_pairs(shapes)], layout)
    params = MapParams((20, 20), distance, (1.0, 1.0))
    maps, scores = AnomalyMap(params, shapes, dtype=dtype, layout=layout, simd=simd).run(pairs)
    assert not maps.any()
    assert not scores.any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float16_is_float32_of_the_same_values_bit_for_bit(layout, simd, make_pairs):
    shapes = [(24, 9, 7), (37, 4, 4), (5, 1, 3)]
    halves = in_layout(
        [tuple(x.astype(np.float16) for x in pair) for pair in make_pairs(shapes, batch=2)], layout
    )
    floats = [tuple(x.astype(np.float32) for x in pair) for pair in halves]
    for distance in DISTANCES:
        params = MapParams((20, 21), distance)
        of_halves = AnomalyMap(params, shapes, dtype=np.float16, layout=layout, simd=simd).run(
            halves
        )
        of_floats = AnomalyMap(params, shapes, layout=layout, simd=simd).run(floats)
        for one, other in zip(of_halves, of_floats, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_permuting_positions_permutes_the_map(layout, simd, rng, make_pairs):
    ((a, b),) = make_pairs([(19, 6, 7)])
    order = rng.permutation(42)
    moved = [tuple(x.reshape(19, 42)[:, order].copy("C").reshape(x.shape) for x in (a, b))]
    params = MapParams((6, 7), weights=(1.0,), blur_sigma=0.0)
    kernel = AnomalyMap(params, [(19, 6, 7)], layout=layout, simd=simd)
    maps, scores = kernel.run(in_layout([(a, b)], layout))
    moved_maps, moved_scores = kernel.run(in_layout(moved, layout))
    np.testing.assert_array_equal(moved_maps.reshape(-1), maps.reshape(-1)[order])
    assert moved_scores == scores


@pytest.mark.parametrize(
    ("dtype", "bad"), [*itertools.product(DTYPES, [np.nan, np.inf, -np.inf]), ("float32", 1e30)]
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 40])
def test_what_is_not_finite_reaches_the_score(channels, layout, dtype, bad, simd, make_pairs):
    # Positions in a whole vector, in the overlapping last one, and fewer than a vector has.
    for (height, width), at, side in itertools.product([(6, 7), (1, 3)], [0, 1, -1], [0, 1]):
        shape = (channels, height, width)
        ((a, b),) = make_pairs([shape])
        (a if side else b)[0, channels // 2].reshape(-1)[at] = bad
        pairs = in_layout([(a.astype(dtype), b.astype(dtype))], layout)
        for distance in ("cosine", "l2") if bad == 1e30 else DISTANCES:
            params = MapParams((12, 13), distance, (1.0,), blur_sigma=1.0)
            kernel = AnomalyMap(params, [shape], dtype=dtype, layout=layout, simd=simd)
            maps, scores = kernel.run(pairs)
            assert not np.isfinite(maps).all()
            assert not np.isfinite(scores[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_is_its_frames_one_by_one(dtype, layout, simd, make_pairs):
    shapes = [(18, 6, 5), (4, 1, 3)]
    pairs = [tuple(x.astype(dtype) for x in pair) for pair in make_pairs(shapes, batch=3)]
    pairs = in_layout(pairs, layout)
    kernel = AnomalyMap(
        MapParams((17, 18), weights=(1.0, 2.0)), shapes, dtype=dtype, layout=layout, simd=simd
    )
    maps, scores = kernel.run(pairs)
    for n in range(3):
        one_map, one_score = kernel.run([(a[n : n + 1], b[n : n + 1]) for a, b in pairs])
        np.testing.assert_array_equal(maps[n], one_map[0])
        assert scores[n] == one_score[0]
