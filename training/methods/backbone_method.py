"""What ReDi and AGPNet share: reconstructed features of one frozen backbone, compared by level."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from ..features.backbone import FrozenBackbone, Levels, Triple
from ..features.scale import Compared, FeatureScale, Pairs, fit_scale
from .base import Method, MethodSettings, TrainingSet

Size = tuple[int, int]


@dataclass(frozen=True)
class BackboneSettings(MethodSettings):
    """The settings of ReDi and AGPNet alike."""

    multiple: ClassVar = 1  # the backbone says of what, see BackboneMethod.check_backbone
    removed: ClassVar = {
        "whiten": False, "memory": 0, "memory_share": None, "quiet_border": None
    }  # fmt: skip
    added: ClassVar = {"own_level": 0.0}
    shares: ClassVar = ("own_level",)

    position: bool = True  # [P] E of each place, the idea of ARNet's E_k, else one of each level
    balance: bool = True  # [P] weigh the levels by w
    own_level: float = 0.5  # [P] the power of an image's own level that divides its residuals
    blur_sigma: float = 4.0  # [P] as RD4AD, pixels at 256
    top_k: float = 0.01  # [P] share of the map that the pooling top_k averages
    batch_size: int = 8  # [P] as ViTAD; more steps in the same minutes


def check_tokens(stride: int, backbone: FrozenBackbone) -> None:
    """Refuse a token that neither covers positions of every level nor lies within one.

    Args:
        stride: pixels per token.
        backbone: whose levels have ``strides``.

    Raises:
        TrainingError: with a stride that does.
    """
    strides = backbone.strides
    if all(stride % each == 0 or each % stride == 0 for each in strides):
        return
    near = min(
        (each for each in strides if each >= 8),
        default=strides[-1],
        key=lambda each: abs(each - stride),
    )
    raise TrainingError(
        f"stride={stride} does not go with the backbone {backbone.origin.name}, whose levels have "
        f"strides {', '.join(map(str, sorted(set(strides))))}; add --set stride={near}"
    )


class BackboneMethod(Method):
    """Its pairs are the levels of the backbone, of ``sizes`` (h, w)."""

    takes_backbone = True
    backbone: FrozenBackbone
    sizes: list[Size]
    scale: FeatureScale

    @classmethod
    def from_settings(
        cls, settings: dict[str, Any], n_train: int, backbone: FrozenBackbone | None = None
    ) -> Method:
        """backbone: of the method; None for EfficientNet-Lite0."""
        return cls(cls.read(settings), n_train, backbone)

    @classmethod
    def check_backbone(cls, config: Any, backbone: FrozenBackbone) -> None:
        """Hold the settings against a backbone: ``size`` against ``multiple_of``.

        Raises: TrainingError, with settings that do.
        """
        name, multiple = backbone.origin.name, cls.multiple_of(config, backbone)
        if any(side % multiple for side in config.size):
            sides = [max(round(side / multiple), -(-64 // multiple)) for side in config.size]
            near = [side * multiple for side in sides]
            raise TrainingError(
                f"size={config.size} cannot be used with the backbone {name}: height and width "
                f"must be multiples of {multiple}, at least 64; such as --set size={near}"
            )

    @classmethod
    def multiple_of(cls, config: Any, backbone: FrozenBackbone) -> int:
        """What the sides of images are multiples of."""
        return math.lcm(backbone.multiple, *backbone.strides)

    @property
    def normalisation(self) -> tuple[Triple, Triple]:  # type: ignore[override]
        """That of the backbone."""
        return self.backbone.mean, self.backbone.std

    def pairs(self) -> tuple[Pair, ...]:
        """Their weights add up to 1; levels are alike."""
        channels = self.backbone.channels
        levels = zip(channels, self.sizes, strict=True)
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", count, size, 1 / len(channels))
            for k, (count, size) in enumerate(levels)
        )

    def levels(self, image: Tensor) -> Levels:
        """What the backbone gives of images [N, 3, H, W], in the dtype of its weights."""
        return self.backbone.features(image.to(self.backbone.dtype))

    @abstractmethod
    def compare(self, image: Tensor, levels: Levels) -> Pairs:
        """The pairs of images [N, 3, H, W], of which the backbone gave ``levels``."""

    def forward(self, image: Tensor) -> Pairs:
        return self.compare(image, self.levels(image))

    def fit_comparison(
        self, data: TrainingSet, compared: Callable[[Tensor], Compared], position: bool
    ) -> None:
        """Measure on the good images what is usual.

        Args:
            data: the good images.
            compared: indices [n] of images to (reference, reconstructed) of the levels.
            position: whether E is that of each place. Without it and without the settings balance
                and own_level the distances stay as they are.
        """
        balance = self.config.balance
        if not position and not balance and not self.config.own_level:
            return

        def each(title: str) -> Iterator[Compared]:
            for part in data.chunks(title):
                with torch.no_grad():
                    found = compared(part)
                yield found

        fit_scale(self.scale, each, position, self.map_params() if balance else None)
