"""Features of the good images, kept while ReDi learns to recover them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..features.scale import CACHE_BYTES, FeatureScale, Moments, join
from .base import TrainingSet
from .redi_prompts import PromptBank, describe


@dataclass(eq=False)
class GoodFeatures:
    """F_X and H of the training images, and prompts for them: computed once.

    Where they do not fit into ``CACHE_BYTES``, as float16, they are computed in each step.

    Args:
        values: of F_X and H of one image.
        backbone: images [N, 3, H, W] to levels, whose moments ``scale`` takes.
        map_of: images to H.
        gather: F_X of an image that serves as a prompt to what the network takes.
    """

    data: TrainingSet
    values: int
    backbone: Callable[[Tensor], list[Tensor]]
    scale: FeatureScale
    bank: PromptBank
    map_of: Callable[[Tensor], Tensor]
    gather: Callable[[list[Tensor]], list[Tensor]]

    def __post_init__(self) -> None:
        self.fits = 2 * self.values * len(self.data) <= CACHE_BYTES
        self.levels: list[Tensor] = []  # F_X, float16
        self.kept_maps = torch.empty(0)
        self.similarity = torch.empty(0)  # to the bank, without the image itself

    @torch.no_grad()
    def prepare(self) -> None:
        """Features of every training image: descriptors, H, channel moments; fills the bank."""
        if len(self.similarity):
            return
        rows, maps, kept, moments = [], [], [], Moments()
        for part in self.data.chunks("features of the good images"):
            image = self.data[part]
            levels = self.backbone(image)
            moments.add(levels)
            rows.append(describe(levels))
            if self.fits:
                kept.append([x.half() for x in levels])
                maps.append(self.map_of(image).half())
        self.scale.set_moments(moments.result())
        if self.fits:
            ready = [[x.half() for x in self.scale.target([y.float() for y in k])] for k in kept]
            self.levels, self.kept_maps = join(ready), torch.cat(maps)
        descriptors = torch.cat(rows)
        self.bank.fill(descriptors, lambda chosen: self.gather(self(chosen)))
        self.similarity = self.bank.without_itself(descriptors)

    @torch.no_grad()
    def __call__(self, indices: Tensor) -> list[Tensor]:
        """F_X of the images."""
        if self.fits:
            return [level[indices].float() for level in self.levels]
        return self.scale.target(self.backbone(self.data[indices]))

    @torch.no_grad()
    def maps(self, indices: Tensor) -> Tensor:
        """H of the images, float32."""
        return self.kept_maps[indices].float() if self.fits else self.map_of(self.data[indices])

    @torch.no_grad()
    def prompts(self, indices: Tensor) -> list[Tensor]:
        """As an inference has them, but never the image itself: [P] in training too."""
        return self.bank.blend(self.similarity[indices])
