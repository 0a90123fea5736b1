"""P-values and thresholds, counted by hand. The promise itself: test_promise.py."""

from __future__ import annotations

import math
from fractions import Fraction

import cases
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from edgead.calibration import (
    best_false_reject_rate,
    check_false_reject_rate,
    default_false_reject_rate,
    expected_rejects,
    images_needed,
    p_value,
    ranked,
    ranked_p_value,
    threshold,
)
from edgead.errors import CalibrationError

SCORES = (3.0, 1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("score", "tolerance", "expected"),
    [
        (0.5, 0.0, 5 / 5),  # all four are at least as high
        (1.0, 0.0, 5 / 5),  # a tie counts for the part
        (1.5, 0.0, 4 / 5),
        (4.0, 0.0, 2 / 5),
        (4.5, 0.0, 1 / 5),  # higher than every calibration score: the best possible, never 0
        (4.5, 0.5, 2 / 5),  # within the tolerance of 4.0: a tie
        (4.75, 0.5, 1 / 5),
        (math.inf, 0.0, 1 / 5),
        (-math.inf, 0.0, 1.0),
    ],
)
def test_p_value_by_hand(score: float, tolerance: float, expected: float) -> None:
    assert p_value(score, SCORES, tolerance) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.2, 4.0), (0.39, 4.0), (0.4, 3.0), (0.6, 2.0), (0.8, 1.0), (0.99, 1.0)],
)
def test_threshold_by_hand(rate: float, expected: float) -> None:
    assert threshold(SCORES, rate) == expected
    assert threshold(SCORES, rate, 0.25) == expected + 0.25


def test_p_values_of_the_corpus() -> None:
    for row in cases.p_values():
        values = ranked(row["scores"], row["ties"], row.get("parts"))
        if "score" in row:
            assert ranked_p_value(row["score"], values) == row["p"][0] / row["p"][1], row
        elif "says" in row:
            with pytest.raises(CalibrationError) as caught:
                values.threshold(row["rate"])
            assert str(caught.value) == row["says"]
        else:
            assert values.threshold(row["rate"]) == row["threshold"], row


scores_strategy = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(scores_strategy, st.floats(0.001, 0.999), st.floats(0, 1), st.data())
def test_threshold_and_p_value_give_the_same_verdict(
    scores: list[float], rate: float, tolerance: float, data: st.DataObject
) -> None:
    if rate < 1 / (len(scores) + 1):
        with pytest.raises(CalibrationError):
            threshold(scores, rate, tolerance)
        return
    limit = threshold(scores, rate, tolerance)
    near = [limit, math.nextafter(limit, math.inf), math.nextafter(limit, -math.inf)]
    score = data.draw(st.sampled_from([*near, *scores]) | st.floats(-2e6, 2e6))
    assert (p_value(score, scores, tolerance) <= rate) == (score > limit)


of_parts = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-3, 9)), min_size=1, max_size=60)


def _by_fractions(score: float, scores: list[float], parts: list[int]) -> Fraction:
    """Each part's share of images that score at least as high, in exact arithmetic."""
    total = Fraction(1)
    for part in set(parts):
        own = [c for c, shown in zip(scores, parts, strict=True) if shown == part]
        total += Fraction(sum(c >= score for c in own), len(own))
    return total / (len(set(parts)) + 1)


@given(of_parts, st.floats(0.001, 0.999), st.data())
def test_images_of_one_part_share_the_weight_of_one(
    images: list[tuple[float, int]], rate: float, data: st.DataObject
) -> None:
    scores, parts = map(list, zip(*images, strict=True))
    score = data.draw(st.sampled_from(scores) | st.floats(-2e6, 2e6))
    found, exact = p_value(score, scores, parts=parts), _by_fractions(score, scores, parts)
    assert abs(found - exact) < 20 * 2**-53  # a division and an addition for each size of a part
    if rate < 1 / (len(set(parts)) + 1):
        with pytest.raises(CalibrationError, match=r"calibration (parts|images) can promise"):
            threshold(scores, rate, parts=parts)
        return
    limit = threshold(scores, rate, parts=parts)
    for near in (limit, math.nextafter(limit, math.inf), math.nextafter(limit, -math.inf), score):
        assert (p_value(near, scores, parts=parts) <= rate) == (near > limit)


@given(scores_strategy, st.floats(-2e6, 2e6), st.permutations(range(60)))
def test_parts_of_one_image_each_change_nothing(
    scores: list[float], score: float, names: list[int]
) -> None:
    parts = names[: len(scores)]
    assert p_value(score, scores, parts=parts) == p_value(score, scores)


def test_the_order_of_parts_and_images_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    scores, parts = rng.normal(size=40).round(1), rng.integers(0, 7, 40)
    found = [p_value(0.2, scores.tolist(), parts=parts.tolist())]
    for _ in range(20):
        order = rng.permutation(40)
        found.append(p_value(0.2, scores[order].tolist(), parts=parts[order].tolist()))
    assert len(set(found)) == 1


@pytest.mark.parametrize(("n", "rate", "images"), [(84, 0.05, 148), (19, 0.05, 20), (6, 0.15, 14),
                                                   (42, 0.05, 1), (300, 0.2, 1000)])  # fmt: skip
def test_expected_rejects_are_those_of_the_beta_binomial(n: int, rate: float, images: int) -> None:
    k = math.floor(rate * (n + 1) + 1e-9)
    law = scipy.stats.betabinom(images, k, n + 1 - k)
    assert expected_rejects(n, rate, images) == (law.ppf(0.025), law.ppf(0.975))


def test_expected_rejects_are_reached_by_19_of_20_calibrations() -> None:
    """By drawing calibrations and frames, whatever the formula: within 4 standard deviations."""
    rng, inside, draws = np.random.default_rng(3), 0, 4000
    low, high = expected_rejects(39, 0.05, 100)
    for _ in range(draws):
        limit = threshold(rng.lognormal(size=39).tolist(), 0.05)
        inside += low <= (rng.lognormal(size=100) > limit).sum() <= high
    assert inside / draws > 0.95 - 4 * math.sqrt(0.95 * 0.05 / draws)
    assert inside / draws < 0.99  # counts are whole, so the interval is a little wide; not more


@given(scores_strategy, st.floats(-2e6, 2e6), st.floats(0, 10))
def test_p_value_counts(scores: list[float], score: float, tolerance: float) -> None:
    count = sum(c + tolerance >= score for c in scores)
    expected = (1 + count) / (len(scores) + 1)
    assert p_value(score, scores, tolerance) == expected
    assert ranked_p_value(score, ranked(scores, tolerance)) == expected


@pytest.mark.parametrize("n", [1, 2, 9, 19, 29, 99, 999])
def test_the_best_rate_is_reachable_and_nothing_better(n: int) -> None:
    scores = [float(i) for i in range(n)]
    best = best_false_reject_rate(n)
    assert best == 1 / (n + 1)
    assert threshold(scores, best) == n - 1
    with pytest.raises(CalibrationError):
        threshold(scores, math.nextafter(best, 0))
    assert images_needed(best) == n
    assert images_needed(math.nextafter(best, 0)) == n + 1


def test_too_few_images_says_the_best_rate_and_what_it_would_take() -> None:
    with pytest.raises(CalibrationError, match=r"9 calibration images.*best possible is 0\.1\b"):
        check_false_reject_rate(0.01, 9)
    with pytest.raises(CalibrationError, match=r"0\.01 needs 99 images"):
        check_false_reject_rate(0.01, 9)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, math.nan, math.inf, "often", None])
def test_a_rate_that_is_none(rate: object) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        check_false_reject_rate(rate, 100)  # type: ignore[arg-type]


def test_no_scores_and_nan() -> None:
    with pytest.raises(CalibrationError, match="no calibration scores"):
        p_value(1.0, [])
    with pytest.raises(CalibrationError, match="NaN"):
        p_value(math.nan, SCORES)


def test_default_rate() -> None:
    assert default_false_reject_rate(100) == 0.05
    assert default_false_reject_rate(9) == 0.1


def test_the_rate_that_a_refusal_names_is_taken_when_it_is_typed():
    for n in [*range(1, 400), 999, 12345, 10**6]:
        with pytest.raises(CalibrationError) as caught:
            check_false_reject_rate(1e-9, n)
        rate = str(caught.value).split("best possible is ")[1].split(";")[0]
        assert check_false_reject_rate(float(rate), n) < 1.0011 / (n + 1)
