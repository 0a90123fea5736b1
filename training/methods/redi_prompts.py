"""ReDi's prompts, and what is kept of the good images while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..features.scale import CACHE_BYTES, FeatureScale, Moments, join
from .base import TrainingSet

NEIGHBOURS = 5  # [P] a prompt in training is one of the 5 nearest other images ...
RANDOM_SHARE = 0.2  # [P] ... or, in this share of draws, any image
_ROWS = 1024  # of similarities at once: those of all images to all would be the square of them


def describe(levels: list[Tensor], grid: int = 4) -> Tensor:
    """The deepest level [N, C, h, w], averaged over grid x grid cells: [N, C * cells] float32."""
    deepest = levels[-1].float()
    kernel = tuple(max(1, int(side) // grid) for side in deepest.shape[-2:])
    return F.avg_pool2d(deepest, kernel).flatten(1)


def coreset(descriptors: Tensor, count: int) -> Tensor:
    """A ``k_centre`` choice of ``count`` rows of [N, D]: int64 indices, the most central first."""
    first = int((descriptors - descriptors.mean(0)).square().sum(1).argmin())
    return k_centre(descriptors.T, first, count)


def k_centre(points: Tensor, first: int, count: int) -> Tensor:
    """Greedy choice of ``count`` columns of [C, N], from ``first`` on: int64 indices.

    Source: Sener and Savarese, Active learning for convolutional neural networks (2018).
    """
    chosen = [first]
    distance = (points - points[:, first : first + 1]).square().sum(0)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[:, chosen[-1:]]).square().sum(0))
    return torch.tensor(chosen)


def nearest_others(directions: Tensor, count: int) -> Tensor:
    """For each of directions [N, D], of length 1, the ``count`` most similar others: [N, count].

    int64 indices, the most similar first; of a single one, itself.
    """
    found = []
    for first, part in enumerate(directions.split(_ROWS)):
        similarity = part @ directions.T
        if len(directions) > 1:
            rows = torch.arange(len(part), device=part.device)
            similarity[rows, first * _ROWS + rows] = -2
        found.append(similarity.topk(min(count, max(1, len(directions) - 1))).indices)
    return torch.cat(found)


class PromptBank(nn.Module):
    """Good images inside the graph, or their features: the levels of X to the prompt.

    Similarity is the cosine of centred descriptors. The two most similar images are blended by
    exp(similarity / ``TEMPERATURE``), so that nothing jumps at a near tie, which rounding decides.

    Args:
        count: of the images.
        deepest: (channels, height, width) of the last level.
        kept: the shape of each tensor that is kept of an image, by its name.
    """

    keys: Tensor
    centre: Tensor

    TEMPERATURE = 0.02  # [P]

    def __init__(
        self, count: int, deepest: tuple[int, int, int], kept: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        with torch.no_grad():
            width = describe([torch.zeros(1, *deepest)]).shape[1]
        self.names = tuple(kept)
        for name, shape in kept.items():
            self.register_buffer(name, torch.zeros(count, *shape))
        self.register_buffer("keys", torch.zeros(count, width))
        self.register_buffer("centre", torch.zeros(width))

    def __len__(self) -> int:
        return len(self.keys)

    def kept(self) -> list[Tensor]:
        """What is kept of the images, each [M, ...]."""
        return [self.get_buffer(name) for name in self.names]

    def fill(self, descriptors: Tensor, kept_of: Callable[[Tensor], Sequence[Tensor]]) -> None:
        """Keep a coreset of the images that [N, D] describe.

        kept_of: the indices of the chosen ones to what is to be kept of them.
        """
        self.centre.copy_(descriptors.mean(0))
        centred = F.normalize(descriptors - self.centre, dim=1)
        chosen = coreset(centred, len(self))
        for buffer, values in zip(self.kept(), kept_of(chosen), strict=True):
            buffer.copy_(values)
        self.keys.copy_(centred[chosen])

    def similarity(self, descriptors: Tensor) -> Tensor:
        """Cosine of [N, D] to every image kept: [N, M]. Never in half: near ties would turn.

        A convolution, because TensorRT-RTX has no float32 matrix product for Turing.
        """
        centred = F.normalize(descriptors - self.centre.float(), dim=1)
        keys = self.keys.float()
        return F.conv2d(centred[:, :, None, None], keys[:, :, None, None]).flatten(1)

    def blend(self, similarity: Tensor, rank: int = 0) -> list[Tensor]:
        """The prompt from similarities [N, M]: images ``rank`` and ``rank + 1`` of the order."""
        kept = self.kept()
        if len(self) < 2:
            return [values[similarity.argmax(dim=1)] for values in kept]
        count = min(rank + 2, len(self))
        best, rows, order = [], [], torch.arange(len(self), device=similarity.device)
        for _ in range(count):  # two in the graph, which has no TopK then
            row = similarity.argmax(dim=1, keepdim=True)
            best.append(similarity.amax(dim=1, keepdim=True))
            rows.append(row[:, 0])
            similarity = similarity.masked_fill(order == row, -4.0)  # below every cosine
        weight = torch.softmax(torch.cat(best[-2:], dim=1) / self.TEMPERATURE, dim=1)
        share, blended = weight[:, :1, None, None].to(kept[0].dtype), []
        for values in kept:
            first, second = (values[row] for row in rows[-2:])
            blended.append(first * share + second * (1 - share))
        return blended

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return self.blend(self.similarity(describe(levels)))

    def without_itself(self, descriptors: Tensor) -> Tensor:
        """``similarity`` in which no image is its own prompt, unless it is the only one."""
        similarity = self.similarity(descriptors)
        if len(self) < 2:
            return similarity
        return similarity.masked_fill(similarity > 1 - 1e-5, -2)


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
        self.bank.fill(self.descriptors, lambda chosen: [self.data.images[chosen]])
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
        self.similarity = bank.without_itself(self.descriptors)
        self.variants = max(1, min(self.variants, len(bank) - 1))
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
        (prompt,) = self.bank.blend(self.similarity[indices], variant)
        return self.backbone(self.recover(self.maps(indices), prompt))
