"""Figures from counts by image and bin, against the exact ones, by hand and under weights."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_training.evaluation import metrics
from edgead_training.evaluation.curves import Curves
from scipy import ndimage
from sklearn import metrics as sk
from slow_figures import aupro_slowly

LIMITS = {"aupro": 0.3, "aupro_0_05": 0.05}


def _set(seed: int, sizes: list[tuple[int, int]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps with a long tail, and masks with several regions; the second image is good."""
    rng = np.random.default_rng(seed)
    masks = [ndimage.gaussian_filter(rng.normal(size=size), 1.5) > 0.25 for size in sizes]
    masks[1][:] = False
    maps = [np.exp(rng.normal(size=m.shape) + 0.7 * m).astype(np.float32) for m in masks]
    return maps, masks


def _curves(maps: list[np.ndarray], masks: list[np.ndarray]) -> Curves:
    return Curves.of(lambda: zip(maps, masks, strict=True))


def _all(curves: Curves) -> dict[str, float]:
    found = curves.figures(np.ones((1, len(curves.regions))))
    return {key: float(values[0]) for key, values in found.items()}


def test_figures_by_hand():
    """The case of test_aupro_by_hand, its second image good but for one pixel, and of other size.

    15 good pixels, falling: 8 5 3 2 1 and ten of 0; regions {9, 4} and {6}.
    """
    maps = [np.array([[9, 1, 5], [2, 4, 3], [0, 0, 0]]), np.array([[6, 8, 0, 0, 0, 0, 0, 0, 0]])]
    masks = [np.zeros((3, 3), bool), np.zeros((1, 9), bool)]
    masks[0][0, 0] = masks[0][1, 1] = masks[1][0, 0] = True
    found = _all(_curves([each.astype(np.float32) for each in maps], masks))
    area = (1 / 4 + 3 / 4) / 15
    assert found["aupro"] == pytest.approx((area + 0.3 - 2 / 15) / 0.3, rel=1e-6)
    assert found["aupro_0_05"] == pytest.approx(1 / 4, rel=1e-6)  # flat from FPR 0 to 1/15
    # defects 9, 6 and 4 win over 15, 14 and 13 of the good pixels
    assert found["pixel_auroc"] == pytest.approx((15 + 14 + 13) / 45, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_several_sizes_give_the_figures_of_every_threshold(seed):
    maps, masks = _set(seed, [(17, 13), (9, 30), (24, 8)])
    curves = _curves(maps, masks)
    found, most = _all(curves), curves.most_off()
    for key, limit in LIMITS.items():
        assert abs(found[key] - aupro_slowly(maps, masks, limit)) <= most[key] + 1e-6
    flat = [np.concatenate([each.ravel() for each in part]) for part in (masks, maps)]
    assert abs(found["pixel_auroc"] - sk.roc_auc_score(*flat)) <= most["pixel_auroc"] + 1e-6
    assert max(most.values()) < 1e-3  # 686 pixels in 2048 bins: next to every one has its own


def test_bins_are_off_by_less_than_they_say_and_that_is_little():
    """400,000 pixels in 2048 bins, so that bins hold many."""
    maps, masks = _set(0, [(200, 250)] * 8)
    curves = _curves(maps, masks)
    found, most = _all(curves), curves.most_off()
    exact = metrics.pixel_figures(np.stack(maps), np.stack(masks))
    for key, value in exact.items():
        assert 0 < abs(found[key] - value) <= most[key] < 1e-3
        assert abs(found[key] - value) < 1e-4  # curves are nearly straight within a bin


def test_a_coarser_bin_shows_in_what_it_says(monkeypatch):
    maps, masks = _set(0, [(60, 60)] * 3)
    monkeypatch.setattr("edgead_training.evaluation.curves.BINS", 8)
    curves = _curves(maps, masks)
    exact = metrics.pixel_figures(np.stack(maps), np.stack(masks))
    assert all(abs(_all(curves)[k] - v) <= curves.most_off()[k] for k, v in exact.items())
    assert curves.most_off()["aupro"] > 0.01


def test_an_image_that_counts_twice_is_like_two_of_it():
    maps, masks = _set(1, [(20, 20)] * 4)
    weights = np.array([[2.0, 1.0, 0.0, 3.0], [0.0, 1.0, 1.0, 0.0]])
    found = _curves(maps, masks).figures(weights)
    for row, counts in enumerate(weights.astype(int)):
        more = [np.repeat(np.stack(part), counts, axis=0) for part in (maps, masks)]
        for key, value in metrics.pixel_figures(*more).items():
            assert found[key][row] == pytest.approx(value, abs=1e-3)


def test_images_of_a_part_count_together():
    maps, masks = _set(2, [(20, 20)] * 4)
    curves = _curves(maps, masks)
    parts = curves.by_part(np.array([1, 0, 1, 0]), 2).figures(np.array([[2.0, 1.0]]))
    images = curves.figures(np.array([[1.0, 2.0, 1.0, 2.0]]))
    for key, values in images.items():
        assert parts[key] == pytest.approx(values, rel=1e-6)


def test_without_defects_or_with_constant_maps():
    blank = np.zeros((5, 5), np.float32)
    mask = np.zeros((5, 5), bool)
    assert all(np.isnan(value) for value in _all(_curves([blank], [mask])).values())
    mask[:2, :2] = True  # a constant map: the curves are the diagonal
    found = _all(_curves([blank, blank], [mask, np.zeros_like(mask)]))
    assert found == pytest.approx({"pixel_auroc": 0.5, "aupro": 0.15, "aupro_0_05": 0.025})
