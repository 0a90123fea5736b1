"""What a method knows of the frozen network that gives it features: the protocol of a backbone.

Nothing outside a backbone's own module names its channels, its strides or its normalisation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Triple = tuple[float, float, float]
Levels = list[Tensor]
FROM_TIMM = "timm, "
"""How ``Origin.weights`` begins of those that timm fetched."""


@dataclass(frozen=True)
class Origin:
    """Where a backbone and its weights are from.

    Args:
        name: of the network, as ``--backbone`` takes it.
        weights: what they are from: a package, a file, or "random".
        licence: of the weights.
        sha256: hex, of the file of the weights.
    """

    name: str
    weights: str
    licence: str
    sha256: str


class FrozenBackbone(nn.Module, ABC):
    """A network that is never trained: images [N, 3, H, W] to feature maps, its levels.

    Level k is [N, channels[k], H / strides[k], W / strides[k]]; the finest comes first.

    Attributes:
        channels, strides: of the levels.
        mean, std: of R, G, B that its images are normalised with, where 1 is white.
        multiple: H and W are multiples of it.
        origin: see ``Origin``.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: Triple
    std: Triple
    multiple: int
    origin: Origin

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of the images it takes."""
        return next(self.parameters()).dtype

    @abstractmethod
    def features(self, image: Tensor) -> Levels:
        """The levels of normalised images [N, 3, H, W], in the dtype of the weights."""

    def features_and_attention(self, image: Tensor) -> tuple[Levels, Tensor | None]:
        """The levels, and what attention each position gets: [N, 1, h, w], of one sum for each
        image; None for a network without attention."""
        return self.features(image), None

    def forward(self, image: Tensor) -> Levels:
        return self.features(image)

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Stay in evaluation mode: a frozen network keeps its batch statistics."""
        return super().train(False)

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation as [3, 1, 1]."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return mean, std

    def compared(self) -> tuple[int, ...]:
        """Indices of the levels that statistics learn from: of strides 8 to 16, else the last two.
        One of stride 4 has many positions, and one of 32 few."""
        found = tuple(k for k, stride in enumerate(self.strides) if 8 <= stride <= 16)
        return found or tuple(range(len(self.strides)))[-2:]

    def kept_file(self) -> tuple[str, bytes] | None:
        """Name and content of what a run keeps of it beside the weights; None for nothing."""
        return None

    def facts(self) -> dict[str, Any]:
        """What a run and a bundle say about it, as plain JSON."""
        shape = {"channels": list(self.channels), "strides": list(self.strides)}
        return {**vars(self.origin), **shape, "mean": list(self.mean), "std": list(self.std)}
