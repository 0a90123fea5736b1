"""The image that preprocess writes: float32 or float16, NCHW or NHWC, from every kind of frame."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgead.errors import InputError
from edgead.preprocess import Preprocessor, PreprocessParams, preprocess

from . import exact

SIZES = [  # of the frame, of the image
    ((1, 1), (1, 1)),
    ((1, 1), (9, 21)),
    ((7, 5), (33, 129)),
    ((33, 129), (7, 5)),
    ((3, 1000), (17, 48)),
    ((64, 66), (32, 33)),
]


def misaligned(frame):
    """A copy that begins one byte after where its samples want to begin, and read-only."""
    room = np.zeros(frame.nbytes + 1, np.uint8)
    copy = np.ndarray(frame.shape, frame.dtype, room.data, offset=1)
    copy[:] = frame
    copy.flags.writeable = False
    return copy


# How a frame of a given size lies in memory; each gives back what it is given.
STRIDES = {
    "contiguous": lambda f: f,
    "row padding": lambda f: np.hstack([f, f[:, :1]])[:, :-1],
    "mirrored": lambda f: f[:, ::-1].copy()[:, ::-1],
    "every other column": lambda f: np.repeat(f, 2, axis=1)[:, ::2],
    "misaligned, read-only": misaligned,
}


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_every_frame_gives_every_image_bit_for_bit(size_in, size_out, strides, simd, make_frame):
    params = PreprocessParams(size_out)
    for sample, channels in product((np.uint8, np.uint16), (1, 3)):
        frame = STRIDES[strides](make_frame(*size_in, channels, sample))
        for color in ("bgr", "rgb"):
            planes = exact.preprocess(frame, params, color=color)
            for dtype, layout in product((np.float32, np.float16), ("NCHW", "NHWC")):
                image = Preprocessor(params, color, dtype=dtype, layout=layout, simd=simd).run(
                    frame
                )
                expected = planes if layout == "NCHW" else planes.transpose(1, 2, 0)
                assert image.dtype == dtype
                np.testing.assert_array_equal(image, expected.astype(dtype))


def test_stride_kinds_are_what_they_say(make_frame):
    frame = make_frame(6, 8, 3, np.uint16)
    views = {name: make(frame) for name, make in STRIDES.items()}
    for view in views.values():
        np.testing.assert_array_equal(view, frame)
    steps = {name: view.strides[:2] for name, view in views.items()}
    assert steps["contiguous"] == (48, 6)
    assert steps["row padding"] == (54, 6)
    assert steps["mirrored"] == (48, -6)
    assert steps["every other column"] == (96, 12)
    assert not views["misaligned, read-only"].flags.aligned
    assert not views["misaligned, read-only"].flags.writeable


# Pixels of one, two, three and four samples, and the channels in them.
PIXELS = {
    "grey": lambda f: f[:, :, 0].copy(),
    "one of two samples": lambda f: f[:, :, :2].copy()[:, :, 1],
    "one of three samples": lambda f: f[:, :, :3].copy()[:, :, 2],
    "one of four samples": lambda f: f[:, :, 1],
    "BGR": lambda f: f[:, :, :3].copy(),
    "BGR reversed": lambda f: f[:, :, :3].copy()[:, :, ::-1],
    "BGRx": lambda f: f[:, :, :3],
    "xRGB": lambda f: f[:, :, 1:],
}


@pytest.mark.parametrize("sample", [np.uint8, np.uint16])
@pytest.mark.parametrize("pixels", PIXELS)
def test_halved_widths_are_like_any_other(pixels, sample, simd, make_frame):
    # The CPU implementation has a way of its own for them. 550: rows of several chunks.
    for width in (1, 3, 4, 5, 8, 15, 16, 17, 33, 64, 550):
        full = np.dstack([make_frame(7, 2 * width, 3, sample), make_frame(7, 2 * width, 1, sample)])
        frame = PIXELS[pixels](full)
        for height, dtype, layout in ((3, np.float32, "NCHW"), (9, np.float16, "NHWC")):
            params = PreprocessParams((height, width))
            image = Preprocessor(params, dtype=dtype, layout=layout, simd=simd).run(frame)
            expected = exact.preprocess(frame, params, dtype=dtype, layout=layout)
            np.testing.assert_array_equal(image, expected)


# 9 to 5: one weight is 8192, 128 in its upper part, which no signed byte holds.
HEIGHTS = [(9, 9), (12, 9), (14, 9), (9, 5), (17, 9), (18, 9), (19, 9), (22, 9), (38, 9), (360, 9)]


@pytest.mark.parametrize("heights", HEIGHTS)
def test_white_frames_overflow_no_sum(heights, simd):
    # Largest samples, rows long enough for every width of vector, and weights on both sides of
    # what pairs of bytes can hold.
    for width in (21, 22, 43, 86):
        frame = np.full((heights[0], width, 3), 255, np.uint8)
        params = PreprocessParams((heights[1], 10), mean=(0.0,) * 3, std=(1.0,) * 3)
        image = Preprocessor(params, simd=simd).run(frame)
        np.testing.assert_array_equal(image, exact.preprocess(frame, params))
        # White is one: a rounded scale, a rounded product.
        np.testing.assert_allclose(image, 1.0, rtol=2**-23)


# One unit of std per kind of half: ordinary, subnormal, vanishing, infinite.
@pytest.mark.parametrize("std", [0.25, 2.0**15, 2.0**24, 2.0**-17])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_float16_is_the_rounding_of_float32(std, layout, simd, make_frame):
    params = PreprocessParams((40, 67), mean=(0.5, 0.0, 1.0), std=(std, std, std))
    for frame in (make_frame(80, 134), make_frame(40, 67, 3, np.uint16)):
        single = Preprocessor(params, layout=layout, simd=simd).run(frame)
        half = Preprocessor(params, dtype=np.float16, layout=layout, simd=simd).run(frame)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(half, single.astype(np.float16))
        again = exact.preprocess(frame, params, dtype=np.float16, layout=layout)
        np.testing.assert_array_equal(half, again)


def test_stds_reach_every_kind_of_half(make_frame):
    frame = make_frame(40, 67)
    tiny = np.finfo(np.float16).tiny
    for std, kind in [
        (2.0**15, lambda h: (h != 0) & (np.abs(h) < tiny)),
        (2.0**24, lambda h: h == 0),
        (2.0**-17, np.isinf),
    ]:
        image = preprocess(frame, PreprocessParams((40, 67), std=(std,) * 3), dtype=np.float16)
        assert kind(image).any()


@pytest.mark.parametrize("bits", [1, 0x0200, 0x03FF, 0x0400, 0x3555, 0x3C00, 0x7BFE])
def test_ties_go_to_even(bits, simd):
    # An image of one value: mean picks it, std is 1 and the frame black. A float32 holds the value
    # half-way between two halves, and its neighbours on both sides.
    low, high = np.array([bits, bits + 1], np.uint16).view(np.float16).astype(np.float64)
    middle = np.float32((low + high) / 2)
    below, above = np.nextafter(middle, np.float32([-np.inf, np.inf]))
    mean = [-float(value) for value in (below, middle, above)]
    params = PreprocessParams((17, 16), mean=tuple(mean), std=(1.0, 1.0, 1.0))
    image = Preprocessor(params, dtype=np.float16, simd=simd).run(np.zeros((3, 3), np.uint8))
    even = low if bits % 2 == 0 else high
    for plane, expected in zip(image, (low, even, high), strict=True):
        np.testing.assert_array_equal(plane, np.float16(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_nhwc_is_nchw_transposed(dtype, simd, make_frame):
    params = PreprocessParams((31, 50))
    frame = make_frame(62, 200)
    planes = Preprocessor(params, dtype=dtype, simd=simd).run(frame)
    pixels = Preprocessor(params, dtype=dtype, layout="NHWC", simd=simd).run(frame)
    assert pixels.flags.c_contiguous
    assert pixels.tobytes() == planes.transpose(1, 2, 0).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_constant_frames_give_constant_images(dtype, layout, simd):
    params = PreprocessParams((20, 37))
    for value in (0, 77, 255):
        frame = np.full((44, 74, 3), value, np.uint8)
        image = Preprocessor(params, dtype=dtype, layout=layout, simd=simd).run(frame)
        axes = (1, 2) if layout == "NCHW" else (0, 1)
        assert (np.ptp(image, axis=axes) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_out_is_used_whole_and_nothing_beside_it(dtype, layout, simd, make_frame):
    for size in ((19, 37), (16, 32)):
        shape = (3, *size) if layout == "NCHW" else (*size, 3)
        room = np.full(2 * 64 + 3 * size[0] * size[1], np.nan, dtype)
        out = room[64:-64].reshape(shape)
        kernel = Preprocessor(PreprocessParams(size), dtype=dtype, layout=layout, simd=simd)
        assert kernel.run(make_frame(64, 80), out) is out
        assert np.isfinite(out).all()
        assert np.isnan(room[:64]).all()
        assert np.isnan(room[-64:]).all()


@pytest.mark.parametrize("dtype", ["float64", "int8", ">f4", "half a float", None, 3])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(InputError, match=r"dtype is .*, expected one of float32, float16"):
        Preprocessor(PreprocessParams((8, 8)), dtype=dtype)


@pytest.mark.parametrize("layout", ["nchw", "HWC", "", None, 1])
def test_another_layout_is_refused(layout):
    with pytest.raises(InputError, match=r"layout is .*, expected one of NCHW, NHWC"):
        Preprocessor(PreprocessParams((8, 8)), layout=layout)


def test_an_out_of_the_other_dtype_or_layout_is_refused():
    frame, params = np.zeros((4, 4), np.uint8), PreprocessParams((8, 9))
    for kernel, image in [
        (Preprocessor(params, dtype=np.float16), np.zeros((3, 8, 9), np.float16)),
        (Preprocessor(params, layout="NHWC"), np.zeros((8, 9, 3), np.float32)),
    ]:
        assert kernel.run(frame, image) is image
        for out in (image.astype(np.float64), image.view(np.int8), image.transpose(2, 0, 1)):
            with pytest.raises(
                InputError, match=f"expected a writable C-contiguous {kernel.dtype}"
            ):
                kernel.run(frame, out)
        other = np.float32 if kernel.dtype == np.float16 else np.float16
        with pytest.raises(InputError, match=f"out is {np.dtype(other)}"):
            kernel.run(frame, image.astype(other))
