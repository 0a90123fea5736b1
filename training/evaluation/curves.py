"""Pixel figures from counts by image, which need no pixels held and give any resample. No torch.

The frames of a test set have ten to a hundred times the pixels of its maps. So pixels are not kept:
they are sorted into BINS by score, and counted by image and bin. From the counts follow the figures
of all images, of those of one kind of defect, and of each of thousands of resamples.

A bin holds pixels whose share of all pixels that score at least as high lies in one range; the
ranges are finest at the top, where a limit on false positives cuts. Within a bin the curves are
straight lines, as within a tie: a figure is off by half the sum over bins of the two rates' steps
at most, divided by its limit (``Curves.most_off``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .metrics import LIMITS, PIXEL_KEYS

BINS = 2048
CELLS = 1 << 20  # of equal width, from the least score to the largest: bins end where cells do
_ROWS = 256  # of weights at once

Image = tuple[NDArray[np.float32], NDArray[np.bool_] | None]
"""Scores [H, W], and where it is defective, [H, W]; None: nowhere."""


@dataclass(frozen=True)
class Curves:
    """Pixels counted by image and by bin, the bin of the highest scores first.

    Args:
        good: [images, BINS] float32, good pixels; whole numbers.
        defective: [images, BINS] float32, defective pixels; whole numbers.
        shares: [images, BINS] float32, 1 / (pixels of its region) of each defective pixel.
        regions: [images] int64, 8-connected regions.
    """

    good: NDArray[np.float32]
    defective: NDArray[np.float32]
    shares: NDArray[np.float32]
    regions: NDArray[np.int64]

    @classmethod
    def of(cls, images: Callable[[], Iterable[Image]]) -> Curves:
        """Count; ``images`` is called twice and gives the same images."""
        bins = _Bins.of(lambda: (values for values, _ in images()))
        rows = [_counted(bins(values), mask) for values, mask in images()]
        good, defective, shares, regions = zip(*rows, strict=True)
        return cls(np.stack(good), np.stack(defective), np.stack(shares), np.array(regions))

    def by_part(self, part_of: NDArray[np.int64], parts: int) -> Curves:
        """The counts of the images of each part together; ``part_of``: [images] in 0 … parts."""
        joined = Curves(
            *(np.zeros((parts, BINS), np.float32) for _ in range(3)), np.zeros(parts, np.int64)
        )
        for image, part in enumerate(part_of):
            joined.good[part] += self.good[image]
            joined.defective[part] += self.defective[image]
            joined.shares[part] += self.shares[image]
            joined.regions[part] += self.regions[image]
        return joined

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """PIXEL_KEYS of each row of weights, NaN where a figure has no meaning.

        Args:
            weights: [rows, images] float64, how often each image counts.

        Source: of AUPRO as ``metrics.aupro``.
        """
        used = self.good.any(0) | self.defective.any(0)  # of few pixels most bins are empty
        counts = [each[:, used] for each in (self.good, self.defective, self.shares)]
        parts = [
            self._figures(weights[at : at + _ROWS], counts) for at in range(0, len(weights), _ROWS)
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in PIXEL_KEYS}

    def _figures(
        self, weights: NDArray[np.float64], counts: list[NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float64]]:
        regions = weights @ self.regions
        with np.errstate(divide="ignore", invalid="ignore"):
            false, true, overlap = (_rising(weights @ each) for each in counts)
            false /= false[:, -1:]
            true /= true[:, -1:]
            overlap /= regions[:, None]  # of no region all are NaN, as AUROC is with one class
            found = {"pixel_auroc": _area(false, true, 1.0)}
            found |= {key: _area(false, overlap, limit) for key, limit in LIMITS.items()}
        return found

    def most_off(self) -> dict[str, float]:
        """How much the figures of all images may be off at most, since bins count as ties."""
        false, true, overlap = (
            _rising(counts.sum(0, dtype=np.float64)[None])[0]
            for counts in (self.good, self.defective, self.shares)
        )
        steps = np.diff(false / false[-1])
        found = {"pixel_auroc": float(steps @ np.diff(true / true[-1])) / 2}
        for key, limit in LIMITS.items():
            inside = (false / false[-1])[:-1] < limit
            steep = np.diff(overlap / self.regions.sum())
            found[key] = float(steps[inside] @ steep[inside]) / 2 / limit
        return found


@dataclass(frozen=True)
class _Bins:
    """Scores to bins: a cell of equal width each, and for each cell its bin."""

    low: np.float32
    scale: np.float32  # cells per unit of score
    bin_of: NDArray[np.int16]  # [CELLS + 1]

    @classmethod
    def of(cls, images: Callable[[], Iterable[NDArray[np.float32]]]) -> _Bins:
        ends = [(values.min(), values.max()) for values in images()]
        low, high = min(least for least, _ in ends), max(largest for _, largest in ends)
        # of what is wider than float32 tells apart, all in one cell
        scale = np.float32(CELLS / (np.float64(high) - low)) if high > low else np.float32(0)
        cells = cls(np.float32(low), scale, np.zeros(CELLS + 1, np.int16))
        counts = np.zeros(CELLS + 1, np.int64)
        for values in images():
            counts += np.bincount(cells.cells(values).ravel(), minlength=CELLS + 1)
        above = counts[::-1].cumsum()[::-1] - counts  # pixels that score higher than the cell
        rank = np.sqrt(above / counts.sum())  # in [0, 1): bins are finest at the top
        return cls(cells.low, scale, (rank * BINS).astype(np.int16))

    def cells(self, values: NDArray[np.float32]) -> NDArray[np.int32]:
        """The cell of each score."""
        found = ((values - self.low) * self.scale).astype(np.int32)
        return np.clip(found, 0, CELLS, out=found)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.int16]:
        return self.bin_of[self.cells(values)]


def _counted(
    bins: NDArray[np.int16], mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], int]:
    """Good and defective pixels by bin, shares of regions by bin, and regions, of one image."""
    every = np.bincount(bins.ravel(), minlength=BINS)
    nothing = np.zeros(BINS, np.float32)
    if mask is None or not mask.any():
        return every.astype(np.float32), nothing, nothing, 0
    count, region_of = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    inside, region = bins[mask], region_of[mask]
    defective = np.bincount(inside, minlength=BINS)
    shares = np.bincount(inside, 1.0 / np.bincount(region, minlength=count)[region], BINS)
    good = (every - defective).astype(np.float32)
    return good, defective.astype(np.float32), shares.astype(np.float32), count - 1


def _rising(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the first 0, 1, … bins: [rows, BINS + 1]."""
    return np.concatenate([np.zeros((len(counts), 1)), counts.cumsum(1)], axis=1)


def _area(
    across: NDArray[np.float64], up: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Area under curves [rows, points], straight lines, from 0 to the limit, divided by it."""
    x0, x1, y0, y1 = across[:, :-1], across[:, 1:], up[:, :-1], up[:, 1:]
    width = np.clip(np.minimum(x1, limit) - x0, 0.0, None)
    part = np.divide(width, x1 - x0, out=np.ones_like(width), where=x1 > x0)
    return np.asarray((width * (y0 + part * (y1 - y0) / 2)).sum(1) / limit)
