"""Percentiles by hand and by NumPy; the bootstrap beside SciPy's and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgead.bench.samples import ratio_interval, summary
from edgead.monitoring.percentiles import percentile, rank


@pytest.mark.parametrize(
    ("percent", "count", "expected"),
    [
        (50, 1, 1),
        (50, 2, 1),
        (50, 3, 2),
        (90, 10, 9),
        (99, 100, 99),
        (99, 101, 100),
        (99.9, 1000, 999),  # 99.9 is not a binary fraction: must not be rounded up to 1000
        (99.9, 999, 999),
        (100, 7, 7),
        (0.001, 7, 1),
    ],
)
def test_nearest_rank_by_hand(percent, count, expected):
    assert rank(percent, count) == expected


@given(
    st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300),
    st.sampled_from([1, 10, 25, 50, 75, 90, 99, 100]),
)
def test_a_percentile_is_the_one_that_numpy_finds(samples, percent):
    assert percentile(samples, percent) == np.percentile(samples, percent, method="inverted_cdf")


def test_the_summary_by_hand():
    found = summary([float(n) for n in range(1000, 0, -1)])
    samples = found.pop("samples_ms")
    assert samples[:2] == [1000, 999] and len(samples) == 1000  # all of them, in their order
    assert found == {
        "p50_ms": 500, "p90_ms": 900, "p99_ms": 990, "p999_ms": 999, "max_ms": 1000,
        "mean_ms": 500.5,
    }  # fmt: skip


def test_pairs_cancel_what_the_machine_did_to_a_turn():
    below = np.random.default_rng(1).lognormal(1, 1, 200)
    found = ratio_interval(1.25 * below, below, 50, paired=True)
    assert found == pytest.approx((1.25, 1.25, 1.25))
    alone = ratio_interval(1.25 * below, below, 50)
    assert alone.low < 1.2 and alone.high > 1.3


@pytest.mark.parametrize("percent", [50, 90])
def test_the_interval_is_about_scipys_for_independent_samples(percent):
    random = np.random.default_rng(2)
    above, below = random.lognormal(0.2, 0.3, 400), random.lognormal(0, 0.3, 300)

    def ratio(a, b):
        return np.percentile(a, percent) / np.percentile(b, percent)

    expected = stats.bootstrap(
        (above, below),
        ratio,
        n_resamples=1000,
        confidence_level=0.99,
        method="percentile",
        vectorized=False,
        random_state=3,
    ).confidence_interval
    found = ratio_interval(above, below, percent)
    # The ends of an interval are percentiles 0.5 and 99.5 of 1000 draws, and the blocks and the
    # interpolation differ: a fifth of the width is what two seeds of SciPy differ by, doubled.
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.2 * width)
    assert found.high == pytest.approx(expected.high, abs=0.2 * width)


def test_neighbours_that_resemble_each_other_widen_the_interval():
    """The same values, once shuffled and once in runs of ten: runs are fewer independent facts."""
    random = np.random.default_rng(4)
    runs = np.repeat(random.lognormal(0, 0.3, 100), 10)
    below = random.lognormal(0, 0.01, 1000)

    def width(samples):
        _, low, high = ratio_interval(samples, below, 50)
        return high - low

    assert width(runs) > 1.5 * width(random.permutation(runs))
