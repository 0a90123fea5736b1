"""Masks that say nothing about where a defect is, counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BORDER_SHARE = 0.9
"""Of an inverted mask, the share of the image's border that is marked: the background of parts."""


class MaskCensus:
    """Counts the masks of defective images that are empty, full, or look inverted."""

    def __init__(self) -> None:
        self.empty = self.full = self.inverted = 0

    def add(self, mask: NDArray[np.bool_]) -> None:
        """Look at the mask of one defective image, [H, W] bool."""
        border: NDArray[Any] = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        self.empty += not mask.any()
        self.full += bool(mask.all())
        most = bool(mask.mean() > 0.5 and border.mean() >= BORDER_SHARE)
        self.inverted += most and not mask.all()

    def notes(self) -> list[str]:
        """A sentence for each kind that was found."""
        found = []
        if self.empty:
            found.append(
                f"Masks of defective images that mark no pixel: {self.empty}; in the pixel figures "
                "these images count as good."
            )
        if self.full:
            found.append(
                f"Masks that mark the whole image: {self.full}; they say nothing about where the "
                "defect is."
            )
        if self.inverted:
            found.append(
                f"Masks that mark most of the image, its border too: {self.inverted}; they look "
                "inverted. Expected: 0 for good pixels, anything else for the defect."
            )
        return found
