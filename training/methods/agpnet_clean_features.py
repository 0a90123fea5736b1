"""F_clean and A_prior of the good images, kept while AGPNet trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..features.scale import CACHE_BYTES, FeatureScale, Moments
from .base import TrainingSet


@dataclass(eq=False)
class CleanFeatures:
    """F_clean and A_prior of the training images: computed once, where they fit in CACHE_BYTES.

    Args:
        data: the training images.
        values: C h w, of one image.
        backbone: images [N, 3, H, W] to levels, whose moments ``scale`` takes.
        describe: images to (F_clean [N, C, h, w] float32, A_prior [N, 1, h, w]), once ``scale``
            has the moments.
    """

    data: TrainingSet
    values: int
    backbone: Callable[[Tensor], list[Tensor]]
    scale: FeatureScale
    describe: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __post_init__(self) -> None:
        self.fits = 2 * self.values * len(self.data) <= CACHE_BYTES
        self.clean = torch.empty(0)  # [N, C, h, w] float16
        self.prior = torch.empty(0)  # [N, 1, h, w]
        self.spread = torch.empty(0)  # [1, C, 1, 1], per channel of F_clean

    @torch.no_grad()
    def prepare(self) -> None:
        """Channel moments of the backbone's levels first, then the features that need them."""
        if len(self.spread):
            return
        levels, clean = Moments(), Moments()
        for part in self.data.chunks("statistics of the good images"):
            levels.add(self.backbone(self.data[part]))
        self.scale.set_moments(levels.result())
        kept, priors = [], []
        for part in self.data.chunks("features of the good images"):
            features, prior = self.describe(self.data[part])
            clean.add([features])
            if self.fits:
                kept.append(features.half())
                priors.append(prior)
        ((_, spread),) = clean.result()
        self.spread = spread.float()[None, :, None, None]
        if self.fits:
            self.clean, self.prior = torch.cat(kept), torch.cat(priors)

    @torch.no_grad()
    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(F_clean [B, C, h, w], A_prior [B, 1, h, w]) of some training images."""
        if len(self.clean):
            return self.clean[indices].float(), self.prior[indices]
        return self.describe(self.data[indices])
