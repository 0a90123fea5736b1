"""The CUDA kernels on a real device: preprocess bit for bit, the others against float64."""

from __future__ import annotations

import sys
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest

from edgead import reference
from edgead.anomaly_map import DISTANCES, FUSIONS, POOLINGS, MapParams
from edgead.nearest import Blend
from edgead.preprocess import LAYOUTS, PreprocessParams, preprocess

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

from whiten_data import close, made, tolerance

# As of the CPU twin, see tests/kernels/test_anomaly_map.py: no sum here is longer than there.
ROUNDINGS = 40 * 2.0**-24
FRAMES = [(1, 1), (37, 91), (512, 512), (600, 801), (1080, 1920)]
SHAPES = [[(3, 1, 1), (8, 2, 2)], [(24, 64, 64), (40, 32, 32), (112, 16, 16)], [(5, 7, 9)]]
CHOICES = list(product(DISTANCES, FUSIONS, POOLINGS))


def frame_of(rng, size, channels, dtype, view):
    """Random samples [height, width(, channels)]: packed, a part of a larger frame, or mirrored."""
    height, width = size
    shape = (height + 4, width + 6) if channels == 0 else (height + 4, width + 6, channels)
    whole = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    part = whole[2 : 2 + height, 3 : 3 + width]
    return {"packed": part.copy(), "part": part, "mirrored": part[:, ::-1]}[view]


@pytest.mark.parametrize("size", FRAMES, ids=str)
@pytest.mark.parametrize("view", ["packed", "part", "mirrored"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_preprocess_gives_the_bits_of_the_cpu(device, size, view, dtype):
    rng = np.random.default_rng(7)
    formats = product((0, 3), (np.float32, np.float16), LAYOUTS)
    for (channels, out, layout), target in zip(
        formats, cycle([(256, 256), (64, 96), (33, 700)]), strict=False
    ):
        frame = frame_of(rng, size, channels, dtype, view)
        params = PreprocessParams(target)
        found = device.preprocess(frame, params, dtype=out, layout=layout)
        np.testing.assert_array_equal(found, preprocess(frame, params, dtype=out, layout=layout))


@pytest.mark.parametrize("bits", range(9, 17))
def test_every_bit_depth_gives_the_bits_of_the_cpu(device, bits):
    rng = np.random.default_rng(bits)
    for size, channels in product(FRAMES, (0, 3)):
        frame = frame_of(rng, size, channels, np.uint16, "packed") >> (16 - bits)
        params = PreprocessParams((64, 96), bit_depth=bits)
        np.testing.assert_array_equal(device.preprocess(frame, params), preprocess(frame, params))
    above = np.full((40, 50, 3), 65535, np.uint16)  # bounded, as no entry point of the host allows
    np.testing.assert_array_equal(
        device.preprocess(above, params), reference.preprocess(above, params)
    )


def test_a_captured_frame_gives_the_same_bits(device):
    frame = frame_of(np.random.default_rng(8), (300, 500), 3, np.uint8, "part")
    params = PreprocessParams((256, 256))
    found = device.preprocess(frame, params, captured=True)
    np.testing.assert_array_equal(found, preprocess(frame, params))


@pytest.mark.parametrize("number", range(len(CHOICES)), ids=lambda n: "-".join(CHOICES[n]))
def test_anomaly_map_follows_float64(device, number):
    rng = np.random.default_rng(number)
    distance, fusion, pooling = CHOICES[number]
    kinds = product(SHAPES, (np.float32, np.float16), LAYOUTS, (False, True))
    sizes, sigmas = cycle([(256, 256), (33, 129), (7, 5)]), cycle([4.0, 0.0, 0.7, 12.0])
    for shapes, dtype, layout, masked in kinds:
        size = next(sizes)
        params = MapParams(
            size, distance, tuple(0.5 + k for k in range(len(shapes))), fusion,
            blur_sigma=next(sigmas), pooling=pooling, top_k=0.2,
        )  # fmt: skip
        pairs = [
            tuple(rng.standard_normal((2, *shape)).astype(dtype) for _ in range(2))
            for shape in shapes
        ]
        roi = None
        if masked:
            roi = rng.random(size) < 0.6
            roi[0, 0] = True
        maps, scores = device.anomaly_map(pairs, params, layout, roi)
        exact_maps, exact_scores = reference.anomaly_map(pairs, params, roi)
        bound = max(1.0, float(np.abs(exact_maps).max())) * len(pairs) * ROUNDINGS
        np.testing.assert_allclose(maps, exact_maps, rtol=0, atol=bound)
        np.testing.assert_allclose(scores, exact_scores, rtol=0, atol=bound)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_nearest_follows_float64(device, stored, layout):
    rng = np.random.default_rng(9)
    kinds = product([(1, 1), (65, 33), (700, 152)], (np.float32, np.float16), (False, True), (1, 8))
    for (rows, channels), dtype, masked, k in kinds:
        memory = rng.standard_normal((rows, channels)).astype(np.float32)
        scale = None
        if stored == "int8":
            scale = np.full(channels, 0.03, np.float32)
            memory = np.clip(np.rint(memory / scale), -127, 127)
        memory = memory.astype(stored)
        values = memory.astype(np.float32) * (1 if scale is None else scale)
        queries = rng.standard_normal((2, channels, 7, 9)).astype(dtype)
        roi = (rng.random((7, 9)) < 0.5).astype(np.uint8) if masked else None
        weights = [1 / 8] * min(k, rows)
        counts, shares = (
            rng.uniform(0.2, 1.5, (7, 9)).astype(np.float32) if k == 1 else None for _ in range(2)
        )
        found = device.nearest(queries, memory, weights, scale, layout, roi, counts, shares)
        shared = queries.astype(np.float32) * (1 if shares is None else shares)
        exact = reference.nearest(shared, values, weights, roi)
        exact *= 1.0 if counts is None else counts.astype(np.float64)
        # A sum of so many squares is off by so many roundings; the weights add 8, the counts 1.
        np.testing.assert_allclose(found, exact, rtol=(channels + 12) * 2.0**-24, atol=1e-36)
        blend = Blend(min(k, 4), 0.3 * channels)
        found = device.nearest(queries, memory, blend, scale, layout, roi)
        exact = reference.nearest(queries, values, blend, roi)
        np.testing.assert_allclose(found, exact, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("triangular", [False, True])
def test_whiten_follows_float64(device, triangular, layout):
    rng = np.random.default_rng(10)
    shapes = [((1, 1), 1, 1, 1), ((9, 10), 33, 70, 4), ((32, 32), 152, 152, 4)]
    for (size, channels, outputs, side), dtype, normal, masked in product(
        shapes, (np.float32, np.float16), (False, True), (False, True)
    ):
        features, mean, factors = made(
            rng, size, channels, outputs, side, batch=2, triangular=triangular
        )
        features, mean = features.astype(dtype), mean - 3 * np.float32(normal)
        roi = (rng.random(size) < 0.5).astype(np.uint8) if masked else None
        how = {"triangular": triangular, "channel_normal": normal}
        centre = rng.normal(0, 2, channels).astype(np.float32) if normal else None
        found = device.whiten(
            features, mean, factors, side, layout=layout, centre=centre, roi=roi, **how
        )
        if centre is not None:
            features = features.astype(np.float32) - centre[:, None, None]
        exact = reference.whiten(features, mean, factors, side, channel_normal=normal, roi=roi)
        allowed = tolerance(features, mean, factors, side, channel_normal=normal)
        assert close(found, exact, allowed)
