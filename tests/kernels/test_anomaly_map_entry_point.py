"""What anomaly_map refuses at its entry point, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.errors import InputError

GOOD = np.zeros((1, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (None, "NoneType"),
        ([], "0 entries"),
        ([(GOOD, GOOD)] * 2, "2 entries"),
        ([(GOOD,)], "pairs"),
        ([GOOD], "pairs"),
        ([(GOOD, GOOD.astype(np.float64))], "restored of pair 0 is float64"),
        ([(GOOD.astype(np.float16), GOOD)], "reference of pair 0 is float16"),
        ([(GOOD, GOOD[:, :, :, :4])], r"restored of pair 0 .*\(1, 3, 4, 4\)"),
        ([(GOOD, np.zeros((2, 3, 4, 5), np.float32))], r"restored of pair 0 .*\(2, 3, 4, 5\)"),
        ([(GOOD[0], GOOD[0])], r"\(3, 4, 5\)"),
        ([(GOOD, np.zeros((1, 3, 5, 4), np.float32).transpose(0, 1, 3, 2))], "not C-contiguous"),
        ([(GOOD[:0], GOOD[:0])], "N = 0"),
        ([(GOOD, GOOD.tolist())], "restored of pair 0 is a list"),
        ("ab", "pairs"),
    ],
)
def test_bad_pairs_are_refused_at_the_door(pairs, says):
    kernel = AnomalyMap(MapParams((8, 8), weights=(1.0,)), [(3, 4, 5)])
    with pytest.raises(InputError, match=says):
        kernel.run(pairs)


def test_bad_out_is_refused():
    kernel = AnomalyMap(MapParams((4, 5), weights=(1.0,)), [(3, 4, 5)])
    for out in (
        np.zeros((1, 5, 4), np.float32),
        np.zeros((4, 5), np.float32),
        np.zeros((1, 4, 5)),
        np.zeros((1, 5, 4), np.float32).transpose(0, 2, 1),
        [0.0],
    ):
        with pytest.raises(InputError, match="out is"):
            kernel.run([(GOOD, GOOD)], out)
    features = np.zeros((1, 3, 4, 5), np.float32)
    with pytest.raises(InputError, match="overlaps"):
        kernel.run([(features, GOOD)], features[:, 1])


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ([], "0 pairs"),
        ([(3, 4, 5)] * 2, "2 pairs"),
        ([(0, 4, 5)], r"\(0, 4, 5\)"),
        ([(4, 5)], r"\(4, 5\)"),
        ([(2**11, 2**10, 2**10)], "2147483647"),
        ([3], "pair 0 is 3"),
    ],
)
def test_bad_shapes_are_refused(shapes, says):
    with pytest.raises(InputError, match=says):
        AnomalyMap(MapParams((8, 8), weights=(1.0,)), shapes)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": (0, 8)},
        {"distance": "l3"},
        {"fusion": "mean"},
        {"pooling": "median"},
        {"weights": ()},
        {"weights": (1.0,) * 9},
        {"weights": (0.0, 0.0)},
        {"weights": (-1.0, 2.0)},
        {"weights": (float("inf"),)},
        {"weights": 1.0},
        {"blur_sigma": -1.0},
        {"blur_sigma": float("nan")},
        {"blur_sigma": 1e6},
        {"top_k": 0.0},
        {"top_k": 1.5},
        {"top_k": "x"},
        {"align_corners": 1},
    ],
)
def test_bad_params_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        MapParams(**{"size": (8, 8), **bad})


@pytest.mark.parametrize(
    "dtype", [np.float64, np.int16, "bfloat", None, ">f4", ">f2", np.uint16, (1, 2), "float"]
)
def test_a_dtype_that_no_kernel_reads_is_refused(dtype):
    with pytest.raises(InputError, match=r"dtype is .*expected one of float32, float16"):
        AnomalyMap(MapParams((8, 8), weights=(1.0,)), [(3, 4, 5)], dtype=dtype)


@pytest.mark.parametrize("layout", ["nchw", "CHW", "NHCW", "", None, 0, ["NCHW"]])
def test_a_layout_that_no_kernel_reads_is_refused(layout):
    with pytest.raises(InputError, match=r"layout is .*expected one of NCHW, NHWC"):
        AnomalyMap(MapParams((8, 8), weights=(1.0,)), [(3, 4, 5)], layout=layout)


@pytest.mark.parametrize("simd", ["sse9", "AVX2", None, 1])
def test_an_instruction_set_that_is_not_here_is_refused(simd):
    with pytest.raises(InputError, match=r"simd is .*expected one of .*(baseline|neon)"):
        AnomalyMap(MapParams((8, 8), weights=(1.0,)), [(3, 4, 5)], simd=simd)


@pytest.mark.parametrize("weight", [1e-60, 1e-21, 1e21, 1e39])
def test_weights_beyond_float32_are_refused(weight):
    with pytest.raises(InputError, match="weights is"):
        MapParams((8, 8), weights=(weight,))
    with pytest.raises(InputError, match="weights is"):
        MapParams((8, 8), weights=(1.0, weight))


@pytest.mark.parametrize(
    ("roi", "says"),
    [
        (np.ones((8, 9), bool), r"bool of shape \(8, 9\), expected .*\(9, 8\)"),
        (np.ones(72, bool), r"shape \(72,\)"),
        (np.ones((1, 9, 8), np.uint8), r"shape \(1, 9, 8\)"),
        (np.ones((9, 8), np.float32), "float32.*expected bool or uint8"),
        (np.ones((9, 8), np.int64), "int64"),
        ([[1] * 8] * 9, "a list"),
        ("all", "a str"),
        (np.zeros((9, 8), bool), "keeps no pixel"),
        (np.zeros((9, 8), np.uint8), "keeps no pixel"),
    ],
)
def test_a_bad_roi_is_refused(roi, says):
    with pytest.raises(InputError, match=f"roi .*{says}"):
        AnomalyMap(MapParams((9, 8), weights=(1.0,)), [(3, 4, 5)], roi=roi)


@pytest.mark.parametrize("side", [0, 1])
def test_features_of_another_dtype_or_layout_are_refused(side):
    params, name = MapParams((8, 8), weights=(1.0,)), ("reference", "restored")[side]
    good = np.zeros((1, 4, 5, 3), np.float16)
    kernel = AnomalyMap(params, [(3, 4, 5)], dtype="float16", layout="NHWC")
    kernel.run([(good, good)])
    for bad, says in [
        (good.astype(np.float32), r"float32 .*expected C-contiguous, aligned float16"),
        (good.view(np.uint16), r"uint16 .*expected C-contiguous, aligned float16"),
        (good.astype(">f2"), ">f2"),
        (np.zeros(121, np.uint8)[1:].view(np.float16).reshape(1, 4, 5, 3), "not aligned, expected"),
        (
            good.transpose(0, 3, 1, 2),
            r"\(1, 3, 4, 5\), not C-contiguous, expected .*\(N, 4, 5, 3\), NHWC",
        ),
        (np.ascontiguousarray(good.transpose(0, 3, 1, 2)), r"\(1, 3, 4, 5\), expected"),
        (np.zeros((1, 3, 4, 5), np.float16).transpose(0, 2, 3, 1), "not C-contiguous"),
    ]:
        pair = (bad, good) if side == 0 else (good, bad)
        with pytest.raises(InputError, match=f"{name} of pair 0 is .*{says}"):
            kernel.run([pair])


def test_an_out_in_the_memory_of_float16_features_is_refused():
    memory = np.zeros(4 * 4 * 3 * 2, np.float32)
    halves = memory.view(np.float16)[: 4 * 4 * 3].reshape(1, 4, 4, 3)
    kernel = AnomalyMap(
        MapParams((4, 4), weights=(1.0,)), [(3, 4, 4)], dtype="float16", layout="NHWC"
    )
    with pytest.raises(InputError, match="overlaps"):
        kernel.run([(halves, halves.copy())], memory[8:24].reshape(1, 4, 4))
    kernel.run([(halves, halves.copy())], memory[24:40].reshape(1, 4, 4))  # beside it
