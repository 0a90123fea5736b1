"""Frames of 9 to 16 bits in uint16: the shift law bit for bit, a truth of its own, the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead import _cpu, reference
from edgead.errors import InputError
from edgead.images.bits import BIT_DEPTHS, check_values, full_scale, highest_value
from edgead.preprocess import Preprocessor, PreprocessParams, kernel_arguments, preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SIZES = [((61, 403), (19, 37)), ((40, 128), (20, 64)), ((7, 5), (33, 129)), ((1, 1), (3, 2))]
DTYPES, LAYOUTS = (np.float32, np.float16), ("NCHW", "NHWC")
FRAMES = st.sampled_from([0, 1, 3])
SIDES = st.integers(1, 90)
STEPS = st.sampled_from([1, -1, 2, -3])


def frame_of(rng: np.random.Generator, size: Any, channels: int, bits: int) -> np.ndarray:
    """Noise over the whole range of the depth, with white and black corners."""
    shape = size if channels == 0 else (*size, channels)
    frame = rng.integers(0, (1 << bits) - 1, shape, np.uint16, endpoint=True)
    frame[0, 0], frame[-1, -1] = (1 << bits) - 1, 0
    return frame


def integers(frame: np.ndarray, size: Any, simd: str, bits: int) -> np.ndarray:
    """The filter's sums [3, h, w] before they are scaled, as float32: the upper 24 of 30 bits."""
    given_ = kernel_arguments(frame, PreprocessParams(size, bit_depth=bits), "bgr", "f4", "NCHW")
    given_ |= {"scale": [1.0] * 3, "bias": [0.0] * 3}
    image = np.empty((3, *size), np.float32)
    _cpu.Preprocess(**given_, simd=simd).run(frame, image)
    return image


@pytest.mark.parametrize("bits", BIT_DEPTHS)
@given(st.data())
def test_n_bits_give_the_integers_of_the_frame_shifted_to_16(bits: int, data: Any) -> None:
    size, out = data.draw(st.tuples(SIDES, SIDES)), data.draw(st.tuples(SIDES, SIDES))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    whole = frame_of(rng, size, data.draw(FRAMES), bits)
    frame = whole[:: data.draw(STEPS), :: data.draw(STEPS)]
    shifted = frame << (16 - bits)
    for simd in _cpu.simd_paths():
        found = integers(frame, out, simd, bits)
        np.testing.assert_array_equal(found, integers(shifted, out, simd, 16))
        assert found.max() <= 16384 * 65535


@pytest.mark.parametrize("bits", BIT_DEPTHS)
@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_every_path_gives_the_bits_of_the_reference(bits: int, size_in: Any, size_out: Any) -> None:
    rng, params = np.random.default_rng(bits), PreprocessParams(size_out)
    for channels in (0, 1, 3):
        frame = frame_of(rng, size_in, channels, bits)
        for dtype in DTYPES:
            for layout in LAYOUTS:
                how: Any = {"dtype": dtype, "layout": layout, "bit_depth": bits}
                expected = reference.preprocess(frame, params, **how)
                for simd in _cpu.simd_paths():
                    found = Preprocessor(params, simd=simd, **how).run(frame)
                    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bits", BIT_DEPTHS)
def test_the_filter_in_float64_is_the_truth(bits: int) -> None:
    frame = frame_of(np.random.default_rng(3), (50, 70), 3, bits)
    image = preprocess(frame, PreprocessParams((19, 31), **PLAIN), color="rgb", bit_depth=bits)
    down = reference.resize_weights(50, 19, quantised=False)
    across = reference.resize_weights(70, 31, quantised=False)
    exact = np.einsum("ij,jkc,lk->cil", down, frame.astype(np.float64), across) / (2**bits - 1)
    # Up to 8 and 7 taps, each weight off by at most 1/16384; the middle rounded to 16 bits.
    assert np.abs(image - exact).max() < 15 / 16384 + 0.5 / 65280 + 2**-22


@pytest.mark.parametrize("bits", BIT_DEPTHS)
def test_white_is_one_and_black_is_zero_at_every_depth(bits: int) -> None:
    for value in (0, 1, (1 << bits) // 3, (1 << bits) - 1):
        frame = np.full((57, 90, 3), value, np.uint16)
        image = preprocess(frame, PreprocessParams((31, 17), **PLAIN), bit_depth=bits)
        assert np.ptp(image) == 0.0
        assert abs(float(image[0, 0, 0]) - value / (2**bits - 1)) <= 2**-23


def test_16_bits_and_uint8_are_what_they_were() -> None:
    rng, params = np.random.default_rng(5), PreprocessParams((19, 37))
    wide = frame_of(rng, (61, 83), 3, 16)
    np.testing.assert_array_equal(preprocess(wide, params), preprocess(wide, params, bit_depth=16))
    narrow = rng.integers(0, 256, (61, 83, 3), np.uint8)
    for bits in BIT_DEPTHS:  # of uint16 frames only
        expected = preprocess(narrow, params)
        np.testing.assert_array_equal(preprocess(narrow, params, bit_depth=bits), expected)
    # Eight bits, shifted left to sixteen: the integers of the uint8 frame, by the same law.
    as_wide = narrow.astype(np.uint16) << 8
    for simd in _cpu.simd_paths():
        eight = integers(narrow, (19, 37), simd, 16)  # the depth of uint8 is its own
        np.testing.assert_array_equal(eight, integers(as_wide, (19, 37), simd, 16))


def test_the_depth_is_that_of_the_params_unless_it_is_said() -> None:
    frame = frame_of(np.random.default_rng(6), (20, 30), 3, 12)
    declared, plain = PreprocessParams((8, 9), bit_depth=12), PreprocessParams((8, 9))
    expected = preprocess(frame, plain, bit_depth=12)
    np.testing.assert_array_equal(preprocess(frame, declared), expected)
    np.testing.assert_array_equal(reference.preprocess(frame, declared), expected)
    as_16 = preprocess(frame, declared, bit_depth=16)
    np.testing.assert_array_equal(as_16, preprocess(frame, plain))
    assert (as_16 != expected).any()


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "packed": lambda f: f,
    "grey": lambda f: f[:, :, 0],
    "mirrored": lambda f: f[:, ::-1],
    "planes": lambda f: np.ascontiguousarray(f.transpose(2, 0, 1)).transpose(1, 2, 0),
    "of four channels": lambda f: np.dstack([f, f[:, :, :1]])[:, :, :3],
    "one channel kept": lambda f: f[:, :, :1],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("bits", [b for b in BIT_DEPTHS if b < 16])
def test_a_value_above_the_depth_is_refused_wherever_it_lies(view: str, bits: int) -> None:
    rng, top = np.random.default_rng(bits), (1 << bits) - 1
    stream = Preprocessor(PreprocessParams((8, 9)), bit_depth=bits)
    for value in (top + 1, 65535):
        frame = VIEWS[view](frame_of(rng, (23, 31), 3, bits)).copy("K")
        expected = stream.run(frame)
        place = tuple(int(rng.integers(side)) for side in frame.shape)
        kept, frame[place] = frame[place], value
        assert highest_value(frame) == value
        with pytest.raises(InputError) as raised:
            stream.run(frame)
        for word in (f"value {value} ", f"{bits} bits", f"at most {top}", "declare"):
            assert word in str(raised.value)
        frame[place] = kept  # and the stream goes on
        np.testing.assert_array_equal(stream.run(frame), expected)


def test_no_value_of_16_bits_is_refused_where_16_are_declared_or_nothing() -> None:
    white = np.full((4, 5), 65535, np.uint16)
    for bits in (None, 16):
        assert preprocess(white, PreprocessParams((3, 3), **PLAIN), bit_depth=bits).max() == 1.0
        check_values(white, bits)
    check_values(np.full((4, 5), 255, np.uint8), 9)


@pytest.mark.parametrize("bits", [8, 17, 0, -12, 12.0, "12", True, [12], 10**400, float("nan")])
def test_a_bit_depth_out_of_its_range_is_refused(bits: Any) -> None:
    frame = np.zeros((4, 4), np.uint16)
    for call in (
        lambda: PreprocessParams((8, 8), bit_depth=bits),
        lambda: Preprocessor(PreprocessParams((8, 8)), bit_depth=bits),
        lambda: preprocess(frame, PreprocessParams((8, 8)), bit_depth=bits),
    ):
        with pytest.raises(InputError, match=r"bit_depth is .* 9 to 16"):
            call()
    assert PreprocessParams((8, 8), bit_depth=np.int64(12)).bit_depth == 12  # type: ignore[arg-type]


def test_a_frame_that_changes_behind_the_check_is_bounded_not_wrapped() -> None:
    """A camera may write into its buffer at any moment: the kernel itself has to hold."""
    for bits in BIT_DEPTHS:
        for size_in, size_out in SIZES:
            frame = np.full((*size_in, 3), 65535, np.uint16)
            params = PreprocessParams(size_out, **PLAIN, bit_depth=bits)
            expected = reference.preprocess(frame, params)
            for simd in _cpu.simd_paths():
                stream = Preprocessor(params, simd=simd, checked=True)
                image = stream.run(frame)
                np.testing.assert_array_equal(image, expected)
                assert image.min() >= 1.0


def test_full_scale() -> None:
    assert full_scale(np.uint8) == full_scale(np.uint8, 12) == 255
    assert [full_scale(np.uint16, bits) for bits in (None, 16, 12, 9)] == [65535, 65535, 4095, 511]


PLANTED: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "nothing": lambda acc, n: (acc + (1 << (n - 3))) >> (n - 2),
    "rounds as 16 bits": lambda acc, n: (acc + (1 << 13)) >> (n - 2),
    "does not round": lambda acc, n: acc >> (n - 2),
    "rounds before it is shifted": lambda acc, n: ((acc + (1 << 13)) >> 14) << (16 - n),
    "one bit too few": lambda acc, n: (acc + (1 << (n - 2))) >> (n - 1),
    "the upper bits repeated below": lambda acc, n: (acc * 65535 // ((1 << n) - 1) + 8192) >> 14,
}


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
def test_another_formula_for_the_middle_would_be_found(bug: str, bits: int) -> None:
    frame = frame_of(np.random.default_rng(bits), (61, 83), 0, bits)
    down, across = (
        reference.resize_weights(a, b).astype(np.int64) for a, b in ((61, 19), (83, 37))
    )
    acc = PLANTED[bug](down @ frame.astype(np.int64), bits) @ across.T
    for simd in _cpu.simd_paths():
        found = integers(frame, (19, 37), simd, bits)[0]
        assert (found == acc.astype(np.float32)).all() == (bug == "nothing")
