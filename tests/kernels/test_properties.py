"""Laws that both kernels obey whatever the shapes, dtypes and layouts: no reference is asked.

Features are float32 or float16, NCHW or NHWC, and every instruction set is tried.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import _cpu
from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.preprocess import Preprocessor, PreprocessParams

# As in test_anomaly_map.py: an error of 40 float32 roundings is generous for one map. Laws compare
# two computations, each with its own error.
BOUND = 2 * 40 * 2.0**-24
PATHS = _cpu.simd_paths()
SIDES = st.integers(1, 10)


class Maps:
    """One drawn geometry of anomaly_map, and ways to run it."""

    def __init__(self, draw: Any) -> None:
        self.shapes = draw(st.lists(st.tuples(st.integers(1, 20), SIDES, SIDES), max_size=3))
        self.shapes.append((draw(st.integers(1, 40)), 3, 4))
        self.dtype = draw(st.sampled_from([np.float32, np.float16]))
        self.layout = draw(st.sampled_from(["NCHW", "NHWC"]))
        self.simd = draw(st.sampled_from(PATHS))
        self.batch = draw(st.integers(1, 3))
        weights = st.sampled_from([0.25, 1.0, 2.0, 3.0])
        self.params = MapParams(
            draw(st.tuples(st.integers(1, 40), st.integers(1, 40))),
            draw(st.sampled_from(["cosine", "l1", "l2"])),
            tuple(draw(weights) for _ in self.shapes),
            draw(st.sampled_from(["sum", "product"])),
            draw(st.booleans()),
            draw(st.sampled_from([0.0, 0.8, 3.0])),
            draw(st.sampled_from(["max", "mean", "top_k"])),
            draw(st.floats(0.001, 1.0)),
        )
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def pairs(self) -> Any:
        """Random features, [N, C, H, W], of values that float16 holds exactly, |x| <= 4."""
        return [
            tuple(
                (self.rng.integers(-1024, 1025, (self.batch, *shape)) / 256).astype(np.float32)
                for _ in ("reference", "restored")
            )
            for shape in self.shapes
        ]

    def __call__(self, pairs: Any, roi: Any = None, simd: Any = None, **changes: Any) -> Any:
        """(maps, scores) of pairs [N, C, H, W]."""
        order = (0, 2, 3, 1) if self.layout == "NHWC" else (0, 1, 2, 3)
        held = [
            tuple(np.ascontiguousarray(a.transpose(order), self.dtype) for a in pair)
            for pair in pairs
        ]
        kernel = AnomalyMap(
            replace(self.params, **changes),
            [a.shape[1:] for a, _ in pairs],
            dtype=self.dtype,
            layout=self.layout,
            roi=roi,
            simd=simd or self.simd,
        )
        return kernel.run(held)


def near(found: Any, expected: Any, levels: int = 1, bound: float = BOUND) -> None:
    """Both of a law's sides, within the error that two computations may have."""
    scale = max(1.0, float(np.abs(expected).max())) * levels
    np.testing.assert_allclose(found, expected, rtol=0, atol=scale * bound)


maps = st.composite(lambda draw: Maps(draw))()
law = settings(max_examples=60)


@given(maps)
@law
def test_a_pair_can_be_swapped(m: Maps) -> None:
    pairs = m.pairs()
    for one, other in zip(m(pairs), m([(b, a) for a, b in pairs]), strict=True):
        np.testing.assert_array_equal(one, other)


@given(maps)
@law
def test_nothing_is_negative_and_equal_features_give_zero(m: Maps) -> None:
    pairs = m.pairs()
    values, scores = m(pairs)
    assert values.min() >= 0 and scores.min() >= 0
    # Features that are all zero are at cosine distance 1, as in torch; one channel may draw them.
    values, scores = m([2 * [np.where(a == 0, 1, a)] for a, _ in pairs])
    assert not values.any() and not scores.any()


@given(maps, st.sampled_from([2.0**-6, 0.5, 2.0, 8.0]), st.sampled_from([0.25, 1.0, 4.0]))
@law
def test_scale(m: Maps, x: float, y: float) -> None:
    # Powers of two are exact in every type. Cosine ignores the scale of either side while
    # |a| |b| > 1e-8; l1 is homogeneous of degree 1, l2 of degree 2, in both sides together.
    pairs = m.pairs()
    if m.params.distance == "cosine":
        scaled = m([(a * np.float32(x), b * np.float32(y)) for a, b in pairs])
        near(scaled[0], m(pairs)[0], len(pairs))
        return
    degree = 1 if m.params.distance == "l1" else 2
    degree *= len(pairs) if m.params.fusion == "product" else 1
    scaled = m([(a * np.float32(x), b * np.float32(x)) for a, b in pairs])
    for one, other in zip(scaled, m(pairs), strict=True):
        # No rounding depends on the scale: the bits are the same.
        np.testing.assert_array_equal(one, other * np.float32(x**degree))


@given(maps)
@law
def test_top_k_lies_between_mean_and_max(m: Maps) -> None:
    pairs = m.pairs()
    values, _ = m(pairs)
    mean, top, largest = (m(pairs, pooling=kind)[1] for kind in ("mean", "top_k", "max"))
    # mean and top_k are summed in float64 and rounded once, max is a pixel.
    np.testing.assert_array_equal(largest, values.max(axis=(1, 2)))
    assert (top <= largest).all()
    assert (mean <= top * np.float32(1 + 2**-23)).all()


@given(maps)
@law
def test_a_larger_top_k_never_scores_higher(m: Maps) -> None:
    pairs = m.pairs()
    scores = [m(pairs, pooling="top_k", top_k=k)[1] for k in (1e-9, 0.05, 0.4, 1.0)]
    for fewer, more in itertools.pairwise(scores):
        assert (more <= fewer * np.float32(1 + 2**-23)).all()
    np.testing.assert_array_equal(scores[0], m(pairs, pooling="max")[1])


@given(maps)
@law
def test_frames_of_a_batch_do_not_meet(m: Maps) -> None:
    pairs = m.pairs()
    order = m.rng.permutation(m.batch)
    shuffled = m([(a[order], b[order]) for a, b in pairs])
    for one, other in zip(m(pairs), shuffled, strict=True):
        np.testing.assert_array_equal(one[order], other)


@given(maps)
@law
def test_channels_have_no_order(m: Maps) -> None:
    pairs, mixed = m.pairs(), []
    for a, b in pairs:
        order = m.rng.permutation(a.shape[1])
        mixed.append((a[:, order], b[:, order]))
    near(m(mixed)[0], m(pairs)[0], len(pairs))


@given(maps)
@law
def test_zeros_in_both_features_as_more_channels_change_only_the_mean(m: Maps) -> None:
    # Cosine does not see them; l1 and l2 are means over the channels.
    ((a, b), *_) = m.pairs()
    wide = [np.concatenate([x, np.zeros_like(x)], axis=1) for x in (a, b)]
    share = 1.0 if m.params.distance == "cosine" else 0.5
    single = {"weights": (1.0,)}
    near(m([tuple(wide)], **single)[0], share * m([(a, b)], **single)[0])


@given(maps, st.sampled_from([0.5, 3.0]))
@law
def test_the_sum_is_linear_in_its_weights(m: Maps, factor: float) -> None:
    pairs = m.pairs()
    both, _ = m(pairs, fusion="sum")
    ones = tuple(np.eye(len(pairs)))
    parts = [m(pairs, fusion="sum", weights=tuple(one))[0] for one in ones]
    weighted = sum(w * part.astype(float) for w, part in zip(m.params.weights, parts, strict=True))
    near(both, weighted, len(pairs) * 3)  # weights up to 3
    more, _ = m(pairs, fusion="sum", weights=tuple(factor * w for w in m.params.weights))
    near(more, factor * both, len(pairs))


@given(maps)
@law
def test_the_order_of_pairs_does_not_matter(m: Maps) -> None:
    pairs = m.pairs()
    values, _ = m(pairs)
    m.shapes, weights = m.shapes[::-1], m.params.weights[::-1]
    near(m(pairs[::-1], weights=weights)[0], values, len(pairs))


@given(maps, st.sampled_from([(2,), (3,), (2, 3)]))
@law
def test_mirrored_features_give_the_mirrored_map(m: Maps, axes: tuple[int, ...]) -> None:
    if any(m.params.size[axis - 2] == 1 for axis in axes):
        # With aligned corners a side of one value takes the first of a row, as in torch.
        m.params = replace(m.params, align_corners=False)
    pairs = m.pairs()
    flipped = m([tuple(np.flip(x, axes) for x in pair) for pair in pairs])
    near(flipped[0], np.flip(m(pairs)[0], [axis - 1 for axis in axes]), len(pairs))


@given(maps, st.integers(1, 3))
@law
def test_the_map_follows_a_shift(m: Maps, by: int) -> None:
    # Features of the map's size, no border in reach: the same values one step on.
    sigma = min(m.params.blur_sigma, 0.8)
    margin = int(4 * sigma + 0.5) + by
    size = (2 * margin + 3, 2 * margin + 5)
    m.shapes = [(shape[0], *size) for shape in m.shapes]
    pairs = m.pairs()
    settings_ = {"size": size, "blur_sigma": sigma}
    here, _ = m(pairs, **settings_)
    there, _ = m([tuple(np.roll(x, (by, by), (2, 3)) for x in pair) for pair in pairs], **settings_)
    inner = slice(margin, -margin)
    moved = slice(margin - by, -margin - by)
    near(there[:, inner, inner], here[:, moved, moved], len(pairs))


@given(maps)
@law
def test_a_mask_only_hides(m: Maps) -> None:
    pairs = m.pairs()
    whole, _ = m(pairs)
    roi = m.rng.random(m.params.size) < 0.4
    roi[0, -1] = True
    values, scores = m(pairs, roi)
    np.testing.assert_array_equal(values, np.where(roi, whole, 0))
    _, largest = m(pairs, roi, pooling="max")
    np.testing.assert_array_equal(largest, whole[:, roi].max(axis=1))
    assert (scores <= largest).all()


@given(maps)
@law
def test_instruction_sets_agree(m: Maps) -> None:
    pairs = m.pairs()
    expected, _ = m(pairs, simd=PATHS[-1])
    for path in PATHS:
        near(m(pairs, simd=path)[0], expected, len(pairs))


@given(maps)
@law
def test_type_and_layout_of_features_do_not_matter(m: Maps) -> None:
    # The values are exact in both types; what differs is the order in which channels are added.
    pairs = m.pairs()
    values, _ = m(pairs)
    for m.dtype in (np.float32, np.float16):
        for m.layout in ("NCHW", "NHWC"):
            near(m(pairs)[0], values, len(pairs))


FRAMES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
DEPTHS = st.sampled_from([np.uint8, np.uint16])
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
# Without mean and std an image holds 0 .. 1. The two roundings of the integers before it are worth
# 2^-1 of 255 * 256 or of 65535, the Q14 weights sum to exactly 1, float32 adds 2^-24.
ONE_ROUNDING = 0.5 / 65280 + 2.0**-23


def frame_of(shape: Any, dtype: Any, seed: int) -> Any:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


@given(FRAMES, DEPTHS, SIZES, st.integers(0, 999))
@law
def test_every_instruction_set_gives_the_same_bits(
    shape: Any, depth: Any, size: Any, seed: int
) -> None:
    frame = frame_of(shape, depth, seed)
    for dtype in (np.float32, np.float16):
        for layout in ("NCHW", "NHWC"):
            images = [
                Preprocessor(PreprocessParams(size), dtype=dtype, layout=layout, simd=path).run(
                    frame
                )
                for path in PATHS
            ]
            for image in images[1:]:
                assert image.tobytes() == images[0].tobytes()


@given(FRAMES, DEPTHS, SIZES, st.floats(0, 1))
@law
def test_a_constant_frame_gives_a_constant_image(
    shape: Any, depth: Any, size: Any, grey: float
) -> None:
    top = np.iinfo(depth).max
    value = round(grey * top)
    image = Preprocessor(PreprocessParams(size, **PLAIN)).run(np.full(shape, value, depth))
    assert (image == image[0, 0, 0]).all()
    np.testing.assert_allclose(image, value / top, rtol=0, atol=2.0**-23)


@given(FRAMES, DEPTHS, SIZES, st.integers(0, 999))
@law
def test_a_brighter_frame_never_gives_a_darker_image(
    shape: Any, depth: Any, size: Any, seed: int
) -> None:
    dark, other = frame_of(shape, depth, seed), frame_of(shape, depth, seed + 1)
    stream = Preprocessor(PreprocessParams(size))
    assert (stream.run(np.maximum(dark, other)) >= stream.run(dark)).all()


@given(FRAMES, DEPTHS, SIZES, st.integers(0, 999))
@law
def test_preprocess_is_linear_but_for_rounding(
    shape: Any, depth: Any, size: Any, seed: int
) -> None:
    one, other = (frame_of(shape, depth, seed + i) // 2 for i in range(2))
    stream = Preprocessor(PreprocessParams(size, **PLAIN))
    parts = stream.run(one).astype(float) + stream.run(other)
    np.testing.assert_allclose(stream.run(one + other), parts, rtol=0, atol=3 * ONE_ROUNDING)


@given(FRAMES, DEPTHS, SIZES, st.integers(0, 999))
@law
def test_an_image_stays_within_the_frames_range(
    shape: Any, depth: Any, size: Any, seed: int
) -> None:
    frame = frame_of(shape, depth, seed)
    image = Preprocessor(PreprocessParams(size, **PLAIN)).run(frame)
    top = np.iinfo(depth).max
    assert image.min() >= frame.min() / top - ONE_ROUNDING
    assert image.max() <= frame.max() / top + ONE_ROUNDING


@given(FRAMES, DEPTHS, SIZES, st.integers(0, 999))
@law
def test_colour_order_is_a_permutation_of_planes(
    shape: Any, depth: Any, size: Any, seed: int
) -> None:
    frame = frame_of((*shape[:2], 3), depth, seed)
    params = PreprocessParams(size, **PLAIN)
    bgr, rgb = Preprocessor(params, "bgr").run(frame), Preprocessor(params, "rgb").run(frame)
    np.testing.assert_array_equal(bgr, rgb[::-1])
    for channel in range(3):  # and a plane alone is a grey frame
        alone = Preprocessor(params, "gray").run(frame[:, :, channel])
        np.testing.assert_array_equal(alone[0], rgb[channel])


@given(FRAMES, DEPTHS, st.integers(0, 999))
@law
def test_the_frames_own_size_keeps_every_sample(shape: Any, depth: Any, seed: int) -> None:
    frame = frame_of(shape, depth, seed)
    image = Preprocessor(PreprocessParams(shape[:2], **PLAIN), "rgb").run(frame)
    expected = frame.transpose(2, 0, 1) / np.iinfo(depth).max
    np.testing.assert_allclose(image, np.broadcast_to(expected, image.shape), atol=2.0**-23)
