"""What ReDi and AGPNet share: reconstructed features of one frozen backbone, compared by level,
whitened, and with those of a memory of good images.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.bundle.entries import Memory, Pair
from edgead.errors import TrainingError

from ..features.backbone import CHANNELS, MEAN, STD
from ..features.memory import NEIGHBOURS, TEMPERATURE, FeatureMemory
from ..features.networks import upsample
from ..features.scale import Compared, FeatureScale, border_share, fit_scale
from ..features.whitening import REGION, LocalWhitening
from .base import Method, MethodSettings, TrainingSet

# The preset for parts that lie anywhere amid background. What differs at a place says little then,
# and what was seen at no place says most. [P] docs/methods.md has what was tried
LOOSE: dict[str, Any] = {
    "position": False, "quiet_border": True, "memory": 2048, "memory_share": 0.9
}  # fmt: skip
MEMORY, PLACES = "memory.npy", "places.npy"  # files of the bundle
REMEMBERED = sum(CHANNELS[1:])  # channels of what the memory compares, see ``remember``
Size = tuple[int, int]


@dataclass(frozen=True)
class BackboneSettings(MethodSettings):
    """The settings of ReDi and AGPNet alike."""

    least: ClassVar = {"memory": 0}

    whiten: bool = True  # [P] compare residuals in units of their covariance
    memory: int = 1024  # [P] features of good images kept for a pair of their own, 0 for none
    memory_share: float = 0.5  # [P] that pair's part of the map
    position: bool = True  # [P] means, W and E of each place, else one of each for all places
    quiet_border: bool = False  # [P] whitened or remembered, what is at the border counts less
    balance: bool = True  # [P] without whiten: weigh the levels by w
    blur_sigma: float = 4.0  # [P] as RD4AD, pixels at 256
    top_k: float = 0.01  # [P] share of the map that the pooling top_k averages
    batch_size: int = 8  # [P] as ViTAD; more steps in the same minutes

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory and not 0 < self.memory_share < 1:
            raise TrainingError(
                f"memory_share={self.memory_share} cannot be used; give a share of the map, more "
                "than 0 and less than 1, or memory=0 for a map without a memory"
            )


class BackboneMethod(Method):
    """Its pairs are the levels of the backbone, of ``sizes`` (h, w), and the memory."""

    normalisation = (MEAN, STD)
    sizes: list[Size]
    scale: FeatureScale
    whitening: LocalWhitening | None  # None where they are not used
    memory: FeatureMemory | None

    @classmethod
    def from_settings(cls, settings: dict[str, Any], n_train: int) -> Method:
        return cls(cls.read(settings), n_train)

    def set_comparison(
        self, scale: FeatureScale, sizes: list[Size], n_train: int, by_level: bool = True
    ) -> None:
        """by_level: whether the levels are compared each by itself, else neither is whitened nor
        remembered. The memory keeps as many features as the ``n_train`` images have, at most."""
        config, self.sizes, self.scale = self.config, sizes, scale
        whiten = config.whiten and by_level
        self.whitening = (
            make_whitening(sizes, config.size[0], config.quiet_border) if whiten else None
        )
        kept = min(config.memory, n_train * math.prod(sizes[1])) if by_level else 0
        self.memory = FeatureMemory(kept, REMEMBERED, sizes[1]) if kept else None

    def pairs(self) -> tuple[Pair, ...]:
        """With that of the memory, ``memory_share``, the weights add up to 1; levels are alike."""
        share = self.config.memory_share if self.memory else 0.0
        levels = zip(CHANNELS, self.sizes, strict=True)
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", channels, size, (1 - share) / len(CHANNELS))
            for k, (channels, size) in enumerate(levels)
        )

    def memories(self) -> tuple[Memory, ...]:
        if self.memory is None:
            return ()
        entry = Memory(
            "remembered", REMEMBERED, self.sizes[1], MEMORY, PLACES,
            neighbours=NEIGHBOURS, weight=self.config.memory_share, temperature=2 * TEMPERATURE,
        )  # fmt: skip
        return (entry,)

    def memory_files(self) -> dict[str, NDArray[Any]]:
        if self.memory is None:
            return {}
        kept, gain = self.memory.kept.numpy(), self.memory.gain[0, 0].numpy()
        return {MEMORY: kept.astype(np.float16), PLACES: np.square(gain)}

    @abstractmethod
    def compare(self, image: Tensor) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """The pairs of images [N, 3, H, W], and the levels that ``remembered`` takes."""

    @abstractmethod
    def remembered(self, levels: list[Tensor]) -> Tensor:
        """What the memory compares."""

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        pairs, levels = self.compare(image)
        return [*pairs, self.memory.emit(self.remembered(levels))] if self.memory else pairs

    def graph(self, image: Tensor) -> list[Tensor]:
        pairs, levels = self.compare(image)
        found = [tensor for pair in pairs for tensor in pair]
        return [*found, self.remembered(levels)] if self.memory else found

    def fit_comparison(
        self,
        data: TrainingSet,
        compared: Callable[[Tensor], Compared],
        remembered: Callable[[Tensor], Tensor],
    ) -> None:
        """Measure on the good images what is usual, and keep features of them.

        Args:
            data: the good images.
            compared: indices [n] of images to (reference, reconstructed) of the levels.
            remembered: indices [n] of images to what the memory compares.
        """

        def each(compute: Callable[[Tensor], Any], title: str) -> Iterator[tuple[Tensor, Any]]:
            for part in data.chunks(title):
                with torch.no_grad():
                    found = compute(part)
                yield part, found

        def pairs(title: str) -> Iterator[Compared]:
            return (pair for _, pair in each(compared, title))

        position = self.config.position
        if self.whitening is not None:
            residuals = (differences(*pair) for pair in pairs("residuals of the good images"))
            self.whitening.fit(residuals, position)
        else:
            params = self.map_params() if self.config.balance else None
            fit_scale(self.scale, pairs, position, params)
        if self.memory is not None:
            self.memory.fill(each(remembered, "features to keep"), len(data))
            self.memory.fit_gain(each(remembered, "distances of the good images"), position)


def remember(fine: Tensor, coarse: Tensor, quiet_border: bool) -> Tensor:
    """What the memory compares: smoothed levels of strides 8 and 16 side by side, float32. [P]

    With ``quiet_border`` each counts by its ``border_share``.
    """
    if quiet_border:
        fine, coarse = (x * border_share(x.shape[2:]).to(x) for x in (fine, coarse))
    if coarse.shape[-1] != fine.shape[-1]:
        coarse = upsample(coarse)
    return torch.cat([fine, coarse], dim=1).float()


def make_whitening(sizes: list[Size], height: int, quiet_border: bool) -> LocalWhitening:
    """Squares of ``REGION`` pixels of an image ``height`` high, for levels of ``sizes``.

    Smaller ones where those do not divide it: of 16 pixels for a side that is a multiple of 16
    alone. There are four times as many then, each with a matrix in the graph.
    """
    sides = [math.gcd(REGION * rows // height, rows, columns) for rows, columns in sizes]
    return LocalWhitening(CHANNELS, sizes, sides, quiet_border)


def differences(reference: list[Tensor], reconstructed: list[Tensor]) -> list[Tensor]:
    """F_X - F_Y of every level, float32."""
    return [x.float() - y.float() for x, y in zip(reference, reconstructed, strict=True)]
