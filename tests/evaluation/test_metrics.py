"""Image figures against slow loops and by hand, pixel figures against scikit-learn and a loop."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_training.evaluation import metrics
from scipy import ndimage
from sklearn import metrics as sk
from slow_figures import aupro_slowly

from edgead.calibration import wilson_interval

# All counts are exact integers and the rest is a handful of float64 operations per term.
CLOSE = {"rel": 1e-12, "abs": 1e-12}


def _case(seed: int, n: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = True, False
    scores = rng.normal(size=n) + labels
    return (np.round(scores * levels) / levels if levels else scores), labels


CASES = [_case(s, n, ties) for s in range(4) for n in (2, 7, 200) for ties in (None, 1, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_image_metrics_equal_a_loop_over_pairs_and_thresholds(case, dtype):
    scores, labels = CASES[case]
    scores = scores.astype(dtype)
    pairs = [(d > g) + (d == g) / 2 for d in scores[labels] for g in scores[~labels]]
    precision_steps, f1, found = 0.0, 0.0, 0
    for threshold in np.unique(scores)[::-1]:
        true, false = (int((scores[of] >= threshold).sum()) for of in (labels, ~labels))
        precision_steps += (true - found) / labels.sum() * true / (true + false)
        f1, found = max(f1, 2 * true / (true + false + labels.sum())), true
    assert metrics.auroc(scores, labels) == pytest.approx(np.mean(pairs), **CLOSE)
    assert metrics.average_precision(scores, labels) == pytest.approx(precision_steps, **CLOSE)
    assert metrics.f1_max(scores, labels) == pytest.approx(f1, **CLOSE)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_roc_curve_goes_through_the_rates_at_every_threshold(case):
    scores, labels = CASES[case]
    false, true = metrics.roc_curve(scores, labels)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    for threshold in np.unique(scores):
        x, y = ((scores[of] >= threshold).mean() for of in (~labels, labels))
        at = np.searchsorted(false, x)  # the first corner that is not left of x
        if false[at] == x:  # on a vertical piece: between its ends
            last = np.searchsorted(false, x, side="right") - 1
            assert true[at] - 1e-12 <= y <= true[last] + 1e-12
        else:
            slope = (true[at] - true[at - 1]) / (false[at] - false[at - 1])
            assert y == pytest.approx(true[at - 1] + slope * (x - false[at - 1]), **CLOSE)


def test_roc_curve_keeps_corners_only():
    # falling: 3 defects, 4 good, 1 defect: up, right, up
    false, true = metrics.roc_curve([8, 7, 6, 5, 4, 3, 2, 1], [1, 1, 1, 0, 0, 0, 0, 1])
    assert list(zip(false, true, strict=True))[-3:] == [(0, 0.75), (1, 0.75), (1, 1)]
    assert len(false) <= 5  # not one point for each of the eight thresholds


def test_ties_by_hand():
    # good 1 2 2, defect 2 3: pairs won 3 + 1, tied 2 of 6 -> (4 + 2 / 2) / 6
    scores, labels = [1, 2, 2, 2, 3], [0, 0, 0, 1, 1]
    assert metrics.auroc(scores, labels) == pytest.approx(5 / 6)
    # thresholds 3, 2, 1: precision 1/1, 2/4, 2/5 with recall steps 1/2, 1/2, 0
    assert metrics.average_precision(scores, labels) == pytest.approx(0.75)
    assert metrics.f1_max(scores, labels) == pytest.approx(2 / 3)  # all three: 2/3, 2/3, 4/7


def test_one_class_has_no_figure():
    for labels in ([0, 0, 0], [1, 1, 1]):
        assert metrics.auroc([1.0, 2.0, 3.0], labels) is None
        assert metrics.average_precision([1.0, 2.0, 3.0], labels) is None
        assert metrics.f1_max([1.0, 2.0, 3.0], labels) is None
    maps = np.ones((1, 2, 2), np.float32)
    assert metrics.pixel_auroc(maps, np.zeros((1, 2, 2), bool)) is None
    assert metrics.aupro(maps, np.zeros((1, 2, 2), bool)) is None
    with pytest.raises(ValueError, match="good and defective"):
        metrics.roc_curve([1.0, 2.0], [1, 1])


def test_what_is_not_a_score_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        metrics.auroc([1.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="expected the same"):
        metrics.auroc([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="limit"):
        metrics.aupro(np.ones((1, 2, 2)), np.eye(2, dtype=bool)[None], limit=0.0)


def test_aupro_by_hand():
    """Two regions (a diagonal pair, which 8-connectivity joins, and one pixel), 7 good pixels."""
    maps = np.array([[[9, 1, 5], [2, 4, 3], [0, 0, 0]], [[6, 8, 0], [0, 0, 0], [0, 0, 0]]])
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # scores 9 and 4: one region of two pixels
    masks[1, 0, 0] = True  # score 6: a region of one pixel
    # 15 good pixels, falling: 8 5 3 2 1 and ten of 0. Points (FPR, PRO):
    # t=9 (0, 1/4)  t=8 (1/15, 1/4)  t=6 (1/15, 3/4)  t=5 (2/15, 3/4)  t=4 (2/15, 1), then 1
    area = (1 / 4 + 3 / 4) / 15  # up to FPR 2/15
    assert metrics.aupro(maps, masks, limit=2 / 15) == pytest.approx(area / (2 / 15))
    assert metrics.aupro(maps, masks, limit=0.3) == pytest.approx((area + 0.3 - 2 / 15) / 0.3)
    # limit inside the second step: 1/15 x 1/4 + (0.1 - 1/15) x 3/4
    assert metrics.aupro(maps, masks, limit=0.1) == pytest.approx((1 / 60 + 1 / 40) / 0.1)


def test_aupro_interpolates_along_a_tie():
    """Constant map: the curve is the diagonal, whatever the limit; the area is limit / 2."""
    masks = np.zeros((1, 4, 4), bool)
    masks[0, :2, :2] = True
    for limit in (0.05, 0.3, 1.0):
        assert metrics.aupro(np.ones((1, 4, 4)), masks, limit) == pytest.approx(1 / 2 * limit)


@pytest.mark.parametrize("levels", [None, 4, 40])
@pytest.mark.parametrize("seed", range(3))
def test_pixel_metrics_equal_the_slow_loop(seed, levels):
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(size=(3, 17, 13)), (0, 1, 1)) > 0.25
    masks[1] = False  # a good image
    maps = (rng.normal(size=masks.shape) + masks).astype(np.float32)
    if levels:
        maps = (np.round(maps * levels) / levels).astype(np.float32)
    for limit in (0.02, 0.3, 1.0):
        assert metrics.aupro(maps, masks, limit) == pytest.approx(
            aupro_slowly(maps.astype(np.float64), masks, limit), rel=1e-10
        )
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(
        sk.roc_auc_score(masks.ravel(), maps.ravel()), **CLOSE
    )
    assert metrics.pixel_figures(maps, masks) == {
        "pixel_auroc": metrics.pixel_auroc(maps, masks),
        "aupro": metrics.aupro(maps, masks, 0.3),
        "aupro_0_05": metrics.aupro(maps, masks, 0.05),
    }


def test_perfect_and_reversed_maps():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:5, 3:6] = True
    maps = masks.astype(np.float32)
    assert metrics.aupro(maps, masks) == 1.0
    assert metrics.pixel_auroc(maps, masks) == 1.0
    assert metrics.aupro(-maps, masks) == 0.0
    assert metrics.pixel_auroc(-maps, masks) == 0.0


def test_resize_mask_takes_the_nearest_pixel():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool)
    np.testing.assert_array_equal(metrics.resize_mask(mask, (2, 4)), mask)
    np.testing.assert_array_equal(metrics.resize_mask(mask, (4, 8)), np.kron(mask, np.ones((2, 2))))
    # half-pixel centres: column 0 of two covers source columns 0 and 1, its centre is source 1.0
    np.testing.assert_array_equal(metrics.resize_mask(mask, (2, 2)), mask[:, [1, 3]])
    tall = np.arange(6).reshape(6, 1) % 2 == 1
    np.testing.assert_array_equal(metrics.resize_mask(tall, (2, 1)), tall[[1, 4]])


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 20), (10, 20), (20, 20), (3, 1000)])
def test_wilson_interval_holds_the_shares_that_differ_by_less_than_two_sigma(hits, n):
    """Its ends are the p with |hits / n - p| = 1.96 sqrt(p (1 - p) / n), or the ends of [0, 1]."""
    low, high = wilson_interval(hits, n)
    for end in (low, high):
        if 0 < end < 1:
            sigma = np.sqrt(end * (1 - end) / n)
            assert abs(hits / n - end) == pytest.approx(1.959963984540054 * sigma, rel=1e-9)
    assert (low == 0, high == 1) == (hits == 0, hits == n)
    assert low < high


@pytest.mark.parametrize(("hits", "n"), [(21, 20), (-1, 20), (0, 0)])
def test_wilson_interval_of_no_share(hits, n):
    with pytest.raises(ValueError, match="is not a share"):
        wilson_interval(hits, n)
