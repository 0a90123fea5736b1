"""Differences, bounds and verdicts on numbers made by hand; the batch check on a frozen batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edgead_export import compare

from edgead.bundle.entries import Tolerance
from edgead.errors import ExportError
from edgead.learning.tolerance import spread

KINDS = (("torch", "float32"), ("engine", "float32"), ("fast", "float16"))


def measured(scores: list[list[float]]) -> compare.PathScores:
    table = np.array(scores)
    images = tuple(f"{i}.png" for i in range(table.shape[1]))
    zero = np.zeros_like(table)
    return compare.PathScores(KINDS[: len(table)], images, table, table, zero, zero)


def test_spread_by_hand() -> None:
    assert spread(np.array([1.0, 3.0, 2.0])) == 2.0
    assert spread(np.array([5.0])) == 0.5  # one image: a tenth of its score
    assert spread(np.array([-4.0, -4.0])) == 0.4
    assert spread(np.zeros(3)) > 0


def test_measure_and_differences_by_hand() -> None:
    def path(name: str, precision: str, offset: float, peak: float) -> compare.ScoringPath:
        def run(frame):
            values = np.zeros((2, 2), np.float32)
            values[0, 0] = frame[0] + peak
            return values, float(frame[0] + offset)

        return compare.ScoringPath(name, precision, run)

    paths = [path("torch", "float32", 0, 0), path("fast", "float16", 0.5, 0.25)]
    frames = [("a", np.array([1.0])), ("b", np.array([2.0]))]
    found = compare.score_paths(paths, frames)
    assert found.images == ("a", "b")
    np.testing.assert_array_equal(found.scores, [[1, 2], [1.5, 2.5]])
    np.testing.assert_array_equal(found.peaks, [[1, 2], [1.25, 2.25]])
    np.testing.assert_array_equal(found.map_largest, [[0, 0], [0.25, 0.25]])
    np.testing.assert_array_equal(found.map_mean, [[0, 0], [0.0625, 0.0625]])
    [row] = compare.differences(compare.join(found, found), usual=2.0)
    assert row == compare.Difference("fast", "float16", 0.5, 0.5, 0.25, 0.0625, "a")
    # What is beyond the usual counts by how many times: 2 is twice 1, 1 is not.
    found = compare.score_paths(paths, frames, usual=1.0)
    np.testing.assert_array_equal(found.map_largest, [[0, 0], [0.25, 0.125]])
    [row] = compare.differences(found, usual=1.0)
    assert (row.score_largest, row.score_mean) == (0.5, 0.375)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(bad: float) -> None:
    def run(frame):
        return np.array([[0.0, bad]], np.float32), 0.0

    with pytest.raises(ExportError, match=r"fast \(float16\) gives a map .* not finite on x.png"):
        compare.score_paths([compare.ScoringPath("fast", "float16", run)], [("x.png", np.zeros(1))])


@pytest.mark.parametrize(
    ("score", "values", "precision", "refused"),
    [
        (0.9e-3, 0.0, "float32", None),
        (1.1e-3, 0.0, "float32", "score differs"),
        (0.0, 1.1e-3, "float32", "map differs"),
        (4.9e-2, 4.9e-2, "float16", None),
        (5.1e-2, 0.0, "float16", "score differs"),
        (0.0, 5.1e-2, "float16", "map differs"),
        (np.nan, 0.0, "float16", "score differs"),
    ],
)
def test_bounds(score: float, values: float, precision: str, refused: str | None) -> None:
    row = compare.Difference("way", precision, score, score, values, values, "bad.png")
    if refused is None:
        compare.check_differences([row], 1.0, 1.0)
        return
    cure = {"float32": "--opset or torch version", "float16": "train longer.*--float32-only"}
    sentence = rf"way \({precision}\).*{refused}.*worst image bad.png.*{cure[precision]}"
    with pytest.raises(ExportError, match=sentence) as caught:
        compare.check_differences([row], 1.0, 1.0)
    assert ("--opset" in str(caught.value)) == (precision == "float32")


def test_bounds_follow_the_spread() -> None:
    row = compare.Difference("way", "float32", 0.5, 0.5, 0.0, 0.0, "x")
    compare.check_differences([row], 1000.0, 1.0)


# Twenty good images: scores 0, 1, … 19. At a rate of 0.05 nineteen of twenty pass.
LADDER = [float(i) for i in range(20)]


def test_equal_scores_are_ties_within_the_bound_of_float32() -> None:
    rows = measured([LADDER, LADDER, LADDER])
    found = compare.agreeing_ties(rows, LADDER, 0.05, 19.0, 40.0)
    assert found == Tolerance(1e-3 * 19.0, 1e-3 * 40.0)


def test_ties_are_twice_the_largest_difference_of_any_path() -> None:
    """Two engines may be off by as much in opposite directions."""
    half = [score + (0.1 if i == 7 else -0.02) for i, score in enumerate(LADDER)]
    rows = replace(measured([LADDER, LADDER, half]), map_largest=np.full((3, 20), 0.3))
    found = compare.agreeing_ties(rows, LADDER, 0.05, 19.0, 40.0)
    assert found.score == pytest.approx(0.2) and found.map == pytest.approx(0.6)


def test_ties_are_at_most_the_bound() -> None:
    half = [score + (0.9 if i == 7 else 0.0) for i, score in enumerate(LADDER)]
    rows = replace(measured([LADDER, LADDER, half]), map_largest=np.full((3, 20), 1.5))
    found = compare.agreeing_ties(rows, LADDER, 0.05, 19.0, 40.0)
    assert found == Tolerance(5e-2 * 19.0, 5e-2 * 40.0)


def test_swapped_neighbours_within_the_bound_are_ties() -> None:
    close = [*LADDER[:-1], LADDER[-2] + 1e-3]
    swapped = [*close[:-2], close[-1], close[-2]]
    compare.agreeing_ties(measured([close, swapped]), close, 0.05, 19.0, 19.0)


def test_another_verdict_is_refused_and_names_the_image() -> None:
    # The best image suddenly scores above all others: at 5 % its verdict turns.
    turned = [25.0, *LADDER[1:]]
    with pytest.raises(
        ExportError,
        match=r"engine \(float32\) gives another verdict .* on 0.png at a false-reject rate of "
        r"0.05: scores 25 and 0, p-values 0.04762 and 1.*try another --opset",
    ):
        compare.agreeing_ties(measured([LADDER, turned]), LADDER, 0.05, 19.0, 19.0)


def test_other_rates_count_too() -> None:
    # 18.5 is rank 2 of 20: anomalous at 10 % (p = 2/21), not at 5 %; the bundle's rate is 5 %.
    turned = [18.5, *LADDER[1:]]
    with pytest.raises(ExportError, match=r"0\.png at a false-reject rate of 0\.1"):
        compare.agreeing_ties(measured([LADDER, turned]), LADDER, 0.05, 19.0, 19.0)


def test_ties_widen_where_a_score_sits_on_a_threshold() -> None:
    # Twice the difference of image 7 is 0.4. Image 0 scores 18.4 +- 0.001: on the threshold of the
    # rate 0.1, which is calibration score 18 plus the ties. Wider ones separate them.
    ours, theirs = [18.399, *LADDER[1:]], [18.401, *LADDER[1:]]
    theirs[7] += 0.2
    rows = measured([ours, ours, theirs])
    found = compare.agreeing_ties(rows, LADDER, 0.05, 19.0, 19.0)
    assert found.score == pytest.approx(1.25 * 0.4)


def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)


def test_batch_that_follows_passes() -> None:
    compare.check_batch("float32", lambda x: [x * 2, x + 1], images())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_frozen_batch_is_refused(precision: str) -> None:
    def first_of_batch(x):
        return [x, np.repeat(x[:1], len(x), axis=0)]

    with pytest.raises(ExportError, match=rf"{precision} graph gives other features for a batch"):
        compare.check_batch(precision, first_of_batch, images())


def test_batch_of_another_shape_is_refused() -> None:
    with pytest.raises(ExportError, match="other features"):
        compare.check_batch("float32", lambda x: [x[:1], x[:1]], images())


def test_table_has_a_line_per_path() -> None:
    rows = [compare.Difference("way", "float16", 2e-4, 1e-4, 3e-3, 1e-5, "x")]
    text = "\n".join(compare.table(rows, 2.0))
    assert "way, float16" in text
    assert "2.0e-04 ~1.0e-04" in text
    assert "1.0e-04\n" in text
