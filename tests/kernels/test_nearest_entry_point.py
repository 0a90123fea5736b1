"""What edgead.nearest refuses, and that it says what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from edgead import _cpu
from edgead.errors import InputError
from edgead.nearest import Nearest, NearestMemory

MEMORY = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
CODES = np.ones((5, 6), np.int8)
QUERIES = np.zeros((1, 6, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (None, "the memory is a NoneType, expected C-contiguous features"),
        (MEMORY.tolist(), "the memory is a list"),
        (MEMORY[0], "expected C-contiguous features"),
        (MEMORY[:0], "at least one"),
        (MEMORY[:, :0], "at least one"),
        (MEMORY[:, ::2], "not C-contiguous"),
        (MEMORY.T, "not C-contiguous"),
        (MEMORY.astype(np.float64), "float64"),
        (MEMORY.astype(">f4"), "expected C-contiguous features"),
        (CODES.astype(np.uint8), "uint8"),
        (np.full((2, 3), np.nan, np.float32), "holds a NaN or an infinity"),
        (np.full((2, 3), np.inf, np.float16), "holds a NaN or an infinity"),
        (np.ones((1, 2**15), np.float32), "at most 32767 channels"),
    ],
)
def test_a_memory_that_is_none_is_refused(features, message):
    with pytest.raises(InputError, match=message):
        NearestMemory(features)


@pytest.mark.parametrize(
    ("features", "scale", "message"),
    [
        (CODES, None, "scale is None, expected a number above 0 for a memory of int8, or 6"),
        (CODES, 0.0, "1e-30 to 1e30"),
        (CODES, -1.0, "1e-30 to 1e30"),
        (CODES, np.nan, "scale is"),
        (CODES, "0.1", "scale is '0.1'"),
        (CODES, [0.1] * 5, "or 6, one for each channel"),
        (CODES, np.ones((6, 1)), "scale is"),
        (MEMORY, 0.1, "scale is for a memory of int8, and this is float32"),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(features, scale, message):
    with pytest.raises(InputError, match=message):
        NearestMemory(features, scale)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": (0, 3)}, "size is"),
        ({"size": 3}, "size is 3"),
        ({"weights": ()}, "expected 1 to 8 numbers >= 0, not all 0"),
        ({"weights": (1.0,) * 9}, "1 to 8"),
        ({"weights": (-1.0, 2.0)}, "1 to 8"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": (np.inf,)}, "weights is"),
        ({"weights": (1e-30,)}, "1e-20 to 1e20"),
        ({"weights": (1.0,) * 6}, "weights are 6 and the memory has 5 features"),
        ({"dtype": np.int8}, "dtype is"),
        ({"layout": "CHW"}, "layout is 'CHW', expected one of NCHW, NHWC"),
        ({"simd": "mmx"}, "simd is 'mmx'"),
        ({"roi": np.ones((3, 2), bool)}, r"roi is bool of shape \(3, 2\), expected"),
        ({"roi": np.ones((2, 3), np.float32)}, "roi is float32"),
        ({"roi": np.zeros((2, 3), bool)}, "roi keeps no position"),
        ({"memory": MEMORY}, "memory is float32 of shape"),
    ],
)
def test_a_search_that_does_not_fit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Nearest(**({"memory": NearestMemory(MEMORY), "size": (2, 3)} | given))


def test_another_search_is_refused():
    with pytest.raises(InputError, match="search is 'fast', expected one of pruned, every"):
        NearestMemory(MEMORY, search="fast")


@pytest.mark.parametrize(
    "queries",
    [
        None,
        QUERIES.tolist(),
        QUERIES[0],
        QUERIES[:0],
        QUERIES.transpose(0, 2, 3, 1),
        QUERIES.astype(np.float16),
        QUERIES.astype(np.float64),
        QUERIES[:, :, :, ::-1],
        np.zeros((1, 5, 2, 3), np.float32),
    ],
)
def test_queries_that_do_not_fit_are_refused(queries):
    nearest = Nearest(NearestMemory(MEMORY), (2, 3))
    with pytest.raises(InputError, match=r"expected C-contiguous, .* \(N, 6, 2, 3\), NCHW"):
        nearest.run(queries)


def test_an_out_that_does_not_fit_is_refused():
    nearest = Nearest(NearestMemory(MEMORY), (2, 3))
    for out in (np.zeros((2, 3), np.float32), np.zeros((1, 2, 3)), QUERIES[:, 0, :, ::-1]):
        with pytest.raises(InputError, match="out is"):
            nearest.run(QUERIES, out)
    with pytest.raises(InputError, match="out overlaps the queries"):
        nearest.run(QUERIES, QUERIES[:, 0])


def test_the_distances_are_written_to_out():
    nearest, out = Nearest(NearestMemory(MEMORY), (2, 3)), np.empty((1, 2, 3), np.float32)
    assert nearest.run(QUERIES, out) is out
    np.testing.assert_array_equal(out, nearest.run(QUERIES))


def test_one_scale_stands_for_all_channels():
    frames = [Nearest(NearestMemory(CODES, s), (2, 3)).run(QUERIES) for s in (0.5, [0.5] * 6)]
    np.testing.assert_array_equal(*frames)
    assert frames[0][0, 0, 0] == 6 * 0.25


def test_the_memory_outlives_its_array_in_the_caller():
    memory = MEMORY.copy()
    nearest = Nearest(NearestMemory(memory), (2, 3))
    expected = nearest.run(QUERIES)
    del memory
    np.testing.assert_array_equal(nearest.run(QUERIES), expected)


def test_the_best_path_is_the_default():
    assert _cpu.nearest_paths()[-1] in ("baseline", "neon")
    assert set(_cpu.simd_paths()) <= set(_cpu.nearest_paths())
