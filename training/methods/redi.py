"""ReDi: recover the image from a map of itself and a prompt, then discriminate in feature space.

Source: Xing, Zhang, Tang, Li, "A Recover-then-Discriminate Framework for Robust Anomaly Detection",
Sci. China Inf. Sci. 68(4), 2025 (doi 10.1007/s11432-024-4291-4, arXiv 2406.04608). Tags: [F] stated
by the authors, [P] our choice where the paper is silent.

    H = map(X)                       what an image keeps without its appearance [F], HOG [F]
    P = the most similar image of a bank of good images                         [F; bank: P]
    Y = recover(H, P)                never sees X itself, so no defect takes a short cut [F]
    F_X = backbone(X)   F_Y = FRB(backbone(Y))      frozen backbone, several scales [F]
    map = sum over scales of w (1 - cos(F_X, F_Y)) / E, Gaussian, maximum       [P, as RD4AD]

F is standardised per channel and averaged over 3x3 positions, since what no recovery can predict
is its finest grain [P]. E is the mean distance of good images at that position [P, the idea of
ARNet's E_k]; w is one over the standard deviation of the good images' scores at that scale [P]; the
preset paper has neither. The graph gives F / |F| sqrt(C w / 2E), whose mean squared difference is
just that: |a - b|^2 = 2 (1 - cos) for unit vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.errors import TrainingError

from ..features.backbone import FrozenBackbone
from ..features.efficientnet_lite import load_lite
from ..features.networks import ssim
from ..features.scale import Compared, FeatureScale, Pairs
from .backbone_method import BackboneMethod, BackboneSettings
from .base import Losses, Stage, TrainingSet
from .redi_networks import HeavyBlock, LightBlock, RecoverNet
from .redi_prompts import FeatureCache, PromptBank
from .redi_structure_maps import KINDS, make_map, with_foreign_patches

MULTIPLE = 32  # of the sides: what the recover network and the heavy block halve


@dataclass(frozen=True)
class ReDiSettings(BackboneSettings):
    """Every choice of ReDi, as docs/methods/redi.md describes them.

    The default is the preset edge. map, prompt, frb and self_correlation are the paper's ablation.
    """

    choices: ClassVar = {"map": KINDS, "frb": ("light", "heavy", "none")}
    least: ClassVar = {"bank_size": 1, "variants": 1, "widths": 1, "self_correlation": 0}
    shares: ClassVar = ("patches",)

    size: tuple[int, int] = (256, 256)  # [F]
    map: str = "hog"  # [F]
    prompt: bool = True  # [F]
    frb: str = "light"  # [P]
    self_correlation: float = 1.0  # [P] weight of L_S
    bank_size: int = 10  # [P] prompts kept in the graph
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)  # [P] at strides 2, 4, 8, 16
    pooling: str = "max"  # [P] as RD4AD; top_k where every defect that matters is large
    learning_rate: tuple[float, float] = (1e-3, 3e-3)  # [P] per stage; high, the steps are few
    steps: tuple[int, int] = (1500, 2000)  # [P] per stage
    variants: int = 3  # [P] prompts per image in stage two
    patches: float = 0.5  # [P] share of the images of stage one with foreign patches in H


# The paper names no sizes; these are those of the restoration networks that it builds on.
PAPER: dict[str, Any] = {
    "position": False,  # [P] the plain cosine, as RD4AD
    "balance": False,  # [P]
    "frb": "heavy",  # [P] as RD4AD
    "widths": [64, 128, 256, 512],  # [P]
    "batch_size": 16,  # [P]
    "learning_rate": [1e-4, 1e-3],  # [P]
    "steps": [20000, 20000],  # [P]
}


def alignment_loss(reference: list[Tensor], reconstructed: list[Tensor]) -> Tensor:
    """L_D = sum over scales of mean(1 - cos(F_X, F_Y)) over positions [F]."""
    pairs = zip(reference, reconstructed, strict=True)
    return torch.stack([1 - F.cosine_similarity(x, y).mean() for x, y in pairs]).sum()


def self_correlation_loss(
    reference: list[Tensor], reconstructed: list[Tensor], grid: int = 16
) -> Tensor:
    """L_S = sum over scales of ||C(F_X) - C(F_Y)||_F^2 / n^2, C the cosine self-similarity [F].

    C compares n <= grid^2 cells with each other [P: grid 16, the cost grows with its fourth power].
    """

    def similarity(x: Tensor) -> Tensor:
        steps = [-(-int(side) // grid) for side in x.shape[-2:]]
        flat = F.normalize(F.avg_pool2d(x, steps, ceil_mode=True).flatten(2), dim=1)
        return flat.transpose(1, 2) @ flat

    pairs = zip(reference, reconstructed, strict=True)
    return torch.stack([(similarity(x) - similarity(y)).square().mean() for x, y in pairs]).sum()


def _unit(levels: list[Tensor]) -> list[Tensor]:
    return [F.normalize(x.float()) for x in levels]


class ReDi(BackboneMethod):
    """The exported graph and its two training stages."""

    name: ClassVar[str] = "redi"
    distance: ClassVar[str] = "l2"  # of unit vectors over sqrt(2E / C): (1 - cos) / E
    settings_type = ReDiSettings
    presets: ClassVar = {"edge": {}, "paper": PAPER}

    def __init__(
        self, settings: ReDiSettings, n_train: int, backbone: FrozenBackbone | None = None
    ) -> None:
        super().__init__()
        self.config = settings
        self.backbone = load_lite() if backbone is None else backbone
        self.check_backbone(settings, self.backbone)
        channels, strides = self.backbone.channels, self.backbone.strides
        self.structure_map = make_map(settings.map)
        map_stride = 8 if settings.map == "hog" else 1
        self.recover = RecoverNet(self.structure_map.channels, map_stride, settings.widths)
        blocks = {"heavy": HeavyBlock, "light": LightBlock, "none": nn.Identity}
        self.frb = blocks[settings.frb](channels)
        height, width = settings.size
        self.sizes = [(height // stride, width // stride) for stride in strides]
        deepest = (channels[-1], *self.sizes[-1])
        self.bank = PromptBank(min(settings.bank_size, n_train), settings.size, deepest)
        self.scale = FeatureScale(channels, self.sizes, [2 / count for count in channels])
        self.cache: FeatureCache | None = None  # while it trains
        mean, std = self.backbone.normalisation()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @classmethod
    def check_backbone(cls, config: ReDiSettings, backbone: FrozenBackbone) -> None:
        """Besides, the heavy block is made for three levels, each half as fine as the last."""
        if config.frb == "heavy" and backbone.strides != (4, 8, 16):
            raise TrainingError(
                f"frb=heavy does not go with the backbone {backbone.origin.name}: it takes levels "
                f"of strides 4, 8 and 16, and these are {', '.join(map(str, backbone.strides))}; "
                "add --set frb=light"
            )
        super().check_backbone(config, backbone)

    @classmethod
    def multiple_of(cls, config: ReDiSettings, backbone: FrozenBackbone) -> int:
        return math.lcm(super().multiple_of(config, backbone), MULTIPLE)

    def map_of(self, image: Tensor) -> Tensor:
        """H [N, C, h, w], float32 also after ``.half()``: small gradients squared would vanish."""
        return self.structure_map(image.float() * self.std.float() + self.mean.float())

    def recover_image(self, structure_map: Tensor, prompt: Tensor) -> Tensor:
        """Y [N, 3, H, W] from H and the prompt, both images normalised."""
        dtype = self.recover.out.weight.dtype
        if not self.config.prompt:
            prompt = torch.zeros_like(prompt)
        recovered = self.recover(prompt.to(dtype), structure_map.to(dtype))
        return (recovered - self.mean.to(dtype)) / self.std.to(dtype)

    def compare(self, image: Tensor, levels: list[Tensor]) -> Pairs:
        recovered = self.recover_image(self.map_of(image), self.bank(levels))
        reference, reconstructed = self._compared(levels, self.backbone(recovered))
        return self.scale.emit(_unit(reference), _unit(reconstructed))

    def reconstruct(self, recovered: list[Tensor]) -> list[Tensor]:
        """F_Y from the standardised features of Y; without FRB just smoothed like F_X."""
        if self.config.frb == "heavy":
            return self.frb(recovered)
        smoothed = self.scale.smooth(recovered)
        if self.config.frb == "none":
            return smoothed
        return [x + y for x, y in zip(smoothed, self.frb(recovered), strict=True)]

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: the images X, their prompts, the recovered images Y."""
        prompt = self.bank(self.backbone(images))
        return [images, prompt, self.recover_image(self.map_of(images), prompt)]

    def feature_cache(self, data: TrainingSet) -> FeatureCache:
        return FeatureCache(
            data, self.config.variants if self.config.prompt else 1,
            sum(math.prod(shape) for shape in self.shapes()),
            self.backbone, self.scale, self.bank, self.map_of, self.recover_image,
        )  # fmt: skip

    def _compared(self, levels: list[Tensor], recovered: list[Tensor]) -> Compared:
        """(F_X, F_Y) of the features of X and of Y."""
        return self.scale.target(levels), self.reconstruct(self.scale.standardise(recovered))

    def conclude(self, data: TrainingSet) -> None:
        cache = self.cache or self.feature_cache(data)
        self.cache = None
        cache.recover_all()

        def compared(part: Tensor) -> Compared:
            reference, reconstructed = self._compared(*cache.features(part, variant=0))
            return _unit(reference), _unit(reconstructed)

        self.fit_comparison(data, compared)

    def stages(self, data: TrainingSet) -> list[Stage]:
        config = self.config
        cache = self.cache = self.feature_cache(data)

        def recover_loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            image = data[indices]
            prompt = data[cache.training_prompts(indices, generator)]
            maps = with_foreign_patches(cache.maps(indices), config.patches, generator)
            recovered = self.recover_image(maps, prompt) * self.std + self.mean
            target = image * self.std + self.mean
            # At half resolution the structure term costs a quarter [P].
            small, small_target = (F.avg_pool2d(x, 2) for x in (recovered, target))
            return {"l1": (recovered - target).abs().mean(), "ssim": 1 - ssim(small, small_target)}

        def discriminate_loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            variant = int(torch.randint(cache.variants, (1,), generator=generator))
            pair = self._compared(*cache.features(indices, variant))
            losses = {"alignment": alignment_loss(*pair)}
            if config.self_correlation > 0:
                losses["self_correlation"] = config.self_correlation * self_correlation_loss(*pair)
            return losses

        parts = [("recover", self.recover, recover_loss, cache.describe)]
        if config.frb != "none":
            parts.append(("discriminate", self.frb, discriminate_loss, cache.recover_all))
        return [
            self.stage(
                data, module, loss, name=name, prepare=prepare, steps=config.steps[index],
                learning_rate=config.learning_rate[index], share=1 / len(parts),
            )
            for index, (name, module, loss, prepare) in enumerate(parts)
        ]  # fmt: skip
