"""The entry points of both kernels under arguments of all kinds.

Each drawn argument knows whether it is a good one. All good: the call succeeds and agrees with the
reference. Otherwise: an InputError that names one of the bad ones. Nothing else may happen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import reference
from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.errors import InputError
from edgead.images.arrays import as_frame
from edgead.preprocess import PreprocessParams, preprocess

ROUNDINGS = 40 * 2.0**-24  # as in test_anomaly_map.py


@dataclass
class Arg:
    """An argument, the word for it in messages, and whether the entry point must take it."""

    value: Any
    name: str
    good: bool


def outcome(call: Any, args: list[Arg]) -> Any:
    """The result when all ``args`` are good; None after the InputError that they deserve."""
    bad = [arg for arg in args if not arg.good]
    try:
        result = call()
    except InputError as error:
        assert bad, f"all is well, and yet: {error}"
        assert any(arg.name in str(error) for arg in bad), str(error)
        return None
    assert not bad, f"taken: {bad}"
    return result


def mostly(good: Any, bad: Any) -> Any:
    """Draws (value, is good), mostly from ``good``: a lone bad argument is the hardest case."""
    right, wrong = good.map(lambda v: (v, True)), bad.map(lambda v: (v, False))
    return st.integers(0, 9).flatmap(lambda k: wrong if k == 9 else right)


def argument(name: str, good: Any, bad: Any) -> Any:
    return mostly(good, bad).map(lambda drawn: Arg(drawn[0], name, drawn[1]))


JUNK = st.sampled_from([None, 3, 2.5, "junk", b"junk", [], {}, (), object()])
SIDES = st.integers(1, 9)
LAYOUTS = argument("layout", st.sampled_from(["NCHW", "NHWC"]), st.just("nchw") | JUNK)
DTYPES = argument(
    "dtype",
    st.sampled_from([np.float32, np.float16, "float16", np.dtype("float32")]),
    st.sampled_from([np.float64, np.uint8, ">f4", "f2,f4", None, "junk", 3, object()]),
)


def unaligned(array: Any) -> Any:
    """A copy that starts one byte after where it should."""
    room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    room[...] = array
    return room


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


# Views and copies that hold the same shape in another memory order.
FRAME_VIEWS = [
    lambda f: f,
    lambda f: f[::-1, ::-1],
    lambda f: np.repeat(np.repeat(f, 2, 0), 3, 1)[::2, ::3],
    lambda f: np.asfortranarray(f),
    lambda f: np.ascontiguousarray(f[..., ::-1])[..., ::-1],
    lambda f: np.broadcast_to(f[:1, :1], f.shape),
    unaligned,
    read_only,
]


@st.composite
def frames(draw: Any) -> Arg:
    dtype, dtype_good = draw(
        mostly(
            st.sampled_from([np.uint8, np.uint16, ">u2"]),
            st.sampled_from([np.int8, np.bool_, np.float32, np.complex64, object, "U2"]),
        )
    )
    tail = st.sampled_from([(), (1,), (3,), (4,)])
    shape, shape_good = draw(
        mostly(
            st.tuples(SIDES, SIDES, tail).map(lambda t: (t[0], t[1], *t[2])),
            st.sampled_from([(), (4,), (0, 3), (3, 0, 3), (2, 2, 2), (3, 3, 5), (2, 2, 3, 3)]),
        )
    )
    if draw(st.integers(0, 19)) == 19:
        return Arg(draw(JUNK), "frame", False)
    seed = draw(st.integers(0, 99))
    frame = np.random.default_rng(seed).integers(0, 2**16, shape).astype(dtype)
    if dtype_good and shape_good:
        frame = draw(st.sampled_from(FRAME_VIEWS))(frame)
    return Arg(frame, "frame", dtype_good and shape_good)


@st.composite
def outs(draw: Any, expected: Any, dtype: Any, inputs: list[Any]) -> Arg:
    """None, an array that fits, or one of those that do not."""
    fits = np.full(expected, np.nan, dtype)
    bad = [
        fits[..., :-1],
        np.full(expected, 1, np.float64),
        np.asfortranarray(np.full((*expected, 2), 0, dtype))[..., 0],
        np.repeat(fits, 2, -1)[..., ::2],
        fits.astype(fits.dtype.newbyteorder()),
        unaligned(fits),
        read_only(fits),
        list(fits),
    ]
    size = fits.nbytes
    for one in inputs:  # written where it is read
        if isinstance(one, np.ndarray) and one.dtype != object and one.flags.c_contiguous:
            room = one.reshape(-1).view(np.uint8)[:size]
            if room.nbytes == size > 0 and room.ctypes.data % 4 == 0 and room.flags.writeable:
                bad.append(room.view(dtype).reshape(expected))
    return draw(argument("out", st.sampled_from([None, fits]), st.sampled_from(bad)))


@given(st.data(), frames(), st.tuples(SIDES, SIDES), DTYPES, LAYOUTS)
@settings(max_examples=600)
def test_the_door_of_preprocess(data: Any, frame: Arg, size: Any, dtype: Arg, layout: Arg) -> None:
    color = data.draw(argument("color", st.sampled_from(["bgr", "rgb"]), st.just("brg") | JUNK))
    params = PreprocessParams(size)
    shape = (*size, 3) if layout.value == "NHWC" else (3, *size)
    known = np.dtype(dtype.value) if dtype.good else np.float32
    out = data.draw(outs(shape, known, [frame.value]))
    depths = st.sampled_from([None, 16, 12, 9])
    depth = data.draw(argument("bit_depth", depths, st.sampled_from([8, 17, 12.0, "12", True])))
    given_ = {"color": color.value, "dtype": dtype.value, "layout": layout.value}
    given_["bit_depth"] = depth.value
    if frame.good and depth.good and depth.value is not None and frame.value.dtype.itemsize == 2:
        values = frame.value >> (16 - depth.value if data.draw(st.booleans()) else 0)
        values = values.astype(frame.value.dtype, copy=False)  # of its byte order
        seen = as_frame(values, "bgr")  # a fourth channel is not looked at
        frame = Arg(values, "frame", bool(seen.max() < 1 << depth.value))

    def call() -> Any:
        return preprocess(frame.value, params, **given_, out=out.value)

    image = outcome(call, [frame, dtype, layout, color, depth, out])
    if image is None:
        return
    assert out.value is None or image is out.value
    how: Any = {"color": color.value, "bit_depth": depth.value}
    expected = reference.preprocess(frame.value, params, **how).astype(known)
    if layout.value == "NHWC":
        expected = expected.transpose(1, 2, 0)
    np.testing.assert_array_equal(image, expected)


def map_arrays(seed: int, batch: int, shapes: Any, dtype: Any, layout: Any) -> list[list[Any]]:
    rng = np.random.default_rng(seed)
    order = (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)
    return [
        [
            np.ascontiguousarray(rng.standard_normal((batch, *shape)).transpose(order), dtype)
            for _ in ("reference", "restored")
        ]
        for shape in shapes
    ]


FEATURE_FAULTS = [
    lambda a: a.astype(np.float64),
    lambda a: a.astype(a.dtype.newbyteorder()),
    lambda a: a.view(np.uint8),
    lambda a: a[..., None],
    lambda a: np.concatenate([a, a]),
    lambda a: np.repeat(a, 2, -1)[..., ::2],
    lambda a: a[:, :, :, :0],
    lambda a: list(a),
    lambda a: None,
    lambda a: unaligned(a),
]
PAIRS_FAULTS = [
    lambda p: None,
    lambda p: 7,
    lambda p: [],
    lambda p: p[:-1],
    lambda p: [*p, p[0]],
    lambda p: [(*pair, pair[0]) for pair in p],
    lambda p: [pair[0] for pair in p],
    lambda p: [[array[:0] for array in pair] for pair in p],
    lambda p: {"a": 1, "b": 2},
    lambda p: "ab",
]


@st.composite
def map_pairs(draw: Any, pairs: list[list[Any]]) -> Arg:
    kind = draw(st.integers(0, 9))
    if kind == 9:
        return Arg(draw(st.sampled_from(PAIRS_FAULTS))(pairs), "pairs", False)
    if kind >= 6:
        k, side = draw(st.integers(0, len(pairs) - 1)), draw(st.integers(0, 1))
        pairs[k][side] = draw(st.sampled_from(FEATURE_FAULTS))(pairs[k][side])
        return Arg(pairs, "pair", False)
    return Arg(draw(st.sampled_from([pairs, tuple(map(tuple, pairs))])), "pairs", True)


def rois(size: Any) -> Any:
    keep = np.zeros(size, np.uint8)
    keep[-1, 0] = 200
    half = np.arange(size[0] * size[1]).reshape(size) % 2 == 0
    good = [None, keep, half, np.asfortranarray(half), np.ones((2, *size), np.uint8)[1], half[::-1]]
    bad = [keep * 0, half[:-1], keep.astype(np.float32), half.astype(int), half.tolist(), "junk"]
    return argument("roi", st.sampled_from(good), st.sampled_from(bad))


@given(st.data(), DTYPES, LAYOUTS, st.integers(1, 3), st.integers(1, 2), st.integers(0, 99))
@settings(max_examples=800)
def test_the_door_of_anomaly_map(
    data: Any, dtype: Arg, layout: Arg, levels: int, batch: int, seed: int
) -> None:
    size = data.draw(st.tuples(SIDES, SIDES))
    shapes = data.draw(st.tuples(*[st.tuples(SIDES, SIDES, SIDES)] * levels))
    wrong = st.sampled_from([(3, 4), (0, 1, 1), (1, -1, 1), (1.5, 1, 1), "abc", None, (2**11,) * 3])
    broken = wrong.map(lambda shape: (*shapes[:-1], shape)) | st.just((*shapes, (1, 1, 1)))
    shapes_arg = data.draw(argument("pair", st.just(shapes), broken))
    params = MapParams(size, weights=(1.0,) * levels, blur_sigma=1.0)
    roi = data.draw(rois(size))
    known = np.dtype(dtype.value) if dtype.good else np.float32
    pairs = data.draw(map_pairs(map_arrays(seed, batch, shapes, known, layout.value)))
    features = [a for pair in pairs.value for a in pair] if pairs.good else []
    out = data.draw(outs((batch, *size), np.float32, features))
    given_ = {"dtype": dtype.value, "layout": layout.value, "roi": roi.value}

    def call() -> Any:
        return AnomalyMap(params, shapes_arg.value, **given_).run(pairs.value, out.value)

    result = outcome(call, [shapes_arg, dtype, layout, roi, pairs, out])
    if result is None:
        return
    maps, scores = result
    assert out.value is None or maps is out.value
    back = (0, 3, 1, 2) if layout.value == "NHWC" else (0, 1, 2, 3)
    exact = [tuple(a.transpose(back) for a in pair) for pair in pairs.value]
    exact_maps, exact_scores = reference.anomaly_map(exact, params, roi.value)
    atol = ROUNDINGS * levels * max(1.0, float(exact_maps.max()))
    np.testing.assert_allclose(maps, exact_maps, rtol=0, atol=atol)
    np.testing.assert_allclose(scores, exact_scores, rtol=0, atol=atol)


NUMBERS = [0, 1, -1, 5, 2.0, 0.5, 2**70, 10**400, math.nan, math.inf, -math.inf, True, "3", None]
ODD = st.sampled_from([*NUMBERS, np.float32(2), np.zeros(2), 1j, object()])
SEVERAL = st.lists(ODD, max_size=4) | st.tuples(ODD, ODD) | st.tuples(ODD, ODD, ODD) | ODD
WORDS = st.sampled_from(["cosine", "l1", "sum", "product", "max", "top_k", "junk"]) | ODD


@given(st.data())
@settings(max_examples=500)
def test_params_of_any_kind_are_taken_or_refused(data: Any) -> None:
    several, words = SEVERAL, WORDS
    fields = {
        MapParams: {
            "size": several, "distance": words, "weights": several, "fusion": words,
            "align_corners": ODD, "blur_sigma": ODD, "pooling": words, "top_k": ODD,
        },
        PreprocessParams: {"size": several, "mean": several, "std": several, "bit_depth": ODD},
    }  # fmt: skip
    kind = data.draw(st.sampled_from(list(fields)))
    # One argument at a time is odd, so that each meets all its checks.
    name = data.draw(st.sampled_from(list(fields[kind])))
    value = data.draw(fields[kind][name])
    try:
        params = kind(**{"size": (4, 5), name: value})
    except InputError as error:
        assert name in str(error)
        return
    assert hash(params) == hash(params)  # nothing odd was kept
