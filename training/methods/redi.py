"""ReDi: recover the image from a map of itself and a prompt, then discriminate in feature space.

Source: Xing, Zhang, Tang, Li, "Recover and discriminate: cooperative recovery and discrimination
for visual anomaly detection" (arXiv 2406.04608). Tags: [F] stated by the authors, [P] our choice
where the paper is silent.

    H = map(X)                       what an image keeps without its appearance [F], HOG [F]
    P = the most similar image of a bank of good images                         [F; bank: P]
    Y = recover(H, P)                never sees X itself, so no defect takes a short cut [F]
    F_X = backbone(X)   F_Y = FRB(backbone(Y))      frozen backbone, several scales [F]
    map = sum over scales of w (1 - cos(F_X, F_Y)) / E, Gaussian, maximum       [P, as RD4AD]

F is standardised per channel and averaged over 3x3 positions before it is compared, since what no
recovery can predict is its finest grain [P, as PatchCore]. E is the mean distance of good images at
that position, so that edges, which are never recovered quite, do not drown a faint defect [P, the
idea of ARNet's E_k]. w is one over the standard deviation of the good images' scores at that scale:
a scale on which good parts differ much says less about a defect [P]. The graph hands out
F / |F| * sqrt(C w / 2E), whose mean squared difference is just that: |a - b|^2 = 2 (1 - cos) for
unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.manifest import Pair

from ..backbone import CHANNELS, MEAN, STD, STRIDES, load_backbone
from ..features import Compared, FeatureScale, measure, smooth
from ..networks import Residual, conv_norm_relu, ssim, upsample
from ..selfmaps import KINDS, make_map
from .base import (
    Method,
    Stage,
    TrainingSet,
    check_least,
    check_map,
    check_types,
    check_words,
)
from .redi_data import FeatureCache, PromptBank, with_foreign_patches

FRB_KINDS = ("light", "heavy", "none")


@dataclass(frozen=True)
class ReDiSettings:
    """Every choice of ReDi. The ablation switches of the paper: map, prompt, frb, self_correlation.

    size: input (height, width), multiples of 32; map: one of hog, sobel, canny, gray; prompt: feed
    the similar image, or zeros; frb: light (residual block per scale), heavy (fusion, one-class
    bottleneck, reversed decoder) or none; self_correlation: weight of L_S, 0 switches it off;
    position: E per position, else one number per scale; balance: weigh the scales by w;
    bank_size: prompts kept in the graph; widths: channels of the recover network at strides
    2, 4, 8, 16; learning_rate, steps: (recover, discriminate); variants: prompts per image in
    stage two; patches: share of the images that stage one shows with foreign patches in H.
    """

    size: tuple[int, int] = (256, 256)  # [F]
    map: str = "hog"  # [F]
    prompt: bool = True  # [F]
    frb: str = "light"  # [P]
    self_correlation: float = 1.0  # [P] weight of L_S
    position: bool = True  # [P]
    balance: bool = True  # [P]
    bank_size: int = 16  # [P]
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)  # [P]
    blur_sigma: float = 4.0  # [P] as RD4AD, pixels at 256
    pooling: str = "max"  # [P] as RD4AD; top_k where every defect that matters is large
    top_k: float = 0.01  # [P] share of the map that top_k averages
    batch_size: int = 8  # [P] more steps in the same minutes
    learning_rate: tuple[float, float] = (1e-3, 3e-3)  # [P] per stage; high, the steps are few
    steps: tuple[int, int] = (1500, 2000)  # [P]
    variants: int = 3  # [P]
    patches: float = 0.5  # [P]

    def __post_init__(self) -> None:
        check_types(self)
        check_words(self, map=KINDS, frb=FRB_KINDS)
        check_map(self, multiple=32)
        least = {"bank_size": 1, "batch_size": 2, "variants": 1, "widths": 1, "steps": 1}
        positive = dict.fromkeys(("self_correlation", "learning_rate", "patches"), 0)
        check_least(self, least | positive)


PRESETS: dict[str, dict[str, Any]] = {
    "edge": {},
    # The paper names no sizes; these are those of the restoration networks that it builds on.
    "paper": {
        "frb": "heavy",  # [P] as RD4AD
        "widths": [64, 128, 256, 512],  # [P]
        "batch_size": 16,  # [P]
        "learning_rate": [1e-4, 1e-3],  # [P]
        "steps": [20000, 20000],  # [P]
    },
}


class RecoverNet(nn.Module):
    """U-Net on the prompt, with the map joined where its resolution belongs. [F; widths: P]

    prompt [N, 3, H, W] normalised, map [N, C, H/s, W/s] -> recovered [N, 3, H, W] in [0, 1].
    """

    def __init__(self, map_channels: int, map_stride: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.map_stride = map_stride
        at_input = map_channels if map_stride == 1 else 0
        at_8 = map_channels if map_stride == 8 else 0
        self.enc2 = conv_norm_relu(3 + at_input, a, 3, 2)  # one convolution: this grid costs most
        self.enc4 = nn.Sequential(conv_norm_relu(a, b, 3, 2), conv_norm_relu(b, b))
        self.enc8 = conv_norm_relu(b, c, 3, 2)
        self.join8 = nn.Sequential(conv_norm_relu(c + at_8, c), conv_norm_relu(c, c))
        self.enc16 = nn.Sequential(conv_norm_relu(c, d, 3, 2), Residual(d))
        self.dec8 = nn.Sequential(conv_norm_relu(d + c, c), conv_norm_relu(c, c))
        self.dec4 = nn.Sequential(conv_norm_relu(c + b, b), conv_norm_relu(b, b))
        self.dec2 = conv_norm_relu(b + a, a)
        self.out = nn.Conv2d(a, 3, 3, padding=1)

    def forward(self, prompt: Tensor, self_map: Tensor) -> Tensor:
        x = torch.cat([prompt, self_map], dim=1) if self.map_stride == 1 else prompt
        e2 = self.enc2(x)
        e4 = self.enc4(e2)
        e8 = self.enc8(e4)
        e8 = self.join8(torch.cat([e8, self_map], dim=1) if self.map_stride == 8 else e8)
        e16 = self.enc16(e8)
        d8 = self.dec8(torch.cat([upsample(e16), e8], dim=1))
        d4 = self.dec4(torch.cat([upsample(d8), e4], dim=1))
        d2 = self.dec2(torch.cat([upsample(d4), e2], dim=1))
        return torch.sigmoid(upsample(self.out(d2)))


class HeavyBlock(nn.Module):
    """Feature recovery: fuse the scales, squeeze them through a bottleneck, decode in reverse. [P]

    Features at strides 4, 8, 16 to features of the same shapes. What the bottleneck at stride 32
    has not learnt from good parts does not come back.
    """

    def __init__(self, channels: tuple[int, ...], width: int = 192) -> None:
        super().__init__()
        c4, c8, c16 = channels
        self.from4 = nn.Sequential(conv_norm_relu(c4, c8, 3, 2), conv_norm_relu(c8, c16, 3, 2))
        self.from8 = conv_norm_relu(c8, c16, 3, 2)
        self.fuse = conv_norm_relu(3 * c16, c16, 1)
        self.bottleneck = nn.Sequential(conv_norm_relu(c16, width, 3, 2), Residual(width))
        self.to16 = nn.Sequential(conv_norm_relu(width, c16), Residual(c16))
        self.to8 = nn.Sequential(conv_norm_relu(c16, 2 * c8), Residual(2 * c8))
        self.to4 = nn.Sequential(conv_norm_relu(2 * c8, 2 * c4), Residual(2 * c4))
        self.heads = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1)
            for inputs, outputs in ((2 * c4, c4), (2 * c8, c8), (c16, c16))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        f4, f8, f16 = features
        fused = self.fuse(torch.cat([self.from4(f4), self.from8(f8), f16], dim=1))
        d16 = self.to16(upsample(self.bottleneck(fused)))
        d8 = self.to8(upsample(d16))
        d4 = self.to4(upsample(d8))
        return [head(x) for head, x in zip(self.heads, (d4, d8, d16), strict=True)]


class LightBlock(nn.Module):
    """Feature recovery of each scale alone: 1x1, residual 3x3, 1x1, added to the smoothed input.

    The last layer starts at zero, so training starts from F_Y = what Y shows. [P]
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(conv_norm_relu(c, 2 * c, 1), Residual(2 * c), nn.Conv2d(2 * c, c, 1))
            for c in channels
        )
        for scale in self.scales:
            nn.init.zeros_(scale[-1].weight)
            nn.init.zeros_(scale[-1].bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        corrections = [scale(x) for scale, x in zip(self.scales, features, strict=True)]
        return [x + y for x, y in zip(smooth(features), corrections, strict=True)]


def alignment_loss(reference: list[Tensor], restored: list[Tensor]) -> Tensor:
    """L_D = sum over scales of mean(1 - cos(F_X, F_Y)) over positions [F]."""
    pairs = zip(reference, restored, strict=True)
    return torch.stack([1 - F.cosine_similarity(x, y).mean() for x, y in pairs]).sum()


def self_correlation_loss(
    reference: list[Tensor], restored: list[Tensor], grid: int = 16
) -> Tensor:
    """L_S = sum over scales of ||C(F_X) - C(F_Y)||_F^2 / n^2, C the cosine self-similarity [F].

    C compares every position with every other one on a grid of at most ``grid`` x ``grid`` cells,
    n of them [P: 16, since the cost grows with its fourth power].
    """

    def similarity(x: Tensor) -> Tensor:
        step = max(1, min(x.shape[-2:]) // grid)
        flat = F.normalize(F.avg_pool2d(x, step).flatten(2), dim=1)
        return flat.transpose(1, 2) @ flat

    terms = []
    for x, y in zip(reference, restored, strict=True):
        terms.append((similarity(x) - similarity(y)).square().mean())
    return torch.stack(terms).sum()


def _unit(levels: list[Tensor]) -> list[Tensor]:
    return [F.normalize(x.float()) for x in levels]


class ReDi(Method):
    """The exported graph and its two training stages; see the module's page for the equations."""

    name: ClassVar[str] = "redi"
    distance: ClassVar[str] = "l2"  # of unit vectors over sqrt(2E / C): (1 - cos) / E
    settings_type = ReDiSettings
    normalisation = (MEAN, STD)
    presets = PRESETS

    def __init__(self, settings: ReDiSettings, n_train: int) -> None:
        super().__init__()
        self.config = settings
        self.backbone = load_backbone()
        self.self_map = make_map(settings.map)
        map_stride = 8 if settings.map == "hog" else 1
        self.recover = RecoverNet(self.self_map.channels, map_stride, settings.widths)
        blocks = {"heavy": HeavyBlock, "light": LightBlock}
        self.frb = blocks[settings.frb](CHANNELS) if settings.frb in blocks else nn.Identity()
        self.bank = PromptBank(min(settings.bank_size, n_train), settings.size)
        sizes = [pair.size for pair in self.pairs()]
        self.scale = FeatureScale(CHANNELS, sizes, [2 / count for count in CHANNELS])
        self.cache: FeatureCache | None = None  # while it trains
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    @classmethod
    def from_settings(cls, settings: dict[str, Any], n_train: int) -> ReDi:
        return cls(cls.read(settings), n_train)

    def pairs(self) -> tuple[Pair, ...]:
        height, width = self.config.size
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", c, (height // s, width // s), 1 / len(CHANNELS))
            for k, (c, s) in enumerate(zip(CHANNELS, STRIDES, strict=True))
        )

    def map_of(self, image: Tensor) -> Tensor:
        """H [N, C, h, w], float32 also in a half trunk: small gradients squared would vanish."""
        return self.self_map(image.float() * self.std.float() + self.mean.float())

    def recover_image(self, self_map: Tensor, prompt: Tensor) -> Tensor:
        """Y [N, 3, H, W], normalised, from H and ``prompt`` (normalised)."""
        dtype = self.recover.out.weight.dtype
        if not self.config.prompt:
            prompt = torch.zeros_like(prompt)
        recovered = self.recover(prompt.to(dtype), self_map.to(dtype))
        return (recovered - self.mean.to(dtype)) / self.std.to(dtype)

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        levels = self.backbone(image.to(self.recover.out.weight.dtype))
        recovered = self.recover_image(self.map_of(image), self.bank(levels))
        reference = self.scale.target(levels)
        restored = self.restore(self.scale.standardise(self.backbone(recovered)))
        return self.scale.emit(_unit(reference), _unit(restored))

    def restore(self, recovered: list[Tensor]) -> list[Tensor]:
        """F_Y from the standardised features of Y; without FRB just smoothed like F_X."""
        return smooth(recovered) if self.config.frb == "none" else self.frb(recovered)

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: the images X, their prompts, the recovered images Y."""
        prompt = self.bank(self.backbone(images))
        return [images, prompt, self.recover_image(self.map_of(images), prompt)]

    # training ------------------------------------------------------------------------------------

    def conclude(self, data: TrainingSet) -> None:
        """Measure E and w on the good images."""
        cache = self.cache or FeatureCache(self, data, self.config.variants)
        self.cache = None
        cache.recover()

        def compared(title: str) -> Iterator[Compared]:
            for part in cache.chunks(title):
                with torch.no_grad():
                    levels, recovered = cache.features(part, variant=0)
                    restored = self.restore(self.scale.standardise(recovered))
                yield _unit(self.scale.target(levels)), _unit(restored)

        measure(self, self.scale, compared)

    def stages(self, data: TrainingSet) -> list[Stage]:
        cache = self.cache = FeatureCache(self, data, self.config.variants)

        def recover_loss(
            indices: Tensor, generator: torch.Generator, _: float
        ) -> dict[str, Tensor]:
            image = data[indices]
            prompt = data[cache.training_prompts(indices, generator)]
            maps = with_foreign_patches(cache.maps[indices], self.config.patches, generator)
            recovered = self.recover_image(maps, prompt) * self.std + self.mean
            target = image * self.std + self.mean
            # At half resolution the structure term costs a quarter [P].
            small, small_target = (F.avg_pool2d(x, 2) for x in (recovered, target))
            return {
                "l1": (recovered - target).abs().mean(),
                "ssim": 1 - ssim(small, small_target),
            }

        def discriminate_loss(
            indices: Tensor, generator: torch.Generator, _: float
        ) -> dict[str, Tensor]:
            variant = int(torch.randint(cache.variants, (1,), generator=generator))
            levels, recovered = cache.features(indices, variant)
            reference = self.scale.target(levels)
            restored = self.restore(self.scale.standardise(recovered))
            losses = {"alignment": alignment_loss(reference, restored)}
            if self.config.self_correlation > 0:
                loss = self_correlation_loss(reference, restored)
                losses["self_correlation"] = self.config.self_correlation * loss
            return losses

        def stage(index: int, name: str, **parts: Any) -> Stage:
            config = self.config
            return Stage(
                name, len(data), steps=config.steps[index], batch_size=config.batch_size,
                learning_rate=config.learning_rate[index], weight_decay=1e-4, **parts,
            )  # fmt: skip

        first = stage(
            0,
            "recover",
            share=0.5 if self.config.frb != "none" else 1.0,
            modules=(self.recover,),
            prepare=cache.describe,
            loss=recover_loss,
        )
        if self.config.frb == "none":
            return [first]
        second = stage(
            1,
            "discriminate",
            share=0.5,
            modules=(self.frb,),
            prepare=cache.recover,
            loss=discriminate_loss,
        )
        return [first, second]
