"""anomaly_map against its float64 reference, by hand, and against laws that any distance obeys."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import _cpu
from edgead.anomaly_map import (
    DISTANCES,
    DTYPES,
    FUSIONS,
    LAYOUTS,
    POOLINGS,
    AnomalyMap,
    MapParams,
)

from . import exact
from .grid import grid

# One float32 rounding is 2^-24 of the value. Sums over channels are taken by fours (NCHW) or in
# lanes (NHWC), and the two bands have non-negative weights that sum to w_k: errors do not grow with
# either. 40 is generous.
ROUNDINGS = 40 * 2.0**-24

SHAPE_SETS = [
    ((1, 1, 1),),
    ((3, 7, 5),),
    ((24, 16, 16), (40, 8, 8), (112, 4, 4)),
    ((5, 33, 12), (2, 1, 9), (7, 3, 40)),
    ((6, 30, 50), (4, 60, 20)),  # features larger than the map
]
MAP_SIZES = [(1, 1), (7, 5), (33, 129), (64, 64)]


def assert_close(pairs, params, simd="", layout="NCHW", roi=None):
    """Hold the kernel against float64; ``pairs`` are NCHW and given to the kernel in ``layout``."""
    shapes, dtype = [a.shape[1:] for a, _ in pairs], pairs[0][0].dtype
    laid_out = pairs
    if layout == "NHWC":
        laid_out = [tuple(x.transpose(0, 2, 3, 1).copy() for x in pair) for pair in pairs]
    kernel = AnomalyMap(params, shapes, dtype=dtype, layout=layout, roi=roi, simd=simd)
    maps, scores = kernel.run(laid_out)
    exact_maps, exact_scores = exact.anomaly_map(pairs, params, roi)
    # Cosine is a difference from 1: its error is absolute. A product of maps errs like its factors.
    scale = max(1.0, float(np.abs(exact_maps).max())) * len(pairs)
    assert maps.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(maps, exact_maps, rtol=0, atol=scale * ROUNDINGS)
    np.testing.assert_allclose(scores, exact_scores, rtol=0, atol=scale * ROUNDINGS)


@pytest.mark.parametrize(
    ("shapes", "size", "distance", "fusion"), grid(SHAPE_SETS, MAP_SIZES, DISTANCES, FUSIONS)
)
def test_kernel_follows_float64(shapes, size, distance, fusion, simd, make_pairs):
    weights = tuple(0.5 + k for k in range(len(shapes)))
    params = MapParams(size, distance=distance, fusion=fusion, weights=weights)
    for align_corners, sigma in itertools.product([False, True], [0.0, 0.7, 4.0]):
        settings_ = replace(params, align_corners=align_corners, blur_sigma=sigma)
        assert_close(make_pairs(shapes, batch=2), settings_, simd)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("size", MAP_SIZES)
def test_pooling_follows_float64(size, pooling, simd, make_pairs):
    for top_k in (1e-9, 0.001, 0.3, 1.0):
        params = MapParams(size, weights=(1.0,), pooling=pooling, top_k=top_k)
        assert_close(make_pairs([(8, 9, 11)], batch=3), params, simd)


@given(
    shapes=st.lists(st.tuples(*[st.integers(1, 12)] * 3), min_size=1, max_size=8),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    distance=st.sampled_from(DISTANCES),
    fusion=st.sampled_from(FUSIONS),
    pooling=st.sampled_from(POOLINGS),
    align_corners=st.booleans(),
    sigma=st.sampled_from([0.0, 0.3, 1.0, 2.5, 12.0]),
    top_k=st.floats(0.001, 1.0),
    dtype=st.sampled_from(DTYPES),
    kept=st.sampled_from([None, 0.01, 0.5]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=120, deadline=None)
def test_any_shapes(
    shapes, size, distance, fusion, pooling, align_corners, sigma, top_k, dtype, kept, seed
):
    rng = np.random.default_rng(seed)
    pairs = [
        tuple(rng.standard_normal((1, *shape)).astype(dtype) for _ in range(2)) for shape in shapes
    ]
    weights = tuple(rng.uniform(0.1, 1.0, len(shapes)))
    params = MapParams(size, distance, weights, fusion, align_corners, sigma, pooling, top_k)
    roi = None
    if kept is not None:
        roi = rng.random(size) < kept
        roi.flat[rng.integers(roi.size)] = True
    for simd, layout in itertools.product(_cpu.simd_paths(), LAYOUTS):
        assert_close(pairs, params, simd, layout, roi)


def test_distances_by_hand(simd):
    a = np.array([3, 4, 0, 0, 1], np.float32).reshape(1, 5, 1, 1)
    b = np.array([4, 3, 0, 0, 1], np.float32).reshape(1, 5, 1, 1)
    for distance, expected in [("cosine", 1 - 25 / 26), ("l1", 2 / 5), ("l2", 2 / 5)]:
        params = MapParams((2, 3), distance, (2.0,))
        maps, scores = AnomalyMap(params, [(5, 1, 1)], simd=simd).run([(a, b)])
        # One position fills the map, weighted by 2. Rounded: the quotient, the operators.
        np.testing.assert_allclose(maps, np.full((1, 2, 3), 2 * expected), atol=2**-22)
        np.testing.assert_allclose(scores, [2 * expected], atol=2**-22)
    opposite = AnomalyMap(MapParams((1, 1), weights=(1.0,)), [(5, 1, 1)], simd=simd).run([(a, -a)])
    assert opposite[1][0] == 2.0
    nothing = AnomalyMap(MapParams((1, 1), weights=(1.0,)), [(5, 1, 1)], simd=simd).run(
        [(a, 0 * a)]
    )
    assert nothing[1][0] == 1.0  # <a, 0> / max(0, 1e-8); torch.cosine_similarity has it so too
    tiny = np.float32(1e-5) * a  # |a|^2 = 26e-10 is below the bound
    bounded = AnomalyMap(MapParams((1, 1), weights=(1.0,)), [(5, 1, 1)], simd=simd).run(
        [(tiny, tiny)]
    )
    np.testing.assert_allclose(bounded[1], [1 - 26e-10 / 1e-8], atol=2**-22)


def test_upsampling_by_hand(simd):
    # l1 against 0 with one channel is the feature itself.
    a = np.array([[0, 4]], np.float32).reshape(1, 1, 1, 2)
    for align_corners, expected in [(False, [0, 1, 3, 4]), (True, [0, 4 / 3, 8 / 3, 4])]:
        params = MapParams((1, 4), "l1", (1.0,), align_corners=align_corners, blur_sigma=0.0)
        maps, _ = AnomalyMap(params, [(1, 1, 2)], simd=simd).run([(a, 0 * a)])
        np.testing.assert_allclose(maps[0, 0], expected, atol=2**-22)


def test_product_by_hand(simd):
    a = np.full((1, 1, 1, 1), 3.0, np.float32)
    params = MapParams((2, 2), "l1", (2.0, 0.5), "product")
    maps, scores = AnomalyMap(params, [(1, 1, 1)] * 2, simd=simd).run([(a, 0 * a), (5 * a, 0 * a)])
    np.testing.assert_allclose(maps, np.full((1, 2, 2), 45.0), rtol=2**-20)
    np.testing.assert_allclose(scores, [45.0], rtol=2**-20)


def test_pooling_by_hand(simd):
    a = np.arange(1, 11, dtype=np.float32).reshape(1, 1, 2, 5)
    for pooling, top_k, expected in [
        ("max", 0.5, 10.0),
        ("mean", 0.5, 5.5),
        ("top_k", 0.25, 9.0),  # 2.5 pixels round to 3
        ("top_k", 0.01, 10.0),
        ("top_k", 1.0, 5.5),
    ]:
        params = MapParams((2, 5), "l1", (1.0,), blur_sigma=0.0, pooling=pooling, top_k=top_k)
        _, scores = AnomalyMap(params, [(1, 2, 5)], simd=simd).run([(a, 0 * a)])
        assert scores[0] == expected


def test_top_k_of_equal_and_nearly_equal_pixels(simd, rng):
    base = np.float32(1.0)
    for pixels in (
        np.full(4096, base),
        np.repeat([base, np.nextafter(base, np.float32(2))], 2048),
        np.where(rng.random(4096) < 0.01, base, np.float32(0)),
        rng.integers(0, 5, 4096).astype(np.float32),
    ):
        a = pixels.astype(np.float32).reshape(1, 1, 64, 64)
        params = MapParams((64, 64), "l1", (1.0,), blur_sigma=0.0, pooling="top_k", top_k=0.02)
        _, scores = AnomalyMap(params, [(1, 64, 64)], simd=simd).run([(a, 0 * a)])
        expected = np.sort(pixels)[-params.top_count(4096) :].astype(np.float64).mean()
        assert scores[0] == np.float32(expected)  # summed in double, rounded once


def test_blur_is_scipys(simd, rng):
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is the independent truth here")
    a = rng.random((1, 1, 40, 57)).astype(np.float32)
    for sigma in (0.4, 1.0, 4.0, 15.0):
        blurred = ndimage.gaussian_filter(a[0, 0].astype(np.float64), sigma, mode="nearest")
        for fusion in FUSIONS:  # two ways through the kernel
            params = MapParams((40, 57), "l1", (1.0,), fusion, blur_sigma=sigma)
            maps, _ = AnomalyMap(params, [(1, 40, 57)], simd=simd).run([(a, 0 * a)])
            np.testing.assert_allclose(maps[0], blurred, atol=ROUNDINGS)


def test_upsampling_and_cosine_are_torchs(simd, make_pairs):
    torch = pytest.importorskip("torch", reason="torch is the independent truth here")
    functional = torch.nn.functional
    for shape, align_corners in itertools.product([(8, 5, 9), (3, 16, 16)], [False, True]):
        ((a, b),) = make_pairs([shape])
        x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
        d = 1 - functional.cosine_similarity(x, y)
        up = functional.interpolate(
            d[:, None], (33, 47), mode="bilinear", align_corners=align_corners
        )
        params = MapParams((33, 47), weights=(1.0,), align_corners=align_corners, blur_sigma=0.0)
        maps, _ = AnomalyMap(params, [shape], simd=simd).run([(a, b)])
        np.testing.assert_allclose(maps, up[:, 0].numpy(), atol=ROUNDINGS)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e12])
def test_equal_features_give_exactly_zero(distance, scale, simd, make_pairs):
    pairs = [(a * np.float32(scale),) * 2 for a, _ in make_pairs([(13, 9, 7), (37, 4, 4)])]
    params = MapParams((20, 20), distance, (1.0, 1.0))
    maps, scores = AnomalyMap(params, [(13, 9, 7), (37, 4, 4)], simd=simd).run(pairs)
    assert not maps.any()
    assert not scores.any()


def test_cosine_ignores_scale(simd, make_pairs):
    ((a, b),) = make_pairs([(16, 8, 8)])
    kernel = AnomalyMap(MapParams((16, 16), weights=(1.0,)), [(16, 8, 8)], simd=simd)
    expected, _ = kernel.run([(a, b)])
    for x, y in [(2.0**-20, 1.0), (1.0, 2.0**30), (2.0**40, 2.0**-12)]:  # exact factors
        maps, _ = kernel.run([(a * np.float32(x), b * np.float32(y))])
        np.testing.assert_allclose(maps, expected, atol=2**-22)


def test_cosine_is_never_negative(simd, rng):
    a = rng.standard_normal((1, 64, 16, 16)).astype(np.float32)
    b = np.nextafter(3 * a, np.float32(np.inf))
    params = MapParams((16, 16), weights=(1.0,), blur_sigma=0.0)
    maps, _ = AnomalyMap(params, [(64, 16, 16)], simd=simd).run([(a, b)])
    assert maps.min() >= 0.0


@pytest.mark.parametrize("distance", DISTANCES)
def test_swapping_a_pair_changes_nothing(distance, make_pairs):
    shapes = [(7, 6, 5), (4, 3, 3)]
    pairs = make_pairs(shapes)
    kernel = AnomalyMap(MapParams((17, 18), distance, (1.0, 2.0)), shapes)
    for one, other in zip(kernel.run(pairs), kernel.run([(b, a) for a, b in pairs]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_is_its_frames_one_by_one(simd, make_pairs):
    shapes = [(7, 6, 5), (4, 3, 3)]
    pairs = make_pairs(shapes, batch=3)
    for fusion, pooling in itertools.product(FUSIONS, POOLINGS):
        params = MapParams((17, 18), weights=(1.0, 2.0), fusion=fusion, pooling=pooling)
        kernel = AnomalyMap(params, shapes, simd=simd)
        maps, scores = kernel.run(pairs)
        for n in range(3):
            one_map, one_score = kernel.run([(a[n : n + 1], b[n : n + 1]) for a, b in pairs])
            np.testing.assert_array_equal(maps[n], one_map[0])
            assert scores[n] == one_score[0]


@pytest.mark.parametrize(
    ("distance", "bad"),
    [
        *itertools.product(DISTANCES, [np.nan, np.inf, -np.inf]),
        *itertools.product(["cosine", "l2"], [1e30]),  # its square overflows float32
    ],
)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_not_finite_reaches_the_score(distance, fusion, pooling, bad, simd, make_pairs):
    shapes = [(9, 12, 11), (5, 6, 6)]
    for size, sigma, side in itertools.product([(23, 37), (48, 44)], [0.0, 2.0], [0, 1]):
        pairs = make_pairs(shapes)
        pairs[0][side][0, 4, 5, 3] = bad
        params = MapParams(
            size, distance, (1.0, 1.0), fusion, blur_sigma=sigma, pooling=pooling, top_k=1.0
        )
        maps, scores = AnomalyMap(params, shapes, simd=simd).run(pairs)
        assert not np.isfinite(maps).all()
        assert not np.isfinite(scores[0])


def test_max_and_top_k_do_not_hide_a_single_nan(simd):
    # In one row it reaches 16 pixels only.
    for height, width in [(1, 1), (3, 5), (9, 31), (16, 16), (1, 200)]:
        for at in {*range(0, height * width, 13), height * width - 1}:
            a = np.ones((1, 1, height, width), np.float32)
            a.reshape(-1)[at] = np.nan
            for pooling in POOLINGS:
                params = MapParams(
                    (height, width), "l1", (1.0,), blur_sigma=0.0, pooling=pooling, top_k=0.01
                )
                _, scores = AnomalyMap(params, [(1, height, width)], simd=simd).run([(a, 0 * a)])
                assert np.isnan(scores[0])


def test_out_is_used_whole_and_nothing_beside_it(simd, make_pairs):
    for width in (31, 32, 33, 70):
        room = np.full((4, 21, width), np.float32(np.nan))
        kernel = AnomalyMap(MapParams((21, width), weights=(1.0,)), [(3, 5, 6)], simd=simd)
        maps, _ = kernel.run(make_pairs([(3, 5, 6)], batch=2), room[1:3])
        assert maps.base is room
        assert np.isfinite(room[1:3]).all()
        assert np.isnan(room[[0, 3]]).all()


def test_threads_with_maps_of_their_own_agree(make_pairs):
    shapes = [(24, 32, 32), (40, 16, 16)]
    params = MapParams((64, 64), weights=(1.0, 1.0))
    inputs = [make_pairs(shapes) for _ in range(4)]
    expected = [AnomalyMap(params, shapes).run(pairs) for pairs in inputs]
    failures = []

    def work(k):
        kernel = AnomalyMap(params, shapes)
        for _ in range(50):
            maps, scores = kernel.run(inputs[k])
            if not np.array_equal(maps, expected[k][0]) or scores != expected[k][1]:
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
