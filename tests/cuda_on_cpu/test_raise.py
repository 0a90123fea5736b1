"""raise for CUDA, run on the CPU, against float64; planted bugs."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Build, must_fail, named, raise_case, run_cases

from edgead import reference

LEVELS = [(0.01, 0.05), (0.4, 4.0), (20.0, 30.0)]  # of every frame: above, between, below
ROUNDINGS = 1e-6  # of a float32 sum of at most four, its root, a quotient and a product


def inputs():
    """Keyword arguments of raise_case: around a block's 256 threads, above and below the level."""
    rng = np.random.default_rng(31)
    for number, positions in enumerate([1, 7, 255, 256, 257, 1000, 1024]):
        for kind, own_levels in enumerate(LEVELS):
            signals = 1 + (number + kind) % 4
            yield {
                "distances": [np.float32(rng.exponential(0.5, positions)) for _ in range(signals)],
                "total": None if number % 3 == 2 else np.float32(rng.random(positions + number)),
                "own_levels": own_levels,
                "shift": 4 * (number % 2),
            }
    yield {
        "distances": [np.zeros(9, np.float32)],
        "total": np.ones(9, np.float32),
        "own_levels": (0.5, 1),
    }


def exact_of(given):
    """The arrays in float64."""
    total = given["total"]
    ones = [np.ones(len(one)) for one in given["distances"]]
    counted, raised = reference.signals(
        [*given["distances"], *([] if total is None else [total])],
        [*ones, *([] if total is None else [None])],
        [*(None for _ in ones), *([] if total is None else [np.ones(len(total))])],
        given["own_levels"],
    )
    return [*counted, *([] if total is None else [raised])]


def is_right(found, given):
    return all(
        np.allclose(one, exact, rtol=ROUNDINGS, atol=0)
        for arrays, case in zip(found, given, strict=True)
        for one, exact in zip(arrays, exact_of(case), strict=True)
    )


def test_raise_follows_float64_in_every_order(program, tmp_path):
    given = list(inputs())
    cases = [raise_case(**one) for one in given]
    found = [run_cases(program.path, cases, tmp_path, seed=seed) for seed in (0, 1)]
    assert is_right(found[0], given)
    for one, other in zip(*found, strict=True):
        assert [a.tobytes() for a in one] == [a.tobytes() for a in other]
    unchanged = [one for one in given if one["own_levels"] == LEVELS[0]]
    again = run_cases(program.path, [raise_case(**one) for one in unchanged], tmp_path)
    for case, arrays in zip(unchanged, again, strict=True):
        assert [a.tobytes() for a in arrays[:-1]] == [
            a.tobytes() for a in case["distances"][: len(arrays) - 1]
        ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_and_hides_nothing(value, built, tmp_path):
    """A frame whose level is not finite is not raised: what it was told is told on."""
    distances = np.ones(300, np.float32)
    distances[77] = value
    case = raise_case([distances], np.ones(300, np.float32), (3.0, 5.0))
    ((found, total),) = run_cases(built(Build("g++", "plain")).path, [case], tmp_path)
    np.testing.assert_array_equal(found, distances)
    np.testing.assert_array_equal(total, np.ones(300))


BUGS = {
    "missing barrier before the sums are read": (
        "thread",
        "ThreadSanitizer: data race",
        "  __syncthreads();\n",
        "",
    ),
    "a position too many": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        "i < raise.summed",
        "i <= raise.summed",
    ),
    "a signal too few": ("plain", "", "k < raise.shown; ++k) sum", "k < raise.shown - 1; ++k) sum"),
    "the root of each signal": ("plain", "", "sum += raise.distance[k][i]",
                                "sum += sqrtf(raise.distance[k][i])"),
    "the sum of the score left as it is": ("plain", "", "raise.sum[i] *= factor",
                                           "raise.sum[i] *= 1.0f"),
    "sums of the first warp alone": ("plain", "", "w < kThreads / kWarp; ++w", "w < 1; ++w"),
}  # fmt: skip


@pytest.mark.parametrize("bug", named(BUGS))
def test_finds(bug, built, tmp_path):
    sanitizer, complaint, right, wrong = BUGS[bug]
    program = built(Build("g++", sanitizer)).with_bug("raise_cuda.cu", right, wrong, tmp_path)
    given = list(inputs())
    cases = [raise_case(**one) for one in given]
    must_fail(program, cases, tmp_path, complaint, lambda found: is_right(found, given))
