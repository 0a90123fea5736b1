"""Laws that whiten obeys whatever the sizes, types and layouts: no reference is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import _cpu
from edgead.engine.whiten import Whiten

PATHS = _cpu.simd_paths()
law = settings(max_examples=40)


class Drawn:
    """One drawn frame and its statistics, of small whole numbers: every sum is exact."""

    def __init__(self, draw: Any) -> None:
        self.size = draw(st.tuples(st.integers(1, 9), st.integers(1, 11)))
        self.channels, self.outputs = draw(st.integers(1, 70)), draw(st.integers(1, 70))
        self.side = draw(st.integers(1, 12))
        self.simd = draw(st.sampled_from(PATHS))
        self.layout = draw(st.sampled_from(["NCHW", "NHWC"]))
        self.dtype = draw(st.sampled_from([np.float32, np.float16]))
        self.normal = draw(st.booleans())
        rng = self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        across = -(-self.size[1] // self.side)
        self.regions = -(-self.size[0] // self.side) * across
        row, column = np.indices(self.size) // self.side
        self.region = row * across + column
        whole = rng.integers
        self.mean = whole(-8, 9, (self.channels, *self.size)).astype(np.float32)
        shape = (self.regions, self.outputs, self.channels)
        self.factors = (whole(-4, 5, shape) / 4).astype(np.float32)
        self.frame = whole(-8, 9, (1, self.channels, *self.size)).astype(np.float32)

    def __call__(self, frame: Any = None, mean: Any = None, factors: Any = None, **how: Any) -> Any:
        """Distances [H, W]."""
        frame = self.frame if frame is None else frame
        given_ = {"side": self.side, "layout": self.layout, "dtype": self.dtype, "simd": self.simd}
        given_ |= {"channel_normal": False} | how
        whiten = Whiten(
            self.mean if mean is None else mean,
            self.factors if factors is None else factors,
            **given_,
        )
        order = (0, 2, 3, 1) if given_["layout"] == "NHWC" else (0, 1, 2, 3)
        return whiten.run(np.ascontiguousarray(frame.transpose(order), given_["dtype"]))[0]


drawn = st.composite(lambda draw: Drawn(draw))()


@given(drawn)
@law
def test_the_mean_is_at_distance_zero(d: Drawn) -> None:
    assert not d(d.mean[None]).any()


@given(drawn)
@law
def test_a_shift_of_features_and_mean_changes_nothing(d: Drawn) -> None:
    np.testing.assert_array_equal(d(d.frame + 16, d.mean + 16), d())


@given(drawn, st.sampled_from([2.0**-6, 0.5, 4.0]))
@law
def test_distances_are_homogeneous_of_degree_two(d: Drawn, scale: float) -> None:
    factor = np.float32(scale)
    found = d(d.frame, factors=d.factors * factor, channel_normal=d.normal)
    np.testing.assert_array_equal(found, d(channel_normal=d.normal) * factor * factor)


@given(drawn)
@law
def test_outputs_and_channels_have_no_order_and_outputs_no_sign(d: Drawn) -> None:
    order, channels = d.rng.permutation(d.outputs), d.rng.permutation(d.channels)
    sign = d.rng.choice([-1, 1], (1, d.outputs, 1)).astype(np.float32)
    factors = (d.factors * sign)[:, order][:, :, channels]
    np.testing.assert_array_equal(d(d.frame[:, channels], d.mean[channels], factors), d())


@given(drawn)
@law
def test_an_output_of_zeros_only_makes_the_mean_smaller(d: Drawn) -> None:
    zeros = np.zeros_like(d.factors)
    np.testing.assert_array_equal(d(factors=np.concatenate([d.factors, zeros], 1)) * 2, d())


@given(drawn)
@law
def test_regions_do_not_meet(d: Drawn) -> None:
    one = int(d.rng.integers(d.regions))
    factors = d.factors.copy()
    factors[one] *= 2
    expected = np.where(d.region == one, 4, 1) * d(channel_normal=d.normal)
    np.testing.assert_array_equal(d(factors=factors, channel_normal=d.normal), expected)


@given(drawn)
@law
def test_a_factor_for_all_is_that_factor_for_each(d: Drawn) -> None:
    first = d.factors[:1]
    each = d(factors=np.repeat(first, d.regions, 0), channel_normal=d.normal)
    np.testing.assert_array_equal(each, d(factors=first, side=None, channel_normal=d.normal))


@given(drawn)
@law
def test_a_triangle_is_what_its_zeros_say(d: Drawn) -> None:
    # One value below the diagonal of another region: nothing is left out any more.
    factors = np.triu(np.concatenate([d.factors] * 2)[: max(2, d.regions)])
    frame, mean, side = d.frame, d.mean, d.side
    if d.regions == 1:
        frame, mean = np.concatenate([frame] * 2, 3), np.concatenate([mean] * 2, 2)
        side = d.size[1]
        if d.size[0] > side:
            return
    if d.outputs < 2:
        return
    other = factors.copy()
    other[-1, -1, 0] = 5
    a, b = d(frame, mean, factors, side=side), d(frame, mean, other, side=side)
    row, column = np.indices(a.shape) // side
    last = row * -(-a.shape[1] // side) + column == len(factors) - 1
    np.testing.assert_array_equal(a[~last], b[~last])


@given(drawn)
@law
def test_a_region_of_interest_only_skips(d: Drawn) -> None:
    roi = d.rng.random(d.size) < 0.5
    roi[0, 0] = True
    plain = d(channel_normal=d.normal)
    np.testing.assert_array_equal(d(roi=roi, channel_normal=d.normal), np.where(roi, plain, 0))
    np.testing.assert_array_equal(
        d(roi=roi.astype(np.uint8) * 200, channel_normal=d.normal), np.where(roi, plain, 0)
    )


@given(drawn)
@law
def test_the_normal_form_knows_no_gain_and_no_offset(d: Drawn) -> None:
    plain = d(channel_normal=True, dtype=np.float32, epsilon=1e-6)
    changed = d(d.frame * 8 + 64, channel_normal=True, dtype=np.float32, epsilon=64e-6)
    size = np.square(np.abs(d.factors).sum(2)).mean(1).max()
    largest = np.abs(d.mean).max() + np.sqrt(d.channels)
    np.testing.assert_allclose(changed, plain, rtol=0, atol=1e-4 * size * largest**2)


@given(drawn)
@law
def test_a_constant_feature_is_zero_in_the_normal_form(d: Drawn) -> None:
    flat = np.full_like(d.frame, 3)
    expected = d(np.zeros_like(d.frame))
    np.testing.assert_array_equal(d(flat, channel_normal=True), expected)


@given(drawn, st.sampled_from([np.nan, np.inf, -np.inf, 3e38]))
@law
def test_what_is_not_finite_stays_at_its_position(d: Drawn, bad: float) -> None:
    frame = d.frame.copy()
    if bad == 3e38:  # squares leave float32
        d.dtype, d.factors[:] = np.float32, 2
        if d.channels == 1 and d.normal:
            return
    place = tuple(int(d.rng.integers(n)) for n in d.size)
    frame[0, d.rng.integers(d.channels), place[0], place[1]] = bad
    plain, found = d(channel_normal=d.normal), d(frame, channel_normal=d.normal)
    assert not np.isfinite(found[place])
    found[place] = plain[place]
    np.testing.assert_array_equal(found, plain)


@given(drawn)
@settings(max_examples=15)
def test_type_layout_and_path_do_not_matter(d: Drawn) -> None:
    expected = d()
    for simd in PATHS:
        for dtype in (np.float32, np.float16):
            for layout in ("NCHW", "NHWC"):
                np.testing.assert_array_equal(d(simd=simd, dtype=dtype, layout=layout), expected)


@given(drawn)
@law
def test_positions_of_a_region_do_not_meet(d: Drawn) -> None:
    order = d.rng.permutation(d.size[0] * d.size[1])

    def mixed(x: Any) -> Any:
        return np.ascontiguousarray(x.reshape(*x.shape[:-2], -1)[..., order]).reshape(x.shape)

    one = {"factors": d.factors[:1], "side": None, "channel_normal": d.normal}
    np.testing.assert_array_equal(d(mixed(d.frame), mixed(d.mean), **one), mixed(d(**one)))
