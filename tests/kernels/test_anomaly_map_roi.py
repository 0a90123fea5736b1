"""anomaly_map with a region of interest: what it changes and what it must not change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgead import reference
from edgead.anomaly_map import DISTANCES, DTYPES, FUSIONS, LAYOUTS, POOLINGS, AnomalyMap, MapParams

from . import exact
from .grid import grid

ROUNDINGS = 40 * 2.0**-24  # as in test_anomaly_map.py
SHAPES = [(24, 9, 13), (5, 4, 4)]
SIZES = [(1, 1), (7, 5), (33, 129), (3, 1000)]


def some(rng, size):
    """Keep about half of the pixels, at least one."""
    roi = rng.random(size) < 0.5
    roi.reshape(-1)[rng.integers(roi.size)] = True
    return roi


@pytest.mark.parametrize(("size", "fusion", "pooling"), grid(SIZES, FUSIONS, POOLINGS))
def test_kernel_follows_float64(size, fusion, pooling, simd, rng, make_pairs):
    for distance, sigma in itertools.product(DISTANCES, [0.0, 2.0]):
        params = MapParams(
            size, distance, (0.5, 1.5), fusion, blur_sigma=sigma, pooling=pooling, top_k=0.2
        )
        pairs, roi = make_pairs(SHAPES, batch=2), some(rng, size)
        maps, scores = AnomalyMap(params, SHAPES, roi=roi, simd=simd).run(pairs)
        exact_maps, exact_scores = exact.anomaly_map(pairs, params, roi)
        atol = max(1.0, float(exact_maps.max())) * 2 * ROUNDINGS
        np.testing.assert_allclose(maps, exact_maps, rtol=0, atol=atol)
        np.testing.assert_allclose(scores, exact_scores, rtol=0, atol=atol)


def test_pooling_by_hand(simd):
    a = np.arange(1, 11, dtype=np.float32).reshape(1, 1, 2, 5)
    roi = np.array([[0, 1, 0, 1, 0], [1, 0, 255, 1, 0]], np.uint8)  # keeps 2, 4, 6, 8, 9
    for pooling, top_k, expected in [
        ("max", 0.5, 9.0),
        ("mean", 0.5, 5.8),
        ("top_k", 0.5, 23 / 3),  # 2.5 of 5 pixels round to 3
        ("top_k", 0.01, 9.0),
        ("top_k", 1.0, 5.8),
    ]:
        params = MapParams((2, 5), "l1", (1.0,), blur_sigma=0.0, pooling=pooling, top_k=top_k)
        maps, scores = AnomalyMap(params, [(1, 2, 5)], roi=roi, simd=simd).run([(a, 0 * a)])
        np.testing.assert_array_equal(maps[0], [[0, 2, 0, 4, 0], [6, 0, 8, 9, 0]])
        assert scores[0] == np.float32(expected)  # summed in double, rounded once


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("size", SIZES)
def test_a_roi_that_keeps_everything_changes_no_bit(size, fusion, pooling, simd, make_pairs):
    params = MapParams(size, weights=(1.0, 2.0), fusion=fusion, pooling=pooling, top_k=0.05)
    pairs = make_pairs(SHAPES, batch=2)
    expected = AnomalyMap(params, SHAPES, simd=simd).run(pairs)
    for roi in (np.ones(size, bool), np.full(size, 255, np.uint8), np.full(size, 2, np.uint8)):
        found = AnomalyMap(params, SHAPES, roi=roi, simd=simd).run(pairs)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_score_pools_the_kept_pixels_of_the_whole_map(
    pooling, dtype, layout, simd, rng, make_pairs
):
    size, shapes = (33, 47), [(24, 9, 13)]
    a, b = (x.astype(dtype) for x in make_pairs(shapes, batch=2)[0])
    if layout == "NHWC":
        a, b = (np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in (a, b))
    params = MapParams(size, weights=(1.0,), pooling=pooling, top_k=0.1)
    made = {"dtype": dtype, "layout": layout, "simd": simd}
    whole, _ = AnomalyMap(params, shapes, **made).run([(a, b)])
    for roi in (
        some(rng, size),
        np.eye(*size, dtype=bool),
        np.arange(33 * 47).reshape(size) == 1550,
    ):
        maps, scores = AnomalyMap(params, shapes, roi=roi, **made).run([(a, b)])
        np.testing.assert_array_equal(maps, np.where(roi, whole, np.float32(0)))  # no other bit
        pooled = reference.pool(whole[:, roi].astype(np.float64), params)
        np.testing.assert_array_equal(scores, pooled.astype(np.float32))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_under_ignored_pixels(bad, fusion, pooling, simd, make_pairs):
    # No blur, features as large as the map: a position reaches its own group of rows and columns.
    shape, size = (5, 40, 70), (40, 70)
    ((a, b),) = make_pairs([shape])
    a[0, 2, 13, 35] = bad
    roi = np.ones(size, bool)
    roi[8:20, 16:64] = False
    params = MapParams(size, "l1", (1.0,), fusion, blur_sigma=0.0, pooling=pooling, top_k=0.9)
    maps, scores = AnomalyMap(params, [shape], roi=roi, simd=simd).run([(a, b)])
    assert not maps[0][~roi].any()  # exactly 0: a NaN would count as not 0
    a[0, 2, 13, 35] = 0.0
    sound_maps, sound_scores = AnomalyMap(params, [shape], roi=roi, simd=simd).run([(a, b)])
    np.testing.assert_array_equal(maps, sound_maps)
    np.testing.assert_array_equal(scores, sound_scores)


def test_a_nan_that_reaches_a_kept_pixel_is_not_hidden(simd, make_pairs):
    ((a, b),) = make_pairs([(5, 40, 70)])
    a[0, 2, 13, 35] = np.nan
    roi = np.ones((40, 70), bool)
    roi[13, 35] = False
    for pooling in POOLINGS:  # the blur carries it to the neighbours
        params = MapParams((40, 70), weights=(1.0,), blur_sigma=2.0, pooling=pooling)
        maps, scores = AnomalyMap(params, [(5, 40, 70)], roi=roi, simd=simd).run([(a, b)])
        assert maps[0, 13, 35] == 0.0
        assert np.isnan(maps[0, 13, 36])
        assert np.isnan(scores[0])


def test_the_roi_is_copied(simd, make_pairs):
    params = MapParams((20, 20), weights=(1.0, 1.0))
    for roi in (
        np.eye(20, dtype=np.uint8),
        np.eye(20, dtype=bool),
        np.eye(20, 40, dtype=bool)[:, ::2],
    ):
        kernel = AnomalyMap(params, SHAPES, roi=roi, simd=simd)
        pairs = make_pairs(SHAPES)
        expected = kernel.run(pairs)[0]
        np.testing.assert_array_equal(expected[0] != 0, roi != 0)
        roi[:] = 1
        np.testing.assert_array_equal(kernel.run(pairs)[0], expected)
