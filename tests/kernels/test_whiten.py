"""whiten against cases computed by hand and float64; what it refuses."""

from __future__ import annotations

from itertools import cycle, product

import numpy as np
import pytest

from edgead import reference
from edgead.engine.whiten import Whiten
from edgead.errors import InputError

from .whiten_data import close, made, tolerance

# (height, width), channels, outputs, side: around a vector, 16 positions, 32 outputs, 4 and 8.
SIZES = [
    ((1, 1), 1, 1, 1),
    ((2, 3), 2, 3, 1),
    ((5, 7), 15, 16, 3),
    ((4, 4), 16, 15, 4),
    ((6, 9), 33, 33, 4),
    ((9, 5), 40, 31, 9),
    ((8, 8), 65, 65, 2),
    ((3, 17), 20, 70, 17),
    ((7, 6), 152, 152, 5),
]


def test_a_case_by_hand(simd):
    # Two regions side by side; x - mean is (1, 2), (3, 0) | (0, 1), (2, 2).
    mean = np.array([[[1, 1, 5, 5]], [[0, 0, 2, 2]]], np.float32)
    features = np.array([[[[2, 4, 5, 7]], [[2, 0, 3, 4]]]], np.float32)
    factors = np.array([[[1, 1], [0, 2]], [[2, -1], [3, 1]]], np.float32)
    # Left: (3, 4), (3, 0); right: (-1, 1), (2, 8).
    found = Whiten(mean, factors, 2, simd=simd).run(features)
    np.testing.assert_array_equal(found, [[[12.5, 4.5, 1, 34]]])


def test_a_case_of_channel_normal_by_hand(simd):
    # Mean 3, variance 4: brought to (-1, 1); the mean of the place is (-1, 0).
    mean, factor = np.array([[[-1]], [[0]]], np.float32), np.array([[[4, 3]]], np.float32)
    whiten = Whiten(mean, factor, channel_normal=True, epsilon=1e-12, simd=simd)
    found = whiten.run(np.array([[[[1]], [[5]]]], np.float32))
    np.testing.assert_allclose(found, [[[9]]], rtol=1e-6)


def test_it_is_the_mahalanobis_distance(simd, rng):
    samples = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    covariance = np.cov(samples.T)
    factor = np.linalg.cholesky(np.linalg.inv(covariance)).T[None].astype(np.float32)
    mean = samples.mean(0).astype(np.float32)[:, None, None]
    found = Whiten(mean, factor, simd=simd).run(samples[:1].T.reshape(1, 6, 1, 1).astype("f4"))
    d = samples[0] - samples.mean(0)
    np.testing.assert_allclose(found, d @ np.linalg.inv(covariance) @ d / 6, rtol=1e-4)


@pytest.mark.parametrize("channel_normal", [False, True])
@pytest.mark.parametrize("triangular", [False, True])
def test_sizes_types_and_layouts_follow_float64(simd, channel_normal, triangular, rng):
    kinds = cycle(product((np.float32, np.float16), ("NCHW", "NHWC")))
    for number, (size, channels, outputs, side) in enumerate(SIZES):
        dtype, layout = next(kinds)
        features, mean, factors = made(
            rng, size, channels, outputs, side, batch=1 + number % 2, triangular=triangular
        )
        features = features.astype(dtype)
        if channel_normal:
            mean = mean - 3
        roi = rng.random(size) < 0.6 if number % 3 == 0 else None
        if roi is not None:
            roi[0, 0] = True
        whiten = Whiten(
            mean,
            factors,
            side,
            channel_normal=channel_normal,
            dtype=dtype,
            layout=layout,
            roi=roi,
            simd=simd,
        )
        order = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
        found = whiten.run(np.ascontiguousarray(features.transpose(order)))
        exact = reference.whiten(
            features, mean, factors, side, channel_normal=channel_normal, roi=roi
        )
        allowed = tolerance(features, mean, factors, side, channel_normal=channel_normal)
        assert close(found, exact, allowed), (size, channels, outputs, side)
        assert roi is None or not found[:, ~roi].any()


def test_the_tolerance_finds_a_wrong_channel(rng):
    features, mean, factors = made(rng, (4, 4), 40, 40, 2)
    exact = reference.whiten(features, mean, factors, 2)
    mean[17] += 1e-3
    found = Whiten(mean, factors, 2).run(features)
    assert not close(found, exact, tolerance(features, mean, factors, 2))


def test_the_error_is_at_most_twice_that_of_numpy_in_float32(simd, rng):
    features, mean, factors = made(rng, (8, 8), 152, 152, 8)
    exact = reference.whiten(features, mean, factors)
    d = (features[0] - mean).reshape(152, -1)
    plain = np.square(factors[0] @ d).mean(0).reshape(8, 8)
    found = Whiten(mean, factors, simd=simd).run(features)[0]
    assert np.abs(found - exact[0]).max() <= 2 * np.abs(plain - exact[0]).max() + 1e-6


def test_float16_statistics_are_taken_as_they_are(rng):
    features, mean, factors = made(rng, (4, 6), 9, 9, 2)
    mean, factors = mean.astype(np.float16), factors.astype(np.float16)
    found = Whiten(mean, factors, 2).run(features)
    expected = Whiten(mean.astype(np.float32), factors.astype(np.float32), 2).run(features)
    np.testing.assert_array_equal(found, expected)


MEAN, FACTORS = np.zeros((3, 4, 5), np.float32), np.ones((6, 2, 3), np.float32)
FEATURES = np.zeros((1, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": None}, r"mean is a NoneType, expected \[C, H, W\], float32 or float16"),
        ({"mean": MEAN[0]}, r"mean is float32 of shape \(4, 5\)"),
        ({"mean": MEAN[:0]}, "at least one"),
        ({"mean": MEAN.astype(np.float64)}, "mean is float64"),
        ({"mean": MEAN.astype(">f4")}, "mean is"),
        ({"mean": MEAN + np.float32(np.inf)}, "mean holds a NaN or an infinity"),
        ({"factors": FACTORS[0]}, r"factors is .*, expected \[regions, outputs, C\]"),
        (
            {"factors": FACTORS[:5]},
            r"\(6, outputs, 3\): one for each region of 2 x 2",
        ),
        ({"factors": FACTORS[:, :, :2]}, r"expected \(6, outputs, 3\)"),
        ({"factors": FACTORS * np.float32(np.nan)}, "factors holds a NaN"),
        ({"side": 0}, "side is 0, expected a whole number"),
        ({"side": 2.0}, "side is 2.0"),
        ({"side": True}, "side is True"),
        ({"side": None}, r"expected \(1, outputs, 3\)"),
        ({"channel_normal": 1}, "channel_normal is 1, expected True or False"),
        ({"epsilon": 0.0}, "epsilon is 0.0, expected a number of 1e-12 to 1e6"),
        ({"epsilon": np.nan}, "epsilon is nan"),
        ({"epsilon": "1"}, "epsilon is '1'"),
        ({"dtype": np.int8}, "dtype is"),
        ({"layout": "CHW"}, "layout is 'CHW'"),
        ({"simd": "mmx"}, "simd is 'mmx'"),
        ({"roi": np.ones((5, 4), bool)}, r"roi is bool of shape \(5, 4\)"),
        ({"roi": np.zeros((4, 5), bool)}, "roi keeps no position"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Whiten(**({"mean": MEAN, "factors": FACTORS, "side": 2} | given))


@pytest.mark.parametrize(
    "features",
    [
        None,
        FEATURES.tolist(),
        FEATURES[0],
        FEATURES[:0],
        FEATURES.transpose(0, 2, 3, 1),
        FEATURES.astype(np.float16),
        FEATURES[:, :, :, ::-1],
    ],
)
def test_features_that_do_not_fit_are_refused(features):
    whiten = Whiten(MEAN, FACTORS, 2)
    with pytest.raises(InputError, match=r"features is .*expected C-contiguous, .* \(N, 3, 4, 5\)"):
        whiten.run(features)


def test_the_distances_are_written_to_out():
    whiten, out = Whiten(MEAN, FACTORS, 2), np.empty((1, 4, 5), np.float32)
    assert whiten.run(FEATURES + 1, out) is out
    np.testing.assert_array_equal(out, np.full((1, 4, 5), 9))
    for other in (np.zeros((4, 5), np.float32), np.zeros((1, 4, 5))):
        with pytest.raises(InputError, match="out is"):
            whiten.run(FEATURES, other)
    with pytest.raises(InputError, match="out overlaps the features"):
        whiten.run(FEATURES, FEATURES[:, 0])


def test_a_side_beyond_the_map_is_one_region():
    found = [Whiten(MEAN, FACTORS[:1], side).run(FEATURES + 1) for side in (None, 5, 2**40)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
