"""nearest for CUDA, run on the CPU, against float64 and the CPU implementation; planted bugs."""

from __future__ import annotations

import subprocess
from itertools import cycle, product

import numpy as np
import pytest
from harness import CSRC, Build, Out, must_fail, nearest_case, run_cases

from edgead import reference
from edgead.nearest import Blend

# (rows, channels), (height, width): around a block's 64 rows, 16 channels, 32 positions.
SHAPES = [
    ((1, 1), (1, 1)),
    ((7, 5), (3, 5)),
    ((64, 16), (4, 8)),
    ((65, 33), (5, 7)),
    ((130, 40), (1, 70)),
]


def inputs():
    """Keyword arguments of nearest_case, and the float32 values of each memory."""
    rng = np.random.default_rng(11)
    kinds = product((np.float32, np.float16), ("NCHW", "NHWC"), ("float32", "float16", "int8"))
    shapes = cycle(SHAPES)
    for number, (dtype, layout, stored) in enumerate([*kinds] * 2):
        (rows, channels), size = next(shapes)
        memory = rng.standard_normal((rows, channels)).astype(np.float32)
        scale = None
        if stored == "int8":
            scale = rng.uniform(0.01, 0.03, channels).astype(np.float32)
            memory = np.clip(np.rint(memory / scale), -127, 127)
        memory = memory.astype(stored)
        queries = rng.standard_normal((1 + number % 2, channels, *size)).astype(dtype)
        roi = rng.random(size) < 0.5 if number % 3 == 0 else None
        given = {
            "queries": queries,
            "memory": memory,
            "weights": np.float32(rng.random(min(1 + number % 8, rows)) + 0.1).tolist(),
            "scale": scale,
            "layout": layout,
            "roi": roi,
            "shares": rng.uniform(0.2, 1.5, size).astype(np.float32) if number % 5 < 3 else None,
            "out": Out.number(number, rng, len(queries), *size),
            "shift": 4 * (number % 4 == 3),
        }
        values = memory.astype(np.float32)
        yield given, values if scale is None else values * scale


@pytest.fixture(scope="module")
def made():
    """Cases, and for each the exact distances."""
    given = list(inputs())
    exact = [one["out"].exact(distances_of(one, values)) for one, values in given]
    return [nearest_case(**one) for one, _ in given], exact, [one for one, _ in given]


def distances_of(one, values):
    """In float64, of queries times shares as float32 has them."""
    queries = one["queries"].astype(np.float32)
    if one["shares"] is not None:
        queries = queries * one["shares"]
    return reference.nearest(queries, values, one["weights"], one["roi"])


def is_right(found, exact, given):
    """A sum of so many squares is off by so many roundings; the weights add 8, ``Out`` two."""
    return all(
        np.allclose(one, other, rtol=(case["memory"].shape[1] + 14) * 2.0**-24, atol=1e-36)
        for arrays, others, case in zip(found, exact, given, strict=True)
        for one, other in zip(arrays, others, strict=True)
    )


def test_nearest_follows_float64_in_every_order(program, made, tmp_path):
    cases, exact, given = made
    seeds = (0, 1)
    if program.build.sanitizer == "thread":
        cases, exact, given, seeds = cases[::5], exact[::5], given[::5], (1,)
    first = run_cases(program.path, cases, tmp_path, seed=seeds[0])
    assert is_right(first, exact, given)
    for case, found in zip(given, first, strict=True):
        assert case["roi"] is None or not case["out"].shown or not found[0][:, ~case["roi"]].any()
    for seed in seeds[1:]:
        again = run_cases(program.path, cases, tmp_path, seed=seed)
        for one, other in zip(first, again, strict=True):
            assert [a.tobytes() for a in one] == [a.tobytes() for a in other]


def test_what_is_not_finite_stays_at_its_position_or_under_the_roi(built, tmp_path):
    rng = np.random.default_rng(12)
    memory = rng.standard_normal((70, 20)).astype(np.float32)
    queries = rng.standard_normal((1, 20, 5, 8)).astype(np.float32)
    queries[0, 3, 1, 2], queries[0, 19, 1, 3], queries[0, 0, 4, 7] = np.nan, np.inf, 3e38
    roi = np.ones((5, 8), bool)
    roi[1, 2:4] = False
    cases = [nearest_case(queries, memory, roi=r) for r in (None, roi)]
    (whole,), (masked,) = run_cases(built(Build("g++", "plain")).path, cases, tmp_path)
    assert np.isnan(whole[0, 1, 2]) and np.isposinf(whole[0, 1, 3]) and np.isposinf(whole[0, 4, 7])
    assert np.isfinite(whole).sum() == 37
    np.testing.assert_array_equal(masked, np.where(roi, whole, 0))


def blends():
    """Keyword arguments of nearest_case, and the exact distances to blends."""
    for number, (one, values) in enumerate(inputs()):
        channels = one["memory"].shape[1]
        one["weights"] = Blend(1 + number % 7, channels * (0.05, 0.5, 5.0)[number % 3])
        one["root"] = number % 2 == 0
        exact = distances_of(one, values)
        yield one, one["out"].exact(np.sqrt(exact) if one["root"] else exact)


def is_blend(found, exact):
    """Roundings of squared distances, over the temperature, move shares."""
    return all(
        np.allclose(one, truth, rtol=2e-4, atol=2e-5)
        for arrays, others in zip(found, exact, strict=True)
        for one, truth in zip(arrays, others, strict=True)
    )


def test_blends_follow_float64_in_every_order(program, tmp_path):
    given, exact = zip(*blends(), strict=True)
    cases = [nearest_case(**one) for one in given]
    if program.build.sanitizer == "thread":
        cases, exact = cases[::5], exact[::5]
    first = run_cases(program.path, cases, tmp_path, seed=0)
    assert is_blend(first, exact)
    again = run_cases(program.path, cases, tmp_path, seed=1)
    for one, other in zip(first, again, strict=True):
        assert [a.tobytes() for a in one] == [a.tobytes() for a in other]


BLEND_BUGS = {
    "rows not moved along": ("row_of[tid][at] = row_of[tid][at - 1]", "row_of[tid][at] = 0"),
    "the next one does not end the shares": ("(share[i] - next)", "(share[i] - 0.9f * next)"),
    "channels left out": ("int c = tid % kParted;", "int c = tid % kParted + kParted;"),
    "no shares": (
        "difference = query_value(one, c) - blend",
        "difference = query_value(one, c) / (shares ? shares[first + one] : 1.0f) - blend",
    ),
    "a part too few": ("i < kParted; ++i", "i < kParted - 1; ++i"),
}


@pytest.mark.parametrize("bug", BLEND_BUGS)
def test_finds_in_a_blend(bug, built, tmp_path):
    right, wrong = BLEND_BUGS[bug]
    program = built(Build("g++", "plain")).with_bug("nearest_cuda.cu", right, wrong, tmp_path)
    given, exact = zip(*blends(), strict=True)
    assert not is_blend(run_cases(program, [nearest_case(**one) for one in given], tmp_path), exact)


BUGS = {
    "missing barrier before a write": (
        "thread",
        "ThreadSanitizer: data race",
        "      __syncthreads();  // no thread reads what the stages had\n",
        "",
    ),
    "rows beyond the memory": (
        "plain",
        "",
        "r < min(kRows, shape.rows - row)",
        "r < kRows",
    ),
    "read out of bounds": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        "one < left && first + c < channels",
        "one <= left && first + c < channels",
    ),
    "a row too few": ("plain", "", "row < row_end", "row < row_end - 1"),
    "the share of another position": ("plain", "", "__ldg(shares + position)", "__ldg(shares)"),
    "what another position counts": (
        "plain",
        "",
        "shape.positions, first + tid, kept",
        "shape.positions, tid, kept",
    ),
    "not in order": ("plain", "", "for (; at > 0 && d < best", "for (; at > 1 && d < best"),
}


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(name, marks=() if bug[0] == "plain" else pytest.mark.exhaustive)
        for name, bug in BUGS.items()
    ],
)
def test_finds(bug, built, made, tmp_path):
    sanitizer, complaint, right, wrong = BUGS[bug]
    program = built(Build("g++", sanitizer)).with_bug("nearest_cuda.cu", right, wrong, tmp_path)
    cases, exact, given = made
    must_fail(program, cases, tmp_path, complaint, lambda found: is_right(found, exact, given))


OUT_BUGS = {
    "the sum begins anew": ("out.add ?", "false ?"),
    "the sum goes on": ("out.add ?", "true ?"),
    "the sum counts as the map": ("out.scored[position])", "out.counts ? out.counts[0] : 1.0f)"),
    "what another position counts in the sum": ("out.scored[position]", "out.scored[0]"),
    "the first frame of a batch": (
        "(frame) * positions + position",
        "(0 * frame) * positions + position",
    ),
    "a sum that nobody asked for": ("if (out.sum == nullptr) return;", ""),
}


@pytest.mark.parametrize("bug", OUT_BUGS)
def test_finds_in_what_is_written(bug, built, made, tmp_path):
    right, wrong = OUT_BUGS[bug]
    header, cases, exact, given = (CSRC / "cuda.h").read_text(), *made
    assert header.count(right) == 1, "the header has changed: plant this bug anew"
    source = (CSRC / "nearest_cuda.cu").read_text()
    program = built(Build("g++", "plain")).replaced(
        {"cuda.h": header.replace(right, wrong), "nearest_cuda.cu": source}, tmp_path
    )
    try:
        found = run_cases(program, cases, tmp_path)
    except subprocess.CalledProcessError as crashed:
        assert crashed.returncode < 0 and "nobody" in bug
        return
    assert not is_right(found, exact, given)
