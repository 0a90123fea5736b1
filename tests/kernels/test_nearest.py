"""nearest against cases computed by hand, float64, and itself without the search."""

from __future__ import annotations

from itertools import cycle, product

import numpy as np
import pytest

from edgead import _cpu, reference
from edgead.nearest import SEARCHES, Nearest, NearestMemory

from .nearest_data import KINDS, as_map, made

DTYPES = (np.float32, np.float16)
# Rows and channels below, at and over a vector, a tile of 32, a chunk of 256, 64 parts.
SIZES = [(1, 1), (2, 3), (7, 31), (31, 4), (33, 64), (100, 17), (257, 63), (300, 152), (600, 65)]


@pytest.fixture(params=_cpu.nearest_paths())
def path(request):
    """Every instruction set of nearest that this machine has."""
    return request.param


def tolerance(channels):
    """A sum of `channels` squares >= 0, each of a difference, is off by so many roundings.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; weights add 8.
    """
    return (channels + 3 + 8) * 2.0**-24


def close(found, exact, channels):
    """Within rounding; what vanishes below float32 is worth its smallest normal number."""
    atol = channels * 2.0**-125
    with np.errstate(over="ignore"):
        exact = np.where(exact > 3.402e38, np.inf, exact)
    np.testing.assert_allclose(found, exact, rtol=tolerance(channels), atol=atol)


def as_int8(memory):
    """Codes, scale per channel, and the float32 values that they stand for."""
    top = np.abs(memory).max(axis=0)
    scale = np.where(top > 0, top / 127, 1).astype(np.float32)
    codes = np.clip(np.rint(memory / scale), -127, 127).astype(np.int8)
    return codes, scale, codes.astype(np.float32) * scale


def test_a_case_by_hand(path):
    memory = np.array([[0, 0], [3, 4], [10, 0]], np.float32)
    queries = np.array([[[[0, 3, 9, 6]], [[0, 3, 0, 8]]]], np.float32)  # [1, 2, 1, 4]
    ready = NearestMemory(memory)
    # d to the rows: 0 25 100 | 18 1 58 | 81 52 1 | 100 25 80
    for weights, expected in [
        ((1,), [0, 1, 1, 25]),
        ((0.5, 0.5), [12.5, 9.5, 26.5, 52.5]),
        ((0, 0, 1), [100, 58, 81, 100]),
        ((1, 2, 3), [350, 211, 348, 485]),
    ]:
        nearest = Nearest(ready, (1, 4), weights=weights, simd=path)
        np.testing.assert_array_equal(nearest.run(queries), [[expected]])
    np.testing.assert_array_equal(nearest.rows[0], [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]])


@pytest.mark.parametrize("search", SEARCHES)
def test_random_sizes_follow_float64(path, search, rng):
    kinds = cycle(product(("structured", "noise", "near_rows"), DTYPES, ("NCHW", "NHWC")))
    memories = cycle(("float32", "float16", "int8"))
    for number, (rows, channels) in enumerate(SIZES):
        (kind, dtype, layout), stored = next(kinds), next(memories)
        k, batch = min(1 + number % 8, rows), 1 + number % 2
        size = [(1, 1), (5, 7), (1, 33), (9, 11)][number % 4]
        positions = batch * size[0] * size[1]
        memory, queries = made(kind, rng, rows, channels, positions)
        queries = queries.astype(dtype).reshape(batch, *size, channels)
        scale, held = None, memory.astype(stored) if stored != "int8" else None
        values = held if held is None else held.astype(np.float32)
        if held is None:
            held, scale, values = as_int8(memory)
        roi = rng.random(size) < 0.7 if number % 3 == 0 else None
        if roi is not None:
            roi[0, 0] = True
        weights = tuple(rng.random(k) + 0.1)
        nearest = Nearest(
            NearestMemory(held, scale, search=search),
            size,
            weights=weights,
            dtype=dtype,
            layout=layout,
            roi=roi,
            simd=path,
        )
        nchw = queries.transpose(0, 3, 1, 2)
        found = nearest.run(np.ascontiguousarray(nchw if layout == "NCHW" else queries))
        close(found, reference.nearest(nchw, values, np.float32(weights), roi), channels)
        assert roi is None or not found[:, ~roi].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_changes_no_bit(path, kind, rng):
    for (rows, channels), k in zip(SIZES[::3] + SIZES[-2:], (1, 3, 8, 1, 2), strict=True):
        memory, queries = made(kind, rng, rows, channels, 40)
        weights = (1.0,) * min(k, rows)
        found = [
            Nearest(NearestMemory(memory, search=s), (1, 40), weights=weights, simd=path).run(
                as_map(queries, "NCHW")
            )
            for s in SEARCHES
        ]
        assert found[0].tobytes() == found[1].tobytes()
        with np.errstate(over="ignore"):
            exact = reference.nearest(as_map(queries, "NCHW"), memory, weights)
        close(found[0], exact, channels)


@pytest.mark.parametrize(
    ("kind", "rows", "channels"),
    # Of more than 32 tiles there are several tiles of centres; of few channels most are left out.
    [("structured", 1025, 3), ("near_rows", 2100, 20), ("noise", 1500, 1), ("whole", 3000, 4),
     ("structured", 1030, 1000)],
)  # fmt: skip
def test_the_search_changes_no_bit_of_a_large_memory(path, kind, rows, channels, rng):
    memory, queries = made(kind, rng, rows, channels, 77)
    found = [
        Nearest(NearestMemory(memory, search=s), (7, 11), weights=(1, 1), layout="NHWC", simd=path)
        for s in SEARCHES
    ]
    frame = queries.reshape(1, 7, 11, channels)
    pruned, every = (nearest.run(frame) for nearest in found)
    assert pruned.tobytes() == every.tobytes()
    np.testing.assert_array_equal(found[0].rows, found[1].rows)
    squares = np.square(queries[:, None].astype(np.float64) - memory).sum(axis=2)
    exact = np.sort(squares, axis=1)[:, :2].sum(axis=1).reshape(1, 7, 11)
    close(pruned, exact, channels)


def test_the_error_is_at_most_twice_that_of_numpy_in_float32(path, rng):
    memory, queries = made("structured", rng, 500, 152, 100)
    exact = reference.nearest(as_map(queries, "NHWC").transpose(0, 3, 1, 2), memory)
    plain = np.square(queries[:, None] - memory).sum(axis=2).min(axis=1)
    found = Nearest(NearestMemory(memory), (1, 100), layout="NHWC", simd=path)
    error = np.abs(found.run(as_map(queries, "NHWC")) - exact).max()
    assert error <= 2 * np.abs(plain - exact).max() + 1e-7


def bases(rng, channels):
    """Good ones, and some that no one should give: the bound has to hold with each."""
    components = min(channels, _cpu.PARTS - 1)
    plain = np.eye(channels)[:components]
    turned = np.linalg.qr(rng.standard_normal((channels, channels)))[0][:components]
    yield from (plain, turned, np.zeros_like(plain), 0.9 * plain, 1.1 * turned, 3 * turned)
    yield from (
        turned + 0.01 * rng.standard_normal(turned.shape),
        np.repeat(plain[:1], components, 0),
    )
    yield rng.standard_normal(plain.shape)


@pytest.mark.parametrize("channels", [5, 64, 100])
def test_any_origin_and_basis_give_the_same_bits(path, channels, rng):
    memory, queries = made("structured", rng, 300, channels, 33)
    every = NearestMemory(memory, search="every")
    expected = Nearest(every, (1, 33), weights=(1, 1), simd=path).run(as_map(queries, "NCHW"))
    for number, basis in enumerate(bases(rng, channels)):
        mean = np.float32([memory.mean(axis=0), np.zeros(channels), memory[0] + 30][number % 3])
        ready = NearestMemory(memory)
        ready.kernel = _cpu.NearestMemory(
            memory=memory,
            type=0,
            search=0,
            scale=np.empty(0, np.float32),
            mean=mean,
            basis=np.ascontiguousarray(basis, np.float32),
        )
        found = Nearest(ready, (1, 33), weights=(1, 1), simd=path).run(as_map(queries, "NCHW"))
        assert found.tobytes() == expected.tobytes(), number


@pytest.mark.parametrize(("kind", "rows"), [("structured", 400), ("noise", 5000), ("alike", 30)])
def test_the_components_are_orthonormal_and_lead(kind, rows, rng):
    """Ten turns of an iteration find nearly the directions of eigh; noise has no best ones."""
    memory = made("structured" if kind == "alike" else kind, rng, rows, 100, 1)[0]
    memory = np.repeat(memory[:1], rows, 0) if kind == "alike" else memory
    mean, basis = _cpu.principal_components(memory)
    np.testing.assert_allclose(basis @ basis.T, np.eye(63), atol=1e-6)
    true_mean, directions = reference.principal_components(memory)
    spread = memory.std(axis=0, dtype=np.float64).max()
    np.testing.assert_allclose(mean, true_mean, atol=0.1 * spread + 1e-6)  # of at most 4096 rows
    kept, most = (
        np.square((memory - true_mean) @ np.asarray(found, np.float64).T).sum()
        for found in (basis, directions[:63])
    )
    assert {"structured": 0.999, "noise": 0.9, "alike": 0.0}[kind] * most <= kept <= most + 1e-6


def test_the_components_share_the_variance(rng):
    """So that bytes hold each of them with about the same step: a few do not have nearly all."""
    memory, _ = made("structured", rng, 400, 100, 1)
    _, directions = reference.principal_components(memory)
    for found, most in ((_cpu.principal_components(memory)[1], 4.0), (directions[:63], None)):
        variance = np.square((memory - memory.mean(axis=0)) @ found.T).mean(axis=0)
        share = variance.max() / variance.mean()
        assert share < most if most else share > 4.0


def test_what_the_last_frame_left_changes_no_bit(path, rng):
    memory, first = made("structured", rng, 300, 70, 64)
    _, second = made("noise", rng, 300, 70, 64)
    ready, size = NearestMemory(memory), (8, 8)
    kept = Nearest(ready, size, weights=(0.5, 0.5), layout="NHWC", simd=path)
    for queries in (first, second, first):
        fresh = Nearest(ready, size, weights=(0.5, 0.5), layout="NHWC", simd=path)
        frame = queries.reshape(1, *size, 70)
        assert kept.run(frame).tobytes() == fresh.run(frame).tobytes()
        np.testing.assert_array_equal(kept.rows, fresh.rows)


def test_rows_are_the_nearest_of_the_last_frame(path, rng):
    memory, queries = made("near_rows", rng, 200, 40, 30)
    nearest = Nearest(NearestMemory(memory), (5, 6), weights=(1, 1, 1), layout="NHWC", simd=path)
    assert (nearest.rows == -1).all()
    nearest.run(queries.reshape(1, 5, 6, 40))
    squares = np.square(queries[:, None].astype(np.float64) - memory).sum(axis=2)
    np.testing.assert_array_equal(nearest.rows.reshape(30, 3), squares.argsort(axis=1)[:, :3])


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_not_finite_stays_at_its_position(path, search, rng):
    memory, queries = made("structured", rng, 300, 40, 36)
    nearest = Nearest(NearestMemory(memory, search=search), (6, 6), layout="NHWC", simd=path)
    clean = nearest.run(queries.reshape(1, 6, 6, 40))
    bad = queries.copy()
    bad[3, 39], bad[4, 0], bad[20, 5], bad[21, 7] = np.nan, np.inf, -np.inf, 3e38
    bad[22, :2] = np.inf, np.nan
    found = nearest.run(bad.reshape(1, 6, 6, 40)).ravel()
    assert np.isnan(found[[3, 22]]).all() and np.isposinf(found[[4, 20, 21]]).all()
    rest = np.setdiff1d(np.arange(36), [3, 4, 20, 21, 22])
    assert found[rest].tobytes() == clean.ravel()[rest].tobytes()
    assert (nearest.rows.reshape(-1)[[3, 4, 20, 22]] == -1).all()
    roi = np.ones((6, 6), bool)
    roi.ravel()[[3, 4, 20, 21, 22]] = False
    masked = Nearest(nearest.memory, (6, 6), layout="NHWC", roi=roi, simd=path)
    found = masked.run(bad.reshape(1, 6, 6, 40)).ravel()
    np.testing.assert_array_equal(found, np.where(roi.ravel(), clean.ravel(), 0))
