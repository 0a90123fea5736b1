"""Frozen features of the good images, kept while ReDi trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..features.scale import CACHE_BYTES, FeatureScale, Moments, join
from .base import TrainingSet
from .redi_prompts import PromptBank, describe, nearest_others

NEIGHBOURS = 5  # [P] a prompt in training is one of the 5 nearest other images ...
RANDOM_SHARE = 0.2  # [P] ... or, in this share of draws, any image


@dataclass(eq=False)
class FeatureCache:
    """Frozen features of the training images, computed once.

    Stage one needs descriptors (prompts by similarity) and maps; stage two needs the features of X
    and of Y for a few prompts per image, which no longer change: they are kept as float16. Where
    the maps, or the maps and the features, do not fit into ``CACHE_BYTES``, they are computed in
    each step.

    Args:
        variants: prompts per image.
        values: of the features of one image.
        backbone: images [N, 3, H, W] to levels, whose moments ``scale`` takes.
        map_of: images to H.
        recover: (H, prompt) to Y [N, 3, H, W].
    """

    data: TrainingSet
    variants: int
    values: int
    backbone: Callable[[Tensor], list[Tensor]]
    scale: FeatureScale
    bank: PromptBank
    map_of: Callable[[Tensor], Tensor]
    recover: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        count = len(self.data)
        with torch.no_grad():
            maps = 4 * self.map_of(self.data[torch.arange(1)]).numel() * count
        self.keeps_maps = maps <= CACHE_BYTES
        self.fits = maps + (1 + self.variants) * 2 * self.values * count <= CACHE_BYTES
        self.descriptors = torch.empty(0)
        self.kept_maps = torch.empty(0)  # H of every image
        self.neighbours = torch.empty(0, 0, dtype=torch.int64)
        self.similarity = torch.empty(0)  # to the bank, without the image itself
        self.reference: list[Tensor] = []
        self.recovered: list[list[Tensor]] = []  # [variant][level]

    @torch.no_grad()
    def describe(self) -> None:
        """Features of every training image: descriptors, maps, channel moments; fills the bank."""
        if len(self.descriptors):
            return
        rows, maps, kept, moments = [], [], [], Moments()
        for part in self.data.chunks("features of the good images"):
            image = self.data[part]
            levels = self.backbone(image)
            moments.add(levels)
            rows.append(describe(levels))
            if self.keeps_maps:
                maps.append(self.map_of(image))
            if self.fits:
                kept.append([x.half() for x in levels])
        self.descriptors = torch.cat(rows)
        if self.keeps_maps:
            self.kept_maps = torch.cat(maps)
        self.reference = join(kept)
        self.scale.set_moments(moments.result())
        self.bank.fill(self.data.images, self.descriptors)
        centred = F.normalize(self.descriptors - self.bank.centre, dim=1)
        self.neighbours = nearest_others(centred, NEIGHBOURS).cpu()  # as the draws among them

    @torch.no_grad()
    def maps(self, indices: Tensor) -> Tensor:
        """H of the images."""
        return self.kept_maps[indices] if self.keeps_maps else self.map_of(self.data[indices])

    def training_prompts(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One prompt index for each image index: a near neighbour, sometimes any image."""
        column = torch.randint(self.neighbours.shape[1], indices.shape, generator=generator)
        near = self.neighbours[indices, column]
        anyone = torch.randint(len(self.data), indices.shape, generator=generator)
        pick = torch.rand(indices.shape, generator=generator) < RANDOM_SHARE
        return torch.where(pick, anyone, near)

    @torch.no_grad()
    def recover_all(self) -> None:
        """Features of the recovered images, computed once where they fit.

        Like at inference the prompt comes from the bank, but never the image itself, and after the
        first choice the next ones are used too, so that the block learns from imperfect prompts.
        """
        if len(self.similarity):
            return
        self.describe()
        bank = self.bank
        similarity = bank.similarity(self.descriptors)
        if len(bank.images) > 1:
            similarity = similarity.masked_fill(similarity > 1 - 1e-5, -2)
        self.similarity = similarity
        self.variants = max(1, min(self.variants, len(bank.images) - 1))
        if not self.fits:
            return
        parts = []
        for part in self.data.chunks("features of the recovered images"):
            every = [self._recovered(part, variant) for variant in range(self.variants)]
            parts.append([[y.half() for y in levels] for levels in every])
        self.recovered = [join(list(variant)) for variant in zip(*parts, strict=True)]

    @torch.no_grad()
    def features(self, indices: Tensor, variant: int) -> tuple[list[Tensor], list[Tensor]]:
        """Levels of X and of Y of the images, Y under its prompt number ``variant``."""
        if self.fits:
            reference = [level[indices].float() for level in self.reference]
            return reference, [level[indices].float() for level in self.recovered[variant]]
        return self.backbone(self.data[indices]), self._recovered(indices, variant)

    def _recovered(self, indices: Tensor, variant: int) -> list[Tensor]:
        prompt = self.bank.blend(self.similarity[indices], variant)
        return self.backbone(self.recover(self.maps(indices), prompt))
