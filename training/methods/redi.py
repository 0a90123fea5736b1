"""ReDi: recover what a good part would show, then discriminate in feature space.

Source: Xing, Zhang, Tang, Li, "A Recover-then-Discriminate Framework for Robust Anomaly Detection",
Sci. China Inf. Sci. 68(4), 2025 (doi 10.1007/s11432-024-4291-4, arXiv 2406.04608). Tags: [F] stated
by the authors, [P] our choice where the paper is silent.

    H = map(X)                  what an image keeps without its appearance [F], HOG [F]
    F_P                         features of the most similar good image [F: a similar normal image]
    F_Y = recover(H, F_P)       never sees X itself, so no defect takes a short cut [F]
    L = L_D + L_S               cosine alignment and self-correlation of F_X and F_Y [F]
    map = sum over scales of w (1 - cos(F_X, F_Y)) / E, Gaussian, maximum       [P, as RD4AD]

The paper recovers an image Y and takes F_Y from a second pass of the backbone: that is the preset
paper, in ``redi_image``. Here the features themselves are recovered, of the frozen backbone and at
its strides: what is scored is what is learnt, and an inference has one pass [P].

F is standardised per channel and averaged over 3x3 positions, since what no recovery can predict
is its finest grain [P]; the cosine is that of ``directed`` features [P]. E is the mean distance of
good images on that scale, with ``position`` at that place [P, the idea of ARNet's E_k]; w is one
over the standard deviation of the good images' scores on that scale [P]. The graph gives
F / |F| sqrt(C w / 2E), whose mean squared difference is just that: |a - b|^2 = 2 (1 - cos) for unit
vectors; of each image it is divided by a power of the mean length of its residual, ``own_level``
[P].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from ..features.backbone import FrozenBackbone
from ..features.efficientnet_lite import load_lite
from ..features.scale import Compared, FeatureScale, Pairs
from .backbone_method import BackboneMethod, BackboneSettings
from .base import Losses, Method, MethodSettings, Stage, TrainingSet
from .redi_good_features import GoodFeatures
from .redi_image import PAPER, ImageReDi, ImageReDiSettings
from .redi_losses import alignment_loss, directed, self_correlation_loss, unit
from .redi_networks import FeatureNet
from .redi_prompts import PromptBank
from .redi_structure_maps import KINDS, make_map, with_foreign_edges


@dataclass(frozen=True)
class ReDiSettings(BackboneSettings):
    """The settings with ``recover="features"``, as docs/methods/redi.md describes them.

    The default is the preset edge. map, prompt and self_correlation are of the paper's ablation.
    """

    choices: ClassVar = {"recover": ("features",), "map": KINDS}
    least: ClassVar = {"bank_size": 1, "width": 1, "self_correlation": 0}
    shares: ClassVar = (*BackboneSettings.shares, "patches")

    recover: str = "features"  # [P]; the paper: image
    size: tuple[int, int] = (256, 256)  # [F]
    map: str = "hog"  # [F]
    prompt: bool = True  # [F]
    self_correlation: float = 1.0  # [F: a sum of both losses] weight of L_S
    bank_size: int = 10  # [P] prompts kept in the graph
    width: int = 48  # [P] channels of the network at stride 8, twice as many at 16
    position: bool = False  # [P]
    pooling: str = "max"  # [P] as RD4AD; top_k where every defect that matters is large
    learning_rate: float = 3e-3  # [P] high, the steps are few
    steps: int = 300  # [P] a minute on two idle cores; 1000 gain nothing on bottles
    patches: float = 0.7  # [P] share of the images that training shows with foreign edges in H


def settings_of(values: dict[str, Any]) -> type[MethodSettings]:
    """The class that reads ``values``: by recover.

    A run of before the features has all settings that only the image has, and no recover.

    Raises: TrainingError for a setting of the other one, or another recover.
    """
    kinds = {"features": ReDiSettings, "image": ImageReDiSettings}
    known = {name: {each.name for each in fields(kind)} for name, kind in kinds.items()}
    before = known["image"] - known["features"] <= values.keys()
    chosen = values.get("recover", "image" if before else "features")
    if chosen not in kinds:
        raise TrainingError(f"recover={chosen!r} is not known; choose one of: features, image")
    other = "image" if chosen == "features" else "features"
    for key in values:
        if key in known[other] - known[chosen]:
            raise TrainingError(
                f"redi has the setting {key} only with recover={other}; remove it, or set that too"
            )
    return kinds[chosen]


class ReDi(BackboneMethod):
    """The exported graph and its training."""

    name: ClassVar[str] = "redi"
    distance: ClassVar[str] = "l2"  # of unit vectors over sqrt(2E / C): (1 - cos) / E
    settings_type = ReDiSettings
    presets: ClassVar = {"edge": {}, "paper": PAPER}

    @classmethod
    def read(cls, settings: dict[str, Any]) -> Any:
        return settings_of(settings).read(cls.name, settings)

    @classmethod
    def from_settings(
        cls, settings: dict[str, Any], n_train: int, backbone: FrozenBackbone | None = None
    ) -> Method:
        """With ``recover="image"`` an ``ImageReDi``."""
        config = cls.read(settings)
        kind = ImageReDi if config.recover == "image" else cls
        return kind(config, n_train, backbone)

    def __init__(
        self, settings: ReDiSettings, n_train: int, backbone: FrozenBackbone | None = None
    ) -> None:
        super().__init__()
        self.config = settings
        self.backbone = load_lite() if backbone is None else backbone
        self.check_backbone(settings, self.backbone)
        channels, strides = self.backbone.channels, self.backbone.strides
        height, width = settings.size
        self.sizes = [(height // stride, width // stride) for stride in strides]
        self.structure_map = make_map(settings.map)
        map_stride = 8 if settings.map == "hog" else 1
        self.recover = FeatureNet(
            self.structure_map.channels, map_stride, channels, strides, self.sizes, settings.width
        )
        kept = {f"features_{k}": shape for k, shape in enumerate(self.recover.shapes)}
        count, deepest = min(settings.bank_size, n_train), (channels[-1], *self.sizes[-1])
        self.bank = PromptBank(count, deepest, kept)
        usual = [2 / (count + 1) for count in channels]
        self.scale = FeatureScale(channels, self.sizes, usual, own_level=settings.own_level)
        self.good: GoodFeatures | None = None  # while it trains
        mean, std = self.backbone.normalisation()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @classmethod
    def check_backbone(cls, config: Any, backbone: FrozenBackbone) -> None:
        if config.recover == "image":
            return ImageReDi.check_backbone(config, backbone)
        return super().check_backbone(config, backbone)

    def pairs(self) -> tuple[Pair, ...]:
        """The levels, one channel more each, see ``directed``."""
        return tuple(replace(pair, channels=pair.channels + 1) for pair in super().pairs())

    def map_of(self, image: Tensor) -> Tensor:
        """H [N, C, h, w], float32 also after ``.half()``: small gradients squared would vanish."""
        return self.structure_map(image.float() * self.std.float() + self.mean.float())

    def recover_features(self, structure_map: Tensor, prompt: list[Tensor]) -> list[Tensor]:
        """F_Y of every level, [N, C, h, w], from H and what the network takes of F_P."""
        dtype = self.recover.heads[0].weight.dtype
        if not self.config.prompt:
            prompt = [torch.zeros_like(each) for each in prompt]
        found: list[Tensor] = self.recover(structure_map.to(dtype), [p.to(dtype) for p in prompt])
        return found

    def compare(self, image: Tensor, levels: list[Tensor]) -> Pairs:
        reconstructed = self.recover_features(self.map_of(image), self.bank(levels))
        return self.scale.emit(*self._compared(self.scale.target(levels), reconstructed))

    def _compared(self, reference: list[Tensor], reconstructed: list[Tensor]) -> Compared:
        return unit(directed(reference)), unit(directed(reconstructed))

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: the images X, the strength of H, and the distance of F_X and F_Y, over its most."""
        strength = self.map_of(images).square().sum(1, keepdim=True).sqrt()
        distances = [(a - b).square().mean(1, keepdim=True) for a, b in self(images)]
        rows = [self._shown([strength]), self._shown(distances)]
        return [images, *(((row - self.mean) / self.std) for row in rows)]

    def _shown(self, parts: list[Tensor]) -> Tensor:
        """The sum of maps [N, 1, h, w] at the size of the image, as grey from 0 to 1."""
        size = self.config.size
        each = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in parts]
        total = torch.stack(each).sum(0)
        return (total / total.max().clamp_min(1e-12)).expand(-1, 3, -1, -1)

    def good_features(self, data: TrainingSet) -> GoodFeatures:
        levels = zip(self.backbone.channels, self.sizes, strict=True)
        with torch.no_grad():
            values = self.map_of(data[torch.arange(1)]).numel()
        values += sum(count * math.prod(size) for count, size in levels)
        return GoodFeatures(
            data, values, self.backbone, self.scale, self.bank, self.map_of, self.recover.gather
        )

    def conclude(self, data: TrainingSet) -> None:
        good = self.good or self.good_features(data)
        self.good = None
        good.prepare()  # nothing has, where a run is resumed after its last step

        def compared(part: Tensor) -> Compared:
            reconstructed = self.recover_features(good.maps(part), good.prompts(part))
            return self._compared(good(part), reconstructed)

        self.fit_comparison(data, compared, self.config.position)

    def stages(self, data: TrainingSet) -> list[Stage]:
        config = self.config
        good = self.good = self.good_features(data)

        def loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            maps = with_foreign_edges(good.maps(indices), config.patches, generator)
            found = self.recover_features(maps, good.prompts(indices))
            pair = directed(good(indices)), directed(found)
            losses = {"alignment": alignment_loss(*pair)}
            if config.self_correlation > 0:
                losses["self_correlation"] = config.self_correlation * self_correlation_loss(*pair)
            return losses

        return [self.stage(data, self.recover, loss, name="recover", prepare=good.prepare)]
