"""The metrics against scikit-learn, cases computed by hand, and a slow float64 threshold loop."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_training.evaluation import metrics
from scipy import ndimage, stats
from sklearn import metrics as sk

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
def test_image_metrics_equal_scikit_learn(case, dtype):
    scores, labels = CASES[case]
    scores = scores.astype(dtype)
    assert metrics.auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), **CLOSE)
    assert metrics.average_precision(scores, labels) == pytest.approx(
        sk.average_precision_score(labels, scores), **CLOSE
    )
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert metrics.f1_max(scores, labels) == pytest.approx(f1.max(), **CLOSE)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_roc_curve_has_every_point_of_scikit_learn(case):
    scores, labels = CASES[case]
    false, true = metrics.roc_curve(scores, labels)
    expected_false, expected_true, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(false, expected_false, rtol=1e-12)
    np.testing.assert_allclose(true, expected_true, rtol=1e-12)


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


def _aupro_slowly(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Every distinct threshold, one after the other, float64, regions by scipy."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [maps[index][labelled == k] for k in range(1, count + 1)]
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        x.append(float((maps[~masks] >= threshold).mean()))
        y.append(float(np.mean([(region >= threshold).mean() for region in regions])))
    area = 0.0
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit


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
            _aupro_slowly(maps.astype(np.float64), masks, limit), rel=1e-10
        )
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(
        sk.roc_auc_score(masks.ravel(), maps.ravel()), **CLOSE
    )


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
def test_wilson_interval_equals_scipy(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(hits, n) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)
    with pytest.raises(ValueError):
        metrics.wilson_interval(n + 1, n)
