"""preprocess against its reference bit for bit, against torch, and against cases made by hand."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import _cpu, reference
from edgead.errors import InputError
from edgead.preprocess import Preprocessor, PreprocessParams, check_frame, preprocess

from . import exact
from .grid import grid

# mean 0, std 1: the image is the resized frame in [0, 1].
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (7, 5)),
    ((7, 5), (1, 1)),
    ((7, 5), (33, 129)),
    ((33, 129), (7, 5)),
    ((3, 1000), (16, 16)),
    ((1000, 3), (17, 31)),
    ((64, 64), (64, 64)),
    ((64, 96), (32, 48)),
    ((100, 357), (24, 64)),  # rows longer than one chunk of the vertical pass
    ((211, 683), (53, 19)),
    ((2, 700), (2, 699)),
]

# Views of a packed frame [H, W, 3] as they come from cameras, OpenCV and NumPy.
VIEWS = {
    "packed": lambda f: f,
    "upside down": lambda f: f[::-1],
    "mirrored": lambda f: f[:, ::-1],
    "channels reversed": lambda f: f[:, :, ::-1],
    "turned by 180 degrees": lambda f: f[::-1, ::-1],
    "every second pixel": lambda f: f[::2, ::2],
    "transposed": lambda f: f.transpose(1, 0, 2),
    "columns first": np.asfortranarray,
    "planes": lambda f: np.ascontiguousarray(f.transpose(2, 0, 1)).transpose(1, 2, 0),
    "BGRx": lambda f: np.dstack([f, f[:, :, :1]])[:, :, :3],
    "xRGB": lambda f: np.dstack([f[:, :, :1], f])[:, :, 1:],
    "BGRx reversed": lambda f: np.dstack([f, f[:, :, :1]])[:, :, 2::-1],
    "cut out": lambda f: f[f.shape[0] // 3 :, f.shape[1] // 4 :],
    "one channel": lambda f: f[:, :, 1],
    "one channel kept": lambda f: f[:, :, 2:],
    "one pixel repeated": lambda f: np.broadcast_to(f[:1, :1], f.shape),
    "one row repeated": lambda f: np.broadcast_to(f[:1], f.shape),
}


def assert_same(frame, params, simd, color="bgr"):
    image = Preprocessor(params, color, simd=simd).run(frame)
    np.testing.assert_array_equal(image, exact.preprocess(frame, params, color=color))


@pytest.mark.parametrize(
    ("sizes", "channels", "dtype"), grid(SIZES, [0, 1, 3], [np.uint8, np.uint16])
)
def test_kernel_and_reference_agree_bit_for_bit(sizes, channels, dtype, simd, make_frame):
    size_in, size_out = sizes
    params = PreprocessParams(size_out)
    assert_same(make_frame(*size_in, channels, dtype), params, simd)
    assert_same(make_frame(*size_in, channels, dtype, fill="white"), params, simd)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("view", VIEWS)
def test_every_memory_layout_gives_the_same_bits(view, dtype, simd, make_frame):
    frame = VIEWS[view](make_frame(61, 403, 3, dtype))
    params = PreprocessParams((19, 37))
    image = Preprocessor(params, simd=simd).run(frame)
    np.testing.assert_array_equal(image, Preprocessor(params, simd=simd).run(frame.copy()))
    np.testing.assert_array_equal(image, exact.preprocess(frame, params))


def test_unaligned_and_read_only_frames(simd, make_frame):
    frame = make_frame(20, 30, 3, np.uint16)
    room = np.zeros(frame.nbytes + 1, np.uint8)
    unaligned = np.ndarray(frame.shape, np.uint16, room.data, offset=1)
    unaligned[:] = frame
    unaligned.flags.writeable = False
    assert_same(unaligned, PreprocessParams((9, 11)), simd)


def test_colors_name_the_channels(make_frame):
    frame = make_frame(40, 50)
    params = PreprocessParams((16, 16))
    bgr = preprocess(frame, params, color="bgr")
    np.testing.assert_array_equal(bgr, preprocess(frame[:, :, ::-1], params, color="rgb"))
    red = preprocess(frame[:, :, 2], params, color="gray")
    np.testing.assert_array_equal(bgr[0], red[0])  # plane 0 is R, in BGR the last channel
    blue = preprocess(frame[:, :, :1], params)
    np.testing.assert_array_equal(bgr[2], blue[2])


def test_halving_by_hand():
    # Triangle over 4 samples: 1/8 3/8 3/8 1/8; at the border what is left of it, normalised: 3 3 1.
    frame = np.array([[0, 8, 16, 200]], np.uint8)
    image = preprocess(frame, PreprocessParams((1, 2), **PLAIN))
    expected = np.array([(3 * 0 + 3 * 8 + 16) / 7, (8 + 3 * 16 + 3 * 200) / 7]) / 255
    # Weights are multiples of 1/16384: three of them, off by half of it, on values up to 200/255.
    np.testing.assert_allclose(image[0, 0], expected, atol=3 * 0.5 / 16384)


def test_same_size_only_normalises(make_frame):
    frame = make_frame(9, 13)
    params = PreprocessParams((9, 13))
    expected = frame[:, :, ::-1].transpose(2, 0, 1) / 255.0
    expected = (expected - np.reshape(params.mean, (3, 1, 1))) / np.reshape(params.std, (3, 1, 1))
    # float32: two roundings of values below 4, and the rounded scale and bias.
    np.testing.assert_allclose(preprocess(frame, params), expected, atol=4 * 2**-23)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flat_frames_stay_flat_and_scale_comes_from_the_dtype(dtype, simd):
    params = PreprocessParams((31, 17), **PLAIN)
    top = np.iinfo(dtype).max
    for value in (0, 1, top // 3, top):
        image = Preprocessor(params, simd=simd).run(np.full((57, 90, 3), value, dtype))
        assert np.ptp(image) == 0.0  # each set of weights sums to exactly 16384
        # One rounding step of the 16-bit middle, and float32.
        assert abs(float(image[0, 0, 0]) - value / top) <= 0.5 / 65280 + 2**-23


@pytest.mark.parametrize(("size_in", "size_out"), [s for s in SIZES if min(s[0]) > 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_kernel_follows_torch(size_in, size_out, dtype, make_frame):
    torch = pytest.importorskip("torch", reason="torch is the independent truth here")
    frame = make_frame(*size_in, 3, dtype)
    image = preprocess(frame, PreprocessParams(size_out, **PLAIN), color="rgb")
    planes = torch.from_numpy(frame.transpose(2, 0, 1).astype(np.float64))[None]
    ideal = torch.nn.functional.interpolate(planes, size_out, mode="bilinear", antialias=True)
    ideal = ideal[0].numpy() / np.iinfo(dtype).max
    # Each direction: n taps, each weight off by at most 1/16384 (two roundings of the running sum),
    # on values spread over [0, 1]; the middle is rounded to 16 bits.
    taps = [2 * max(1.0, i / o) + 1 for i, o in zip(size_in, size_out, strict=True)]
    bound = min(sum(taps), 64) / 16384 + 0.5 / 65280 + 2**-22
    assert np.abs(image - ideal).max() < bound


def test_reference_weights_are_torchs(rng):
    torch = pytest.importorskip("torch", reason="torch is the independent truth here")
    for size_in, size_out in [(10, 3), (7, 5), (5, 7), (129, 33), (64, 64)]:
        eye = torch.eye(size_in, dtype=torch.float64)[None, None]
        expected = torch.nn.functional.interpolate(
            eye, (size_out, size_in), mode="bilinear", antialias=True
        )
        weights = reference.resize_weights(size_in, size_out, quantised=False)
        # float64; torch normalises in another order.
        np.testing.assert_allclose(weights, expected[0, 0].numpy(), atol=1e-14)


@given(size_in=st.integers(1, 400), size_out=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_weights_are_a_partition(size_in, size_out):
    weights = reference.resize_weights(size_in, size_out)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == 16384).all()
    ideal = reference.resize_weights(size_in, size_out, quantised=False)
    assert np.abs(weights / 16384 - ideal).max() <= 1.0001 / 16384


@given(
    size_in=st.tuples(st.integers(1, 80), st.integers(1, 500)),
    size_out=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    channels=st.sampled_from([0, 1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    steps=st.tuples(st.sampled_from([1, -1, 2, -3]), st.sampled_from([1, -1, 2, -3])),
    color=st.sampled_from(["bgr", "rgb"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_any_frame_any_size(size_in, size_out, channels, dtype, steps, color, seed):
    shape = size_in if channels == 0 else (*size_in, channels)
    noise = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, True)
    frame = noise[:: steps[0], :: steps[1]]
    for simd in _cpu.simd_paths():
        assert_same(frame, PreprocessParams(size_out), simd, color)


def test_large_frames(simd, make_frame):
    assert_same(make_frame(1500, 8000), PreprocessParams((24, 40)), simd)
    assert_same(make_frame(6000, 500, 1, np.uint16), PreprocessParams((40, 24)), simd)


def test_one_preprocessor_follows_changing_frames(make_frame):
    params = PreprocessParams((20, 30))
    stream = Preprocessor(params)
    for frame in [make_frame(50, 60), make_frame(50, 60), make_frame(70, 61, 0, np.uint16)]:
        for view in (frame, frame[::-1], frame[:, ::-1]):
            np.testing.assert_array_equal(stream.run(view), preprocess(view, params))


def test_out_is_used_whole_and_nothing_beside_it(make_frame, simd):
    room = np.full((5, 19, 37), np.float32(np.nan))
    out = room[1:4]
    image = Preprocessor(PreprocessParams((19, 37)), simd=simd).run(make_frame(64, 80), out)
    assert image is out
    assert np.isfinite(out).all()
    assert np.isnan(room[[0, 4]]).all()


def test_threads_with_preprocessors_of_their_own_agree(make_frame):
    params = PreprocessParams((64, 64))
    frames = [make_frame(301 + i, 207) for i in range(4)]
    expected = [preprocess(frame, params) for frame in frames]
    failures = []

    def work(k):
        stream = Preprocessor(params)
        for _ in range(20):
            if not np.array_equal(stream.run(frames[k]), expected[k]):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


BAD_FRAMES = [
    (None, "None: the file"),
    ([[1, 2]], "list"),
    (np.zeros((4, 4, 3), np.float32), "float32"),
    (np.full((4, 4), np.nan), "float64"),
    (np.zeros((4, 4), np.int8), "int8"),
    (np.zeros((4, 4), bool), "bool"),
    (np.zeros(4, np.uint8), r"\(4,\)"),
    (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
    (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
    (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
    (np.zeros((0, 4, 3), np.uint8), "0 x 4"),
    (np.zeros((4, 0), np.uint8), "4 x 0"),
    (np.broadcast_to(np.uint8(0), (4, 40000)), "32767"),
]


@pytest.mark.parametrize(("frame", "says"), BAD_FRAMES)
def test_bad_frames_are_refused_at_the_door(frame, says):
    with pytest.raises(InputError, match=says):
        preprocess(frame, PreprocessParams((8, 8)))
    with pytest.raises(InputError, match=says):
        check_frame(frame)


def test_a_colour_frame_is_not_grey():
    with pytest.raises(InputError, match="gray"):
        preprocess(np.zeros((4, 4, 3), np.uint8), PreprocessParams((8, 8)), color="gray")
    with pytest.raises(InputError, match="'brg'"):
        preprocess(np.zeros((4, 4, 3), np.uint8), PreprocessParams((8, 8)), color="brg")


def test_a_refused_frame_leaves_the_preprocessor_usable(make_frame):
    params = PreprocessParams((8, 8))
    stream = Preprocessor(params)
    frame = make_frame(20, 20)
    stream.run(frame)
    for _ in range(2):
        with pytest.raises(InputError):
            stream.run(np.zeros((4, 4), np.float32))
    np.testing.assert_array_equal(stream.run(frame), preprocess(frame, params))


def test_bad_out_is_refused():
    frame = np.zeros((4, 4), np.uint8)
    stream = Preprocessor(PreprocessParams((8, 8)))
    read_only = np.zeros((3, 8, 8), np.float32)
    read_only.flags.writeable = False
    for out in (
        np.zeros((3, 8, 9), np.float32),
        np.zeros((3, 8, 8), np.float64),
        np.zeros((8, 8, 3), np.float32).transpose(2, 0, 1),
        read_only,
        [0.0],
    ):
        with pytest.raises(InputError, match="out is"):
            stream.run(frame, out)
    room = np.zeros((3, 8, 8), np.float32)
    with pytest.raises(InputError, match="overlaps"):
        stream.run(room.view(np.uint8)[0], room)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": (0, 8)},
        {"size": (8, 40000)},
        {"size": 8},
        {"size": (8.5, 8)},
        {"size": (8, 8, 3)},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, -1.0, 1.0)},
        {"std": (1.0, 1e-40, 1.0)},
        {"std": (1.0, 1e39, 1.0)},
        {"mean": (0.0, -1e39, 0.0)},
        {"std": "abc"},
    ],
)
def test_bad_params_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        PreprocessParams(**{"size": (8, 8), **bad})


@pytest.mark.parametrize("simd", ["sse9", None])
def test_an_instruction_set_that_is_not_here_is_refused(simd):
    with pytest.raises(InputError, match=r"simd is .*expected one of .*(baseline|neon)"):
        Preprocessor(PreprocessParams((8, 8)), simd=simd)
