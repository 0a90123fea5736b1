"""The false-reject rate that is reached, by 10,000 draws through calibration.py's own code.

One draw is a set of n calibration scores and a new score exchangeable with them. The share of
draws whose new score is rejected may exceed the promised rate by 4 standard deviations of a
binomial count (1 in 30,000 by chance; seeds are fixed). Bugs in the rank are planted to show that
this is enough to see them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
import pytest

from edgead.calibration import p_value, threshold

DRAWS, N = 10_000, 39
RATES = (0.025, 0.06, 0.2)  # 1/40, between 2/40 and 3/40, 8/40
TOLERANCE = 0.01

Rule = Callable[[float, list[float], float], bool]
"""(new score, calibration scores, rate) -> rejected."""

Sampler = Callable[[np.random.Generator], np.ndarray]


def _of_one_day(rng: np.random.Generator) -> np.ndarray:
    """Not independent, and still exchangeable: each draw has a level and a spread of its own."""
    level, spread = rng.normal(0, 5, (DRAWS, 1)), rng.lognormal(0, 1, (DRAWS, 1))
    return level + spread * rng.normal(size=(DRAWS, N + 1))


def _one_pile(rng: np.random.Generator) -> np.ndarray:
    """N + 1 given scores, two of them equal, in random order: nothing but the order is random."""
    pile = np.r_[np.arange(N), N - 1] / 7.0
    return rng.permuted(np.tile(pile, (DRAWS, 1)), axis=1)


SAMPLERS: dict[str, Sampler] = {
    "lognormal": lambda rng: rng.lognormal(size=(DRAWS, N + 1)),
    "heavy tail": lambda rng: rng.standard_cauchy((DRAWS, N + 1)),
    "two humps": lambda rng: (
        rng.normal(size=(DRAWS, N + 1)) + 9 * rng.integers(0, 2, (DRAWS, N + 1))
    ),
    "ties": lambda rng: rng.integers(0, 30, (DRAWS, N + 1)) / 8.0,
    "all but one equal": lambda rng: (rng.random((DRAWS, N + 1)) < 0.03).astype(float),
    "one day each": _of_one_day,
    "one pile": _one_pile,
}


def excess(rule: Rule, draws: np.ndarray, rate: float) -> float:
    """How far the rejected share of ``draws`` is over ``rate``, in standard deviations."""
    rejected = sum(rule(row[-1], row[:-1], rate) for row in draws.tolist())
    return (rejected / len(draws) - rate) / math.sqrt(rate * (1 - rate) / len(draws))


def _by_p_value(new: float, scores: list[float], rate: float) -> bool:
    return p_value(new, scores) <= rate


def _by_threshold(new: float, scores: list[float], rate: float) -> bool:
    return new > threshold(scores, rate)


@pytest.mark.parametrize("rule", [_by_p_value, _by_threshold])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_rate_reached_is_at_most_the_one_promised(name: str, rule: Rule) -> None:
    draws = SAMPLERS[name](np.random.default_rng(11))
    for rate in RATES:
        assert excess(rule, draws, rate) < 4, rate


def test_the_rate_reached_is_no_lower_than_it_has_to_be() -> None:
    """Without ties, P(p <= rate) is the largest k / (n + 1) up to the rate."""
    draws = SAMPLERS["lognormal"](np.random.default_rng(12))
    for rate in (0.025, 0.05, 0.2):
        assert abs(excess(_by_p_value, draws, rate)) < 4, rate


@pytest.mark.parametrize("name", ["lognormal", "ties", "one pile"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_engine_that_is_off_within_the_tolerance_keeps_the_promise(name: str, sign: int) -> None:
    """The new score is made by another engine than the calibration scores, off by the tolerance."""
    draws = SAMPLERS[name](np.random.default_rng(13))
    allowed = TOLERANCE * (1 + 1e-9)  # the subtraction below rounds

    def rule(new: float, scores: list[float], rate: float) -> bool:
        off = new + sign * TOLERANCE
        assert (p_value(off, scores, allowed) <= rate) == (off > threshold(scores, rate, allowed))
        return p_value(off, scores, allowed) <= rate

    for rate in RATES:
        assert excess(rule, draws, rate) < 4, rate


PARTS, EACH = 19, (1, 2, 6, 12)  # images of a part: which of these is random


def _of_parts(rng: np.random.Generator) -> tuple[list[float], list[int], float]:
    """Scores of parts that differ much more than images of one, and one image of a new part."""
    counts = rng.choice(EACH, PARTS + 1)
    parts = np.repeat(np.arange(PARTS + 1), counts)
    scores = rng.lognormal(size=PARTS + 1)[parts] + rng.normal(0, 0.05, len(parts))
    held = parts < PARTS
    return (
        scores[held].tolist(),
        parts[held].tolist(),
        float(scores[rng.choice(np.flatnonzero(~held))]),
    )


def _reached(rule: Callable[[float, list[float], list[int]], float], rate: float) -> float:
    """As ``excess``, of images of new parts."""
    rng = np.random.default_rng(14)
    draws = [_of_parts(rng) for _ in range(DRAWS)]
    rejected = sum(rule(new, scores, parts) <= rate for scores, parts, new in draws)
    return (rejected / DRAWS - rate) / math.sqrt(rate * (1 - rate) / DRAWS)


@pytest.mark.parametrize("rate", [0.05, 0.12, 0.3])
def test_images_of_a_new_part_are_rejected_at_the_rate(rate: float) -> None:
    assert _reached(lambda new, scores, parts: p_value(new, scores, parts=parts), rate) < 4


def test_images_that_count_one_by_one_break_the_promise_of_parts_visibly() -> None:
    """Which is what a bundle did before its calibration knew of parts."""
    assert _reached(lambda new, scores, _: p_value(new, scores), 0.05) > 4


def _without_the_new_one(new: float, scores: list[float], rate: float) -> bool:
    return (N - bisect_left(sorted(scores), new)) / N <= rate


def _one_rank_lower(new: float, scores: list[float], rate: float) -> bool:
    return (N - bisect_left(sorted(scores), new)) / (N + 1) <= rate


def _ties_against_the_part(new: float, scores: list[float], rate: float) -> bool:
    return (1 + N - bisect_right(sorted(scores), new)) / (N + 1) <= rate


def _empirical_quantile(new: float, scores: list[float], rate: float) -> bool:
    return new > sorted(scores)[math.ceil((1 - rate) * N) - 1]


def _threshold_one_rank_lower(new: float, scores: list[float], rate: float) -> bool:
    return new > sorted(scores)[N - int(rate * (N + 1)) - 1]


def _tolerance_the_wrong_way(new: float, scores: list[float], rate: float) -> bool:
    return p_value(new + TOLERANCE, scores, -TOLERANCE) <= rate


@pytest.mark.parametrize(
    ("bug", "name"),
    [
        (_without_the_new_one, "lognormal"),
        (_one_rank_lower, "lognormal"),
        (_ties_against_the_part, "ties"),
        (_empirical_quantile, "heavy tail"),
        (_threshold_one_rank_lower, "one day each"),
        (_tolerance_the_wrong_way, "ties"),
    ],
)
def test_a_planted_bug_breaks_the_promise_visibly(bug: Rule, name: str) -> None:
    draws = SAMPLERS[name](np.random.default_rng(11))
    assert max(excess(bug, draws, rate) for rate in RATES) > 4
