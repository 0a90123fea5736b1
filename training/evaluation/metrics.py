"""Figures of merit: every threshold counts, ties are counted as ties. No torch.

Scores rise with anomaly; labels and masks are True where something is wrong. A figure that has no
meaning (one class only, no mask) is None. Image figures are scikit-learn's. Pixel figures are ours:
AUPRO is not in a library that is kept, and the one sort it needs gives the pixels' AUROC as well.
All raise ValueError for shapes that differ, NaN and infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

LIMITS = {"aupro": 0.3, "aupro_0_05": 0.05}
"""Of false positives, for AUPRO: that of the first papers, and that of later ones, whose defects
are small beside their frames."""
PIXEL_KEYS = ("pixel_auroc", *LIMITS)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the ROC curve: P(defect's score > good one's) + P(equal) / 2.

    Args:
        scores: [n] finite floats
        labels: [n] bool, True = defect
    """
    values, positive = _checked(scores, labels)
    return float(sk.roc_auc_score(positive, values)) if _two_classes(positive) else None


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Sum over thresholds of (recall step) x precision, without interpolation; see `auroc`."""
    values, positive = _checked(scores, labels)
    return float(sk.average_precision_score(positive, values)) if _two_classes(positive) else None


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds; see `auroc`."""
    values, positive = _checked(scores, labels)
    if not _two_classes(positive):
        return None
    precision, recall, _ = sk.precision_recall_curve(positive, values)
    either = np.maximum(precision + recall, np.finfo(float).tiny)  # both are 0 where TP is
    return float((2 * precision * recall / either).max())


def roc_curve(
    scores: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false-positive, true-positive) rates from (0, 0) to (1, 1), the corners of the curve only.

    Raises: ValueError where there is one class only.
    """
    values, positive = _checked(scores, labels)
    if not _two_classes(positive):
        raise ValueError("a ROC curve needs good and defective samples")
    false, true, _ = sk.roc_curve(positive, values)
    return false, true


def pixel_figures(maps: ArrayLike, masks: ArrayLike) -> dict[str, float | None]:
    """``PIXEL_KEYS``, with one sort of the good pixels for all of them.

    Args:
        maps: [N, h, w] float32
        masks: [N, h, w] bool
    """
    found = _ranks(maps, masks)
    if found is None:
        return dict.fromkeys(PIXEL_KEYS)
    shares = _region_shares(np.asarray(masks, dtype=bool))
    overlaps = {key: _overlap(found, shares, limit) for key, limit in LIMITS.items()}
    return {"pixel_auroc": _wins(found), **overlaps}


def pixel_auroc(maps: ArrayLike, masks: ArrayLike) -> float | None:
    """AUROC over all pixels of all maps, from ranks of whole numbers.

    Args:
        maps: float32 of any shape
        masks: bool of the same shape, at map resolution
    Source: Mann & Whitney 1947. scikit-learn's roc_auc_score gives the same, but for 80 maps of
        256 x 256 in 70 times as long.
    """
    found = _ranks(maps, masks)
    return None if found is None else _wins(found)


def aupro(maps: ArrayLike, masks: ArrayLike, limit: float = LIMITS["aupro"]) -> float | None:
    """Area under the per-region-overlap curve up to a false-positive rate, divided by that limit.

    PRO(t) = mean over regions of (region's pixels >= t) / (region's pixels), drawn over
    FPR(t) = (good pixels >= t) / (good pixels) with straight lines between distinct thresholds.

    Each defect pixel of score s adds its share, 1 / (regions x region's size), along the piece of
    the curve from FPR a (good pixels > s) to FPR b (good pixels >= s), so its part of the area
    below the limit L has a closed form: L - (a + b) / 2 where b <= L, (L - a)^2 / (2 (b - a))
    where a < L < b, else 0. One sort of the good pixels gives every a and b: no threshold grid.

    Args:
        maps: [N, h, w] float32
        masks: [N, h, w] bool; regions are 8-connected components of a mask
        limit: in (0, 1]
    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.
    """
    if not 0.0 < limit <= 1.0:
        raise ValueError(f"limit is {limit}; expected 0 < limit <= 1")
    found = _ranks(maps, masks)
    if found is None:
        return None
    return _overlap(found, _region_shares(np.asarray(masks, dtype=bool)), limit)


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Nearest neighbour, half-pixel centres: [H, W] bool -> [h, w] bool at size (h, w)."""
    (height, width), (rows, columns) = mask.shape, size
    y = (2 * np.arange(rows) + 1) * height // (2 * rows)
    x = (2 * np.arange(columns) + 1) * width // (2 * columns)
    return np.ascontiguousarray(mask[y[:, None], x[None, :]])


def _checked(
    scores: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Both as flat arrays; float32 and float64 stay as they are, anything else becomes float64."""
    values, positive = np.asarray(scores), np.asarray(labels)
    if values.shape != positive.shape:
        raise ValueError(
            f"scores are {values.shape} and labels {positive.shape}; expected the same"
        )
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity; expected finite numbers")
    return values.ravel(), positive.astype(bool, copy=False).ravel()


def _two_classes(positive: NDArray[np.bool_]) -> bool:
    return 0 < int(np.count_nonzero(positive)) < positive.size


class _Ranks(NamedTuple):
    """Of each defect pixel, how many of ``good`` good pixels lie below it and not above it."""

    good: int
    below: NDArray[np.int64]
    not_above: NDArray[np.int64]


def _ranks(maps: ArrayLike, masks: ArrayLike) -> _Ranks | None:
    """None with one class only."""
    values, positive = _checked(maps, masks)
    if not _two_classes(positive):
        return None
    good, defect = np.sort(values[~positive]), values[positive]
    # Sorted needles walk through `good` in order: an order of magnitude fewer cache misses.
    order = np.argsort(defect)
    below, not_above = np.empty(defect.size, np.int64), np.empty(defect.size, np.int64)
    needles = defect[order]
    below[order] = np.searchsorted(good, needles, side="left")
    not_above[order] = np.searchsorted(good, needles, side="right")
    return _Ranks(good.size, below, not_above)


def _wins(found: _Ranks) -> float:
    wins_twice = int(found.below.sum()) + int(found.not_above.sum())  # a tie is half a win
    return wins_twice / (2 * found.good * found.below.size)


def _overlap(found: _Ranks, shares: NDArray[np.float64], limit: float) -> float:
    after = (found.good - found.below) / found.good  # b, the share of good pixels >= s
    before = (found.good - found.not_above) / found.good  # a, the share of good pixels > s
    width = np.where(after > before, after - before, 1.0)
    cut = np.maximum(limit - before, 0.0) ** 2 / (2.0 * width)
    area = np.where(after <= limit, limit - (before + after) / 2.0, cut)
    return float((area * shares).sum() / limit)


def _region_shares(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 / (regions in all x pixels of its region) for each defect pixel, in order of the masks."""
    shares: list[NDArray[np.float64]] = []
    regions = 0
    planes: Sequence[NDArray[np.bool_]] = masks.reshape(-1, *masks.shape[-2:])
    for mask in planes:
        if not mask.any():
            continue
        count, region_of = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += count - 1
        inside = region_of[mask]
        shares.append(1.0 / np.bincount(inside, minlength=count)[inside])
    return np.concatenate(shares) / regions
