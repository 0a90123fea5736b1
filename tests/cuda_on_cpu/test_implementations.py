"""The CUDA implementations, run on the CPU, against float64, under every compiler and sanitizer.

The reference is :mod:`edgead.reference`; the features' float16 values are exact in float64.
"""

from __future__ import annotations

from itertools import cycle, product

import numpy as np
import pytest
from harness import Build, anomaly_map_case, preprocess_case, run_cases

from edgead import reference
from edgead.anomaly_map import DISTANCES, FUSIONS, POOLINGS, MapParams
from edgead.preprocess import LAYOUTS, PreprocessParams

# As on the CPU, see tests/kernels/test_anomaly_map.py: no sum here is longer than there.
ROUNDINGS = 40 * 2.0**-24
SIZES = [(1, 1), (7, 5), (33, 129), (3, 1000), (64, 64), (65, 70)]  # tiles are 64 x 64
# Shapes (channels, height, width): below and over a block's 32 positions, whole vectors and not,
# and more rows and columns than a tile's stage of 32 x 64 holds.
SHAPES = [
    [(3, 1, 1), (8, 2, 2)],
    [(5, 7, 9), (36, 4, 8)],
    [(1, 40, 70), (32, 3, 3), (33, 8, 8)],
    [(4, 16, 12)],
    [(8, 8, 8), (4, 2, 6)],
]


def random_pairs(rng, shapes, batch, dtype):
    def feature(shape):
        return rng.standard_normal((batch, *shape)).astype(dtype)

    return [(feature(shape), feature(shape)) for shape in shapes]


def anomaly_map_inputs():
    """Keyword arguments of anomaly_map_case: every choice, with others by turns."""
    rng = np.random.default_rng(5)
    kinds = list(product(DISTANCES, FUSIONS, POOLINGS))
    sizes, shapes, sigmas = cycle(SIZES), cycle(SHAPES), cycle([4.0, 0.0, 0.7, 1.0, 30.0])
    formats = cycle(product((np.float32, np.float16), LAYOUTS, (False, True)))
    for number in range(2 * len(kinds)):
        distance, fusion, pooling = kinds[number % len(kinds)]
        dtype, layout, masked = next(formats)
        size, shape = next(sizes), next(shapes)
        if number % 6 == 5:
            shape = next(shapes)  # the cycles' lengths share factors: other companions
        params = MapParams(
            size,
            distance,
            tuple(0.5 + k for k in range(len(shape))),
            fusion,
            align_corners=number % 2 == 1,
            blur_sigma=next(sigmas),
            pooling=pooling,
            top_k=(0.001, 0.2, 1.0)[number % 3],
        )
        roi = rng.random(size) < 0.6
        roi[rng.integers(size[0]), rng.integers(size[1])] = True
        yield {
            "pairs": random_pairs(rng, shape, 1 + number % 3, dtype),
            "params": params,
            "layout": layout,
            "roi": roi if masked else None,
            "shift": np.dtype(dtype).itemsize * (number % 7 == 3),
        }


def views(rng, size, channels, dtype):
    """Frames of all strides: packed, flipped, one of four channels, reversed, with padded rows."""

    def whole(*shape):
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)

    height, width = size
    yield whole(height, width, channels)
    yield whole(height, width, channels)[::-1, ::-1]
    yield whole(height, width, 4)[:, :, :channels]
    # The first sample and the rows are aligned, so that only the stride of channels is in the way.
    yield whole(height, (width + 5) // 4 * 4, channels)[:, 2 : 2 + width, ::-1]
    # Rows of a multiple of 16 samples, which vectors can be loaded from; the last one is cut off.
    row = (width * channels + 15) // 16 * 16
    memory = whole((height - 1) * row + width * channels)
    strides = tuple(memory.itemsize * step for step in (row, channels, 1))
    yield np.ndarray((height, width, channels), dtype, memory, strides=strides)


def preprocess_inputs():
    """Keyword arguments of preprocess_case."""
    rng = np.random.default_rng(6)
    dtypes = cycle([np.uint8, np.uint16, np.uint8])
    formats = cycle(product((np.float32, np.float16), LAYOUTS))
    frames = [(1, 1), (7, 5), (33, 129), (3, 1000), (70, 1300), (100, 52)]
    sizes = cycle([(8, 32), (9, 33), (1, 1), (40, 3), (2, 2000)])
    for number, (size, channels) in enumerate(product(frames, (3, 1))):
        dtype, (image, layout) = next(dtypes), next(formats)
        for number_of_view, frame in enumerate(views(rng, size, channels, dtype)):
            # Samples of uint16 above the depth are bounded; no entry point lets them come so far.
            bits = None if dtype == np.uint8 else (16, 12, 9)[number_of_view % 3]
            yield {
                "frame": frame if channels == 3 else frame[:, :, 0],
                "params": PreprocessParams(next(sizes), bit_depth=bits),
                "color": ("bgr", "rgb")[number % 2],
                "dtype": image,
                "layout": layout,
                "shift": np.dtype(dtype).itemsize * (number % 3 == 2),
            }


@pytest.fixture(scope="module")
def anomaly_maps():
    """Cases, and for each the exact map and score."""
    inputs = list(anomaly_map_inputs())
    exact = [reference.anomaly_map(i["pairs"], i["params"], roi=i["roi"]) for i in inputs]
    return [anomaly_map_case(**i) for i in inputs], inputs, exact


@pytest.fixture(scope="module")
def preprocessed():
    """Cases, and for each the exact image."""
    inputs = list(preprocess_inputs())
    names = ("frame", "params", "color", "dtype", "layout")
    exact = [reference.preprocess(**{name: i[name] for name in names}) for i in inputs]
    return [preprocess_case(**i) for i in inputs], exact


def test_anomaly_map_follows_float64_in_every_order(program, anomaly_maps, tmp_path):
    cases, inputs, exact = anomaly_maps
    seeds = (0, 1, 2)
    if program.build.sanitizer == "thread":  # slow: 8 of the cases, in an order that mixes blocks
        cases, inputs, exact, seeds = cases[::5], inputs[::5], exact[::5], (1,)
    first = run_cases(program.path, cases, tmp_path, seed=seeds[0])
    for given, found, (maps, scores) in zip(inputs, first, exact, strict=True):
        scale = max(1.0, float(np.abs(maps).max())) * len(given["pairs"])
        np.testing.assert_allclose(found[0], maps, rtol=0, atol=scale * ROUNDINGS, err_msg=given)
        np.testing.assert_allclose(found[1], scores, rtol=0, atol=scale * ROUNDINGS, err_msg=given)
        if given["roi"] is not None:
            assert not found[0][:, ~given["roi"]].any()
    for seed in seeds[1:]:
        assert_same_bits(run_cases(program.path, cases, tmp_path, seed=seed), first)


def test_preprocess_is_exact_in_every_order(program, preprocessed, tmp_path):
    cases, exact = preprocessed
    seeds = (0, 1)
    if program.build.sanitizer == "thread":
        cases, exact, seeds = cases[::4], exact[::4], (1,)
    for seed in seeds:
        found = run_cases(program.path, cases, tmp_path, seed=seed)
        assert_same_bits(found, [[image] for image in exact])


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_not_finite_reaches_the_score_or_stays_under_the_roi(pooling, built, tmp_path):
    rng = np.random.default_rng(7)
    ((a, b),) = random_pairs(rng, [(8, 16, 16)], 1, np.float32)
    a[0, 3, 2, 2] = np.nan
    params = MapParams((32, 32), weights=(1.0,), blur_sigma=0.0, pooling=pooling)
    roi = np.ones((32, 32), bool)
    roi[:12, :16] = False  # NaN times a weight of 0 beside the band is NaN: 16 columns get it
    cases = [anomaly_map_case([(a, b)], params), anomaly_map_case([(a, b)], params, roi=roi)]
    plain = built(Build("g++", "plain"))
    (open_map, open_score), (masked_map, masked_score) = run_cases(plain.path, cases, tmp_path)
    assert np.isnan(open_map[0, 4:6, 4:6]).all() and np.isnan(open_score).all()
    assert np.isfinite(masked_map).all() and np.isfinite(masked_score).all()


def test_workloads_of_the_benchmark(built, tmp_path):
    """Full size, once: more blocks than any small case has."""
    rng = np.random.default_rng(8)
    pairs = random_pairs(rng, [(24, 64, 64), (40, 32, 32), (112, 16, 16)], 1, np.float16)
    params = MapParams((256, 256))
    frame = rng.integers(0, 256, (540, 960, 3), np.uint8)
    cases = [anomaly_map_case(pairs, params), preprocess_case(frame, PreprocessParams((256, 256)))]
    found = run_cases(built(Build("g++", "plain")).path, cases, tmp_path)
    maps, scores = reference.anomaly_map(pairs, params)
    np.testing.assert_allclose(found[0][0], maps, rtol=0, atol=3 * ROUNDINGS)
    np.testing.assert_allclose(found[0][1], scores, rtol=0, atol=3 * ROUNDINGS)
    assert_same_bits(found[1:], [[reference.preprocess(frame, PreprocessParams((256, 256)))]])
