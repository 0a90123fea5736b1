"""What ReDi keeps of the good images: the prompt bank inside the graph, features for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import TrainingSet

if TYPE_CHECKING:
    from .redi import ReDi

NEIGHBOURS = 5  # [P] a prompt in training is one of the 5 nearest other images ...
RANDOM_SHARE = 0.2  # [P] ... or, in this share of draws, any image
CACHE_BYTES = 4 << 30  # features beyond this are computed anew in each step
_CHUNK = 16


def describe(levels: list[Tensor], grid: int = 4) -> Tensor:
    """Descriptor of an image for similarity: the deepest level, averaged over grid x grid cells.

    levels[-1] [N, C, h, w] -> [N, C * cells] float32, not normalised.
    """
    deepest = levels[-1].float()
    kernel = tuple(max(1, int(side) // grid) for side in deepest.shape[-2:])
    return F.avg_pool2d(deepest, kernel).flatten(1)


def coreset(descriptors: Tensor, count: int) -> Tensor:
    """Greedy k-centre choice of ``count`` rows of [N, D]: int64 indices, the most central first.

    Source: Sener and Savarese, Active learning for convolutional neural networks (2018).
    """
    chosen = [int((descriptors - descriptors.mean(0)).square().sum(1).argmin())]
    distance = (descriptors - descriptors[chosen[0]]).square().sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (descriptors - descriptors[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)


class PromptBank(nn.Module):
    """Good images inside the graph: the levels of an image to the most similar image kept.

    levels of X -> prompt [N, 3, H, W], normalised. Nearest by the cosine of centred descriptors.
    """

    images: Tensor
    keys: Tensor
    centre: Tensor

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        super().__init__()
        with torch.no_grad():
            blank = [torch.zeros(1, 112, size[0] // 16, size[1] // 16)]
            width = describe(blank).shape[1]
        self.register_buffer("images", torch.zeros(count, 3, *size))
        self.register_buffer("keys", torch.zeros(count, width))
        self.register_buffer("centre", torch.zeros(width))

    def fill(self, images: Tensor, descriptors: Tensor) -> None:
        """Keep a coreset of images [N, 3, H, W] by their descriptors [N, D]."""
        self.centre.copy_(descriptors.mean(0))
        centred = F.normalize(descriptors - self.centre, dim=1)
        chosen = coreset(centred, len(self.images))
        self.images.copy_(images[chosen])
        self.keys.copy_(centred[chosen])

    def similarity(self, descriptors: Tensor) -> Tensor:
        """Cosine of [N, D] to every image kept: [N, M]. Never in half: near ties would flip."""
        centred = F.normalize(descriptors - self.centre.float(), dim=1)
        return centred @ self.keys.float().T

    def forward(self, levels: list[Tensor]) -> Tensor:
        return self.images[self.similarity(describe(levels)).argmax(dim=1)]


class FeatureCache:
    """Frozen features of the training images, computed once.

    Stage one needs descriptors (prompts by similarity); stage two needs F_X and the features of Y
    for a few prompts per image, which no longer change: they are kept as float16 where they fit
    into ``CACHE_BYTES``, else computed in each step.
    """

    def __init__(self, method: ReDi, data: TrainingSet, variants: int) -> None:
        self.method, self.data = method, data
        self.variants = variants if method.config.prompt else 1
        self.descriptors = torch.empty(0)
        self.maps = torch.empty(0)  # H of every image
        self.neighbours = torch.empty(0, 0, dtype=torch.int64)
        self.reference: list[Tensor] = []
        self.recovered: list[list[Tensor]] = []  # [variant][level]
        self.prompts = torch.empty(0)

    def describe(self, bank: PromptBank) -> None:
        """Descriptors and nearest neighbours of every training image; fills the bank."""
        if len(self.descriptors):
            return
        rows, maps = [], []
        with torch.no_grad():
            for part in self._chunks("features of the good images"):
                rows.append(describe(self.method.backbone(self.data.images[part])))
                maps.append(self.method.map_of(self.data.images[part]))
        self.descriptors, self.maps = torch.cat(rows), torch.cat(maps)
        bank.fill(self.data.images, self.descriptors)
        centred = F.normalize(self.descriptors - bank.centre, dim=1)
        similarity = centred @ centred.T
        if len(self.data) > 1:
            similarity.fill_diagonal_(-2)  # another image, never itself
        self.neighbours = similarity.topk(min(NEIGHBOURS, max(1, len(self.data) - 1))).indices

    def training_prompts(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One prompt index for each image index: a near neighbour, sometimes any image."""
        column = torch.randint(self.neighbours.shape[1], indices.shape, generator=generator)
        near = self.neighbours[indices, column]
        anyone = torch.randint(len(self.data), indices.shape, generator=generator)
        pick = torch.rand(indices.shape, generator=generator) < RANDOM_SHARE
        return torch.where(pick, anyone, near)

    def recover(self, bank: PromptBank) -> None:
        """Draw the prompts of stage two, and compute its features once where they fit."""
        self.describe(bank)
        self.prompts = self._bank_prompts(bank)
        self.method.recover.eval()
        per_image = sum(2 * p.channels * p.size[0] * p.size[1] for p in self.method.pairs())
        if (1 + self.variants) * per_image * len(self.data) > CACHE_BYTES:
            return
        reference, recovered = [], []
        with torch.no_grad():
            for part in self._chunks("features of the recovered images"):
                reference.append([x.half() for x in self._reference(part)])
                recovered.append(
                    [
                        [y.half() for y in self._recovered(part, self.prompts[part, v])]
                        for v in range(self.variants)
                    ]
                )
        self.reference = [torch.cat(level) for level in zip(*reference, strict=True)]
        self.recovered = [
            [torch.cat(level) for level in zip(*variant, strict=True)]
            for variant in zip(*recovered, strict=True)
        ]

    def features(
        self, indices: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(F_X, backbone(Y)) of the images, Y under one of its prompts: lists over levels."""
        variant = int(torch.randint(self.variants, (1,), generator=generator))
        if self.reference:
            reference = [level[indices].float() for level in self.reference]
            return reference, [level[indices].float() for level in self.recovered[variant]]
        with torch.no_grad():
            return self._reference(indices), self._recovered(
                indices, self.prompts[indices, variant]
            )

    def _bank_prompts(self, bank: PromptBank) -> Tensor:
        """[N, variants, 3, H, W] would be large: rows of the bank instead, int64 [N, variants].

        Like at inference the prompt comes from the bank, but never the image itself, and its first
        few choices are all used, so that the block learns from imperfect prompts too.
        """
        similarity = bank.similarity(self.descriptors)
        if len(bank.images) > 1:
            similarity = similarity.masked_fill(similarity > 1 - 1e-5, -2)
        self.variants = min(self.variants, len(bank.images))
        return similarity.topk(self.variants, dim=1).indices

    def _reference(self, indices: Tensor) -> list[Tensor]:
        return self.method.backbone(self.data.images[indices])

    def _recovered(self, indices: Tensor, rows: Tensor) -> list[Tensor]:
        prompt = self.method.bank.images[rows]
        return self.method.backbone(self.method.recover_image(self.maps[indices], prompt))

    def _chunks(self, title: str) -> Iterator[Tensor]:
        return self.data.progress(torch.arange(len(self.data)).split(_CHUNK), title)
