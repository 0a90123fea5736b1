"""nearest for CUDA, run on the CPU, against float64 and the CPU implementation; planted bugs."""

from __future__ import annotations

import subprocess
from itertools import cycle, product

import numpy as np
import pytest
from harness import CSRC, Build, Out, must_fail, named, nearest_case, run_cases

from edgead import reference
from edgead.nearest import Blend

# (rows, channels), (height, width): around tiles of 32 rows, chunks of 32 channels, 64 positions;
# what a warp takes in a scan is 256 rows.
SHAPES = [
    ((1, 1), (1, 1)),
    ((7, 5), (3, 5)),
    ((64, 32), (4, 16)),
    ((65, 33), (5, 7)),
    ((290, 40), (1, 70)),
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


def adversarial():
    """Keyword arguments of nearest_case where bounds say little, or squares leave float32."""
    rng = np.random.default_rng(13)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    same, corners = np.tile(normal(1, 20), (70, 1)), np.concatenate([np.eye(40), -np.eye(40)])
    line = np.linspace(-1, 1, 150, dtype=np.float32)[:, None]
    one_far, few_far = normal(70, 20), normal(1, 20, 5, 14)
    one_far[5] *= 1e4
    few_far[0, :, 2, 3], few_far[0, :, 4, 13] = 1e5, -1e20
    memory, queries = normal(300, 20), normal(1, 20, 5, 14)
    queries[0, :, 1, 1:5] = memory[[0, 299, 17, 17]].T  # at 0
    wide, widest = normal(40, 2100), normal(33, 8200)
    pairs = {
        "rows that are all the same": (same, normal(1, 20, 3, 5)),
        "the row that there is": (same[:1], np.tile(same[:1].T[None, :, :, None], (1, 1, 2, 2))),
        "rows all at one distance": (corners, np.zeros((1, 40, 2, 3))),
        "rows nearly at one distance": (corners, 1e-4 * normal(1, 40, 2, 3)),
        "rows on a line": (line, rng.uniform(-1.2, 1.2, (1, 1, 40, 10))),
        "rows on a plane": (normal(400, 2), normal(1, 2, 10, 20)),
        "a row far from all others": (one_far, queries),
        "queries far from all rows": (memory, few_far),
        "queries that are rows": (memory, queries),
        "rows each of which is there three times": (np.tile(memory[:90], (3, 1)), queries),
        "tiny values": (1e-20 * memory, 1e-20 * queries),
        "large values": (1e17 * memory, 1e17 * queries),
        "squares beyond float32": (1e30 * memory, 1e30 * queries),
        "a mean far from 0": (memory + 1000, queries + 1000),
        "more channels than are kept on the way": (wide, normal(1, 2100, 1, 3)),
        "many more": (widest, normal(1, 8200, 1, 2)),
    }
    for number, (memory, queries) in enumerate(pairs.values()):
        k = 1 + number % 3
        yield {
            "queries": np.float32(queries),
            "memory": np.float32(memory),
            "weights": [1.0 / k] * k if k <= len(memory) else [1.0],
        }


def follows(found, given):
    """Within the roundings of a sum of squares; what is beyond float32 is infinite."""
    exact = reference.nearest(given["queries"], given["memory"], given["weights"])
    exact = np.where(exact > np.finfo(np.float32).max, np.inf, exact)
    roundings = (given["memory"].shape[1] + 14) * 2.0**-24
    return np.allclose(found, exact, rtol=roundings, atol=1e-36)


def test_any_features_are_searched_exactly(program, tmp_path):
    given = list(adversarial())
    if program.build.sanitizer == "thread":
        given = given[::4]
    for seed in (0, 1) if program.build.sanitizer == "plain" else (1,):
        cases = [nearest_case(**one) for one in given]
        for number, (found,) in enumerate(run_cases(program.path, cases, tmp_path, seed=seed)):
            assert follows(found, given[number]), number
    for one, (found,) in zip(given, run_cases(program.path, cases, tmp_path), strict=True):
        rows = one["memory"][:, None], one["queries"].reshape(one["memory"].shape[1], -1).T
        equal = (rows[0] == rows[1]).all(axis=2).any(axis=0)
        assert len(one["weights"]) > 1 or not found.ravel()[equal].any()


OFF = "-(off + row_off))"
SCAN = "nearest_scan_cuda.h"
# Name: header or None, right, wrong.
BOUND_BUGS = {
    "codes that are said to be exact": (None, OFF, "-0.0f * (off + row_off))"),
    "half of what codes are off": (None, OFF, "-0.5f * (off + row_off))"),
    "a query that is said to be exact": (None, OFF, "-(0.0f * off + row_off))"),
    "rows that are said to be exact": (None, OFF, "-(off + 0.0f * row_off))"),
    "rows of a tile left out of the scan": (
        SCAN,
        "max(most, max(sum[i / 2][n][i % 2 * 2], sum[i / 2][n][i % 2 * 2 + 1]))",
        "max(most, sum[i / 2][n][i % 2 * 2])",
    ),
    "a tile's word in another's place": (
        SCAN,
        "lane % 4 == pair / 2 ? most",
        "lane % 4 <= pair / 2 ? most",
    ),
    "channels in another order": (SCAN, "{q.x, q.z, q.y, q.w}", "{q.x, q.y, q.z, q.w}"),
    "the step of another tile": (None, "sums[tile]), __ldg(rows.step + tile)",
                                 "sums[tile]), __ldg(rows.step)"),
    "the last tiles are not looked at": (None, "if (key > last) next",
                                         "if (key > last && tile < 2) next"),
}  # fmt: skip


@pytest.mark.parametrize("bug", BOUND_BUGS)
def test_finds_in_the_bound(bug, built, tmp_path):
    header, right, wrong = BOUND_BUGS[bug]
    program = built(Build("g++", "plain")).with_bug(
        "nearest_cuda.cu", right, wrong, tmp_path, header
    )
    given = list(adversarial())
    found = run_cases(program, [nearest_case(**one) for one in given], tmp_path)
    assert not all(follows(one, case) for (one,), case in zip(found, given, strict=True))


BLEND_BUGS = {
    "rows not moved along": (
        "row_of = here ? row : row_before",
        "row_of = here ? row : 0 * row_before",
    ),
    "the next one does not end the shares": ("(e - next)", "(e - 0.9f * next)"),
    "channels left out": ("const int c = c0 + lane;", "const int c = c0 + lane + 1;"),
    "no shares": (
        "c < rows.channels ? value(c) - blend",
        "c < rows.channels ? value(c) / query.share - blend",
    ),
    "a part too few": ("sum_of<kMaxNearest>(e)", "sum_of<kMaxNearest / 2>(e)"),
}


@pytest.mark.parametrize("bug", BLEND_BUGS)
def test_finds_in_a_blend(bug, built, tmp_path):
    right, wrong = BLEND_BUGS[bug]
    program = built(Build("g++", "plain")).with_bug("nearest_cuda.cu", right, wrong, tmp_path)
    given, exact = zip(*blends(), strict=True)
    assert not is_blend(run_cases(program, [nearest_case(**one) for one in given], tmp_path), exact)


# Name: sanitizer, complaint, header or None, right, wrong.
BUGS = {
    "missing barrier before a read": (
        "thread",
        "ThreadSanitizer: data race",
        None,
        "  __syncthreads();\n  const int position",
        "  const int position",
    ),
    "missing barrier between largest and step": (
        "thread",
        "ThreadSanitizer: data race",
        SCAN,
        "  largest[part][one] = mine;\n  __syncthreads();\n",
        "  largest[part][one] = mine;\n",
    ),
    "rows beyond the memory": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        None,
        "row < rows.rows ? keys.key(least, lane) : kNone",
        "keys.key(least, lane)",
    ),
    "read out of bounds": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        SCAN,
        "min(word * 4 + 4, given.channels); ++c",
        "word * 4 + 4; ++c",
    ),
    "write out of bounds": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        SCAN,
        "if (step == 0.0f || first >= rows.tiles) return;",
        "if (step == 0.0f) return;",
    ),
    "the share of another position": (
        "plain",
        "",
        SCAN,
        "__ldg(given.shares + position)",
        "__ldg(given.shares)",
    ),
    "what another position counts": (
        "plain",
        "",
        None,
        "given.positions, position, distance",
        "given.positions, warp, distance",
    ),
    "not in order": ("plain", "", None, "here = lane == 0 ||", "here = lane == 1 ||"),
    "the k-th is not the last": ("plain", "", None, "best, shape.k - 1)", "best, 0)"),
}


@pytest.mark.parametrize("bug", named(BUGS))
def test_finds(bug, built, made, tmp_path):
    sanitizer, complaint, header, right, wrong = BUGS[bug]
    program = built(Build("g++", sanitizer)).with_bug(
        "nearest_cuda.cu", right, wrong, tmp_path, header
    )
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
    sources = {name: (CSRC / name).read_text() for name in (SCAN, "nearest_cuda.cu")}
    program = built(Build("g++", "plain")).replaced(
        {"cuda.h": header.replace(right, wrong), **sources}, tmp_path
    )
    try:
        found = run_cases(program, cases, tmp_path)
    except subprocess.CalledProcessError as crashed:
        assert crashed.returncode < 0 and "nobody" in bug
        return
    assert not is_right(found, exact, given)
