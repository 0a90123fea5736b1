"""Maps and masks of a test set, held until every image is scored, and the figures from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgead.result import Result, at_frame_size

from ..data import Sample
from . import metrics
from .curves import Curves, Image


class Pixels:
    """Maps and masks of the images that tell where defects are; none unless some image has a mask.

    Maps lie in one block at model resolution, with the masks brought there; the masks as they are
    lie beside them, packed, so that frames of any size can be looked at once more.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._used = [s.is_good or s.mask is not None for s in samples]
        if not any(s.mask is not None for s in samples):
            self._used = [False] * len(samples)
        self._maps: NDArray[np.float32] | None = None
        self._masks: NDArray[np.bool_] | None = None
        self._roi: NDArray[np.uint8] | None = None
        self._packed: list[NDArray[np.uint8] | None] = []  # of the images so far; None: no defect
        self._sizes: list[tuple[int, int]] = []
        self._categories: list[str] = []
        self.vanished = 0  # masks with no pixel left at model resolution

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which of the test images are held, by their number."""
        return np.flatnonzero(self._used)

    def add(self, result: Result, mask: NDArray[np.bool_] | None, category: str) -> None:
        """Take the next image; ``mask`` [H, W] at frame size, None for a defect without one."""
        if mask is None or not any(self._used):
            return
        values = result.map
        if self._maps is None or self._masks is None:
            count = sum(self._used)
            self._maps = np.empty((count, *values.shape), np.float32)
            self._masks = np.empty((count, *values.shape), bool)
            self._roi = result.roi
        small = metrics.resize_mask(mask, (values.shape[0], values.shape[1]))
        self.vanished += bool(mask.any() and not small.any())
        row = len(self._sizes)
        self._maps[row], self._masks[row] = values, small
        self._packed.append(np.packbits(mask) if mask.any() else None)
        self._sizes.append((mask.shape[0], mask.shape[1]))
        self._categories.append(category)

    def figures(self, category: str | None = None) -> dict[str, float | None]:
        """``metrics.PIXEL_KEYS`` at model resolution, of one category or of all images."""
        if self._maps is None or self._masks is None:
            return dict.fromkeys(metrics.PIXEL_KEYS)
        maps, masks = self._maps, self._masks
        if category is not None:
            rows = np.array(self._categories) == category
            maps, masks = maps[rows], masks[rows]
        return metrics.pixel_figures(maps, masks)

    def curves(self) -> tuple[Curves, Curves] | None:
        """Counts of the images of ``rows`` at model resolution and at frame size."""
        if self._maps is None or self._masks is None:
            return None
        if all(mask is None for mask in self._packed):
            return None
        maps, masks = self._maps, self._masks
        return Curves.of(lambda: zip(maps, masks, strict=True)), Curves.of(self._frames)

    def _frames(self) -> Iterator[Image]:
        """The heatmap and the mask of each image, as they are at frame size."""
        maps = self._maps if self._maps is not None else ()
        for values, packed, size in zip(maps, self._packed, self._sizes, strict=True):
            heat, mask = at_frame_size(values, self._roi, size), None
            if packed is not None:
                mask = np.unpackbits(packed, count=size[0] * size[1]).astype(bool).reshape(size)
            yield heat, mask
