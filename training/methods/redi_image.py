"""ReDi as published: recover the image, then discriminate the features of both. The preset paper.

Source and tags as in ``redi``, which does without the image and the second pass of the backbone.

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
from .redi_losses import alignment_loss, self_correlation_loss, unit
from .redi_networks import HeavyBlock, LightBlock, RecoverNet
from .redi_prompts import FeatureCache, PromptBank
from .redi_structure_maps import KINDS, make_map, with_foreign_patches

MULTIPLE = 32  # of the sides: what the recover network and the heavy block halve


@dataclass(frozen=True)
class ImageReDiSettings(BackboneSettings):
    """The settings with ``recover="image"``, as docs/methods/redi.md describes them.

    map, prompt, frb and self_correlation are the paper's ablation.
    """

    choices: ClassVar = {"recover": ("image",), "map": KINDS, "frb": ("light", "heavy", "none")}
    least: ClassVar = {"bank_size": 1, "variants": 1, "widths": 1, "self_correlation": 0}
    shares: ClassVar = (*BackboneSettings.shares, "patches")

    recover: str = "image"  # [F]
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
    "recover": "image",  # [F]
    "position": False,  # [P] the plain cosine, as RD4AD
    "balance": False,  # [P]
    "own_level": 0.0,  # [P]
    "frb": "heavy",  # [P] as RD4AD
    "widths": [64, 128, 256, 512],  # [P]
    "batch_size": 16,  # [P]
    "learning_rate": [1e-4, 1e-3],  # [P]
    "steps": [20000, 20000],  # [P]
}


class ImageReDi(BackboneMethod):
    """The exported graph and its two training stages."""

    name: ClassVar[str] = "redi"
    distance: ClassVar[str] = "l2"  # of unit vectors over sqrt(2E / C): (1 - cos) / E
    settings_type = ImageReDiSettings
    presets: ClassVar = {"paper": PAPER}

    def __init__(
        self, settings: ImageReDiSettings, n_train: int, backbone: FrozenBackbone | None = None
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
        count = min(settings.bank_size, n_train)
        self.bank = PromptBank(count, deepest, {"images": (3, *settings.size)})
        usual = [2 / count for count in channels]
        self.scale = FeatureScale(channels, self.sizes, usual, own_level=settings.own_level)
        self.cache: FeatureCache | None = None  # while it trains
        mean, std = self.backbone.normalisation()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @classmethod
    def check_backbone(cls, config: ImageReDiSettings, backbone: FrozenBackbone) -> None:
        """Besides, the heavy block is made for three levels, each half as fine as the last."""
        if config.frb == "heavy" and backbone.strides != (4, 8, 16):
            raise TrainingError(
                f"frb=heavy does not go with the backbone {backbone.origin.name}: it takes levels "
                f"of strides 4, 8 and 16, and these are {', '.join(map(str, backbone.strides))}; "
                "add --set frb=light"
            )
        super().check_backbone(config, backbone)

    @classmethod
    def multiple_of(cls, config: ImageReDiSettings, backbone: FrozenBackbone) -> int:
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
        (prompt,) = self.bank(levels)
        recovered = self.recover_image(self.map_of(image), prompt)
        reference, reconstructed = self._compared(levels, self.backbone(recovered))
        return self.scale.emit(unit(reference), unit(reconstructed))

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
        (prompt,) = self.bank(self.backbone(images))
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
            return unit(reference), unit(reconstructed)

        self.fit_comparison(data, compared, self.config.position)

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
