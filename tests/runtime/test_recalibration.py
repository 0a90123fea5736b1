"""Old scores against new ones: SciPy's rank test, fences by hand, images that are planted."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.bundle.entries import HealthLimits
from edgead.editing.recalibration import Recording, concerns, superiority

RNG = np.random.default_rng(6)


def recording(scores) -> Recording:
    names = tuple(f"{index}.png" for index in range(len(scores)))
    values = tuple(map(float, scores))
    return Recording(names, values, values, "", HealthLimits("", 1, 0, 0, 0, 0), b"")


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("m", "n"), [(12, 40), (200, 30), (5, 5)])
def test_superiority_is_what_scipy_says(m, n, ties):
    stats = pytest.importorskip("scipy.stats")
    new, old = RNG.normal(0.4, 1, m), RNG.normal(0, 1, n)
    if ties:
        new, old = np.round(new), np.round(old)
    share, chance = superiority(new, old)
    truth = stats.mannwhitneyu(new, old, method="asymptotic", use_continuity=False)
    assert share == pytest.approx(truth.statistic / (m * n), abs=1e-12)
    assert chance == pytest.approx(truth.pvalue, abs=1e-12)


def test_superiority_by_hand():
    assert superiority([3, 2], [1, 2])[0] == (1 + 1 + 1 + 0.5) / 4
    assert superiority([1, 1], [1, 1, 1]) == (0.5, 1.0)


def test_images_of_the_same_camera_are_trusted():
    """40 old and 40 new of one lognormal: scores are said to have moved in 1 % of cases at most.

    The effect that is asked for on top makes it rarer; 3 sigma over 5 of 500 are 12.
    """
    trials = [RNG.lognormal(0, 0.4, (2, 40)) for _ in range(500)]
    wrong = sum(any("far" in c and "old ones" in c for c in concerns(old, recording(new), 0.0))
                for old, new in trials)  # fmt: skip
    assert wrong <= 12


def test_scores_that_moved_are_said_with_their_direction():
    old = RNG.lognormal(0, 0.4, 40)
    above, below = concerns(old, recording(3 * old), 0.0), concerns(old, recording(old / 3), 0.0)
    assert len(above) == len(below) == 1
    assert "far above the old ones" in above[0] and "Defects among the images" in above[0]
    assert "far below the old ones" in below[0] and "training has seen" in below[0]
    medians = f"median {3 * np.median(old):.5g} instead of {np.median(old):.5g}"
    assert medians in above[0]


def test_a_shift_that_many_images_prove_and_that_is_small_is_no_concern():
    old = np.linspace(1, 2, 2000)
    share, chance = superiority(old + 0.1, old)
    assert chance < 1e-6 and share < 0.71
    assert concerns(old, recording(old + 0.1), 0.0) == ()


def test_images_far_above_the_others_are_named_highest_first():
    scores = np.exp(np.linspace(0, 1, 21))  # quartiles of the logarithm 0.25 and 0.75: fence e^2.25
    assert concerns(scores, recording([*scores[:-1], 9.4]), 0.0) == ()
    (said,) = concerns(scores, recording([*scores[:-2], 9.6, 30.0]), 0.0)
    assert said.startswith("2 images score far above the others (over 9.4877)")
    assert "20.png 30, 19.png 9.6" in said


def test_a_tolerance_that_is_large_beside_the_new_spread_is_said():
    scores = np.linspace(10, 12, 30)  # a spread of 2: 5 % are 0.1
    assert concerns(scores, recording(scores), 0.1) == ()
    (said,) = concerns(scores, recording(scores), 0.11)
    assert "0.11" in said and "6% of the spread" in said
