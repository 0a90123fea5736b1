"""ReDi's prompts: the bank of good images inside the graph, and the images most alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..features.backbone import CHANNELS, STRIDES
from ..features.memory import k_centre

_ROWS = 1024  # of similarities at once: those of all images to all would be the square of them


def describe(levels: list[Tensor], grid: int = 4) -> Tensor:
    """Descriptor of an image for similarity: the deepest level, averaged over grid x grid cells.

    levels[-1] [N, C, h, w] -> [N, C * cells] float32, not normalised.
    """
    deepest = levels[-1].float()
    kernel = tuple(max(1, int(side) // grid) for side in deepest.shape[-2:])
    return F.avg_pool2d(deepest, kernel).flatten(1)


def coreset(descriptors: Tensor, count: int) -> Tensor:
    """A ``k_centre`` choice of ``count`` rows of [N, D]: int64 indices, the most central first."""
    first = int((descriptors - descriptors.mean(0)).square().sum(1).argmin())
    return k_centre(descriptors.T, first, count)


def nearest_others(directions: Tensor, count: int) -> Tensor:
    """For each of directions [N, D], of length 1, the ``count`` most similar others: [N, count].

    int64 indices, the most similar first, never its own; of a single one, itself.
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
    """Good images inside the graph: the levels of an image to the most similar image kept.

    levels of X -> prompt [N, 3, H, W], normalised. Similarity is the cosine of centred descriptors.
    The two most similar images are blended, exp(similarity / ``TEMPERATURE``) being their weights:
    one clear winner is taken as it is, and at a near tie, which rounding decides, nothing jumps.
    """

    images: Tensor
    keys: Tensor
    centre: Tensor

    TEMPERATURE = 0.02  # [P]

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        super().__init__()
        with torch.no_grad():
            blank = [torch.zeros(1, CHANNELS[-1], size[0] // STRIDES[-1], size[1] // STRIDES[-1])]
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
        """Cosine of [N, D] to every image kept: [N, M]. Never in half: near ties would turn.

        A convolution, because TensorRT-RTX has no float32 matrix product for Turing.
        """
        centred = F.normalize(descriptors - self.centre.float(), dim=1)
        keys = self.keys.float()
        return F.conv2d(centred[:, :, None, None], keys[:, :, None, None]).flatten(1)

    def blend(self, similarity: Tensor, rank: int = 0) -> Tensor:
        """The prompt from similarities [N, M]: images ``rank`` and ``rank + 1`` of the order."""
        if len(self.images) < 2:
            return self.images[similarity.argmax(dim=1)]
        count = min(rank + 2, len(self.images))
        best, rows = similarity.topk(count, dim=1)
        weight = torch.softmax(best[:, -2:] / self.TEMPERATURE, dim=1).to(self.images.dtype)
        first, second = (self.images[rows[:, column]] for column in (count - 2, count - 1))
        share = weight[:, :1, None, None]
        return first * share + second * (1 - share)

    def forward(self, levels: list[Tensor]) -> Tensor:
        return self.blend(self.similarity(describe(levels)))
