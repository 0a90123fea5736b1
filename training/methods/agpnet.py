"""AGPNet: reconstruct features that were perturbed where attention says it is hardest.

Source: Huang, Cheng, Xia et al., "Attention-guided perturbation for unsupervised image anomaly
detection" (arXiv 2408.07490). Tags: [F] stated by the authors, [P] our choice where the paper is
silent.

    F_clean = sum over levels of LN(F_l)        frozen backbone, LN without affine [F]
    A = minmax(A_prior) + minmax(A_learn)       from the backbone; from the decoder's EMA copy [F]
    F' = F_clean + E (alpha(t) minmax(A) + beta)        E Gaussian, alpha(t) grows linearly [F]
    X' = X + noise in the highest r(t) of A, F'_img = F of X'                           [F]
    L = 1/2 (|decoder(F') - F_clean|^2 + |decoder(F'_img) - F_clean|^2)                 [F]
    map = |decoder(F_clean) - F_clean|^2                                         l2, maximum [F]

With ``joint`` F'_img has the noise of F' besides [F, as a summary of the paper has it]. The noise
is there in training only: an inference costs the backbone and a small ViT [F]. The levels of a CNN
differ in width and resolution, so they are laid side by side on one grid instead of summed
(``join=concat``), finer ones folded into channels, and compared each at its own resolution [P].
With ``position`` a squared error is divided by E, its mean on good images at that position [P, the
idea of ARNet's E_k]; with ``balance`` each level counts by w, one over the standard deviation of
the good images' scores on it [P]. The residual that is squared is the mean over a ``window`` of
positions: grain, which no network foresees, cancels out in it, and a defect does not [P]. Of each
image it is divided by a power of its mean length, ``own_level`` [P].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError
from edgead.learning.placement import LOOSE, MEANINGS, PLACEMENTS

from ..features.backbone import FrozenBackbone
from ..features.efficientnet_lite import load_lite
from ..features.networks import fold, unfold
from ..features.scale import Compared, FeatureScale, Pairs
from .agpnet_clean_features import CleanFeatures
from .agpnet_decoder import Decoder, Teacher
from .backbone_method import BackboneMethod, BackboneSettings, check_tokens
from .base import Losses, Stage, TrainingSet
from .placement import placement_of


@dataclass(frozen=True)
class AGPNetSettings(BackboneSettings):
    """Every choice of AGPNet, as docs/methods/agpnet.md describes them.

    The default is the preset edge. noise, where, masks, ema and schedule are the paper's ablation.
    """

    choices: ClassVar = {
        "join": ("concat", "sum"), "noise": ("attention", "random", "none"),
        "where": ("both", "feature", "image"), "masks": ("both", "prior", "learnt"),
        "schedule": ("linear", "constant"), "window": (1, 3, 5),
        "placement": ("found", *PLACEMENTS),
    }  # fmt: skip
    added: ClassVar = BackboneSettings.added | {"window": 1, "placement": "aligned"}
    least: ClassVar = (
        dict.fromkeys(("common", "width", "heads", "blocks"), 1)
        | {"stride": 8}
        | dict.fromkeys(("alpha", "beta", "image_std", "image_share", "eta"), 0)
    )

    size: tuple[int, int] = (256, 256)  # [P]
    stride: int = 16  # [F] pixels per token, ViT-S/16
    join: str = "concat"  # [P] the paper, whose levels have one shape: sum
    common: int = 384  # [F] the width of ViT-S; levels of one shape keep their own
    width: int = 96  # [P] twice the steps in the same minutes; ViT-S: 384
    heads: int = 3  # [P] 32 channels each
    blocks: int = 3  # [P] as good as the paper's four, and cheaper
    noise: str = "attention"  # [F]
    where: str = "both"  # [F]
    joint: bool = False  # [P] noise on features of noisy images too; the paper: True
    masks: str = "both"  # [F]
    ema: bool = True  # [F]
    eta: float = 0.999  # [P]
    schedule: str = "linear"  # [F]
    alpha: float = 2.0  # [P]
    beta: float = 0.1  # [P]
    image_share: tuple[float, float] = (0.05, 0.3)  # [P] r, first and last
    image_std: float = 0.4  # [P] of the normalised pixels' noise
    placement: str = "found"  # [P] how the part lies; places count unless it lies loosely
    window: int = 3  # [P] by benchmarks/synthetic_defects.py; the paper: 1
    pooling: str = "max"  # [F]
    learning_rate: float = 1e-3  # [P] the steps are few; as ViTAD: 1e-4
    steps: int = 300  # [P] some two minutes on two cores

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise TrainingError(
                f"width={self.width} is not a multiple of heads={self.heads}; each head takes a "
                "part"
            )
        if self.eta >= 1:
            raise TrainingError(f"eta={self.eta} never follows the decoder; give less than 1")
        low, high = self.image_share
        if not low <= high <= 1:
            raise TrainingError(
                f"image_share={self.image_share} is not a range of shares; give two numbers from 0 "
                "to 1, the smaller one first"
            )


PAPER: dict[str, Any] = {
    "join": "sum",  # [F]
    "joint": True,  # [F, a summary of the paper] L_img,feat
    "width": 384,  # [F] that of ViT-S
    "heads": 6,  # [F] that of ViT-S
    "blocks": 4,  # [F]
    "window": 1,  # [F] the plain distance
    "position": False,  # [F] likewise
    "balance": False,  # [F]
    "own_level": 0.0,  # [F] likewise
    "learning_rate": 1e-4,  # [P] as ViTAD
    "steps": 15000,  # [F, a digest of the paper] 500 epochs, of a category of MVTec AD
}


def channel_norm(x: Tensor) -> Tensor:
    """LayerNorm without affine over the channels of each position: [N, C, h, w], float32. [F]"""
    x = x.float()
    centred = x - x.mean(1, keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()


def projection(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """A fixed random projection with orthonormal rows or columns: [outputs, inputs, 1, 1]. [P]"""
    tall = torch.randn(max(inputs, outputs), min(inputs, outputs), generator=generator)
    basis = torch.linalg.qr(tall)[0]
    return (basis if outputs > inputs else basis.T)[:, :, None, None].contiguous()


def minmax(mask: Tensor) -> Tensor:
    """Each mask [N, 1, h, w] stretched to [0, 1]; all 0 where it is constant."""
    low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
    return (mask - low) / (high - low).clamp_min(1e-12)


def feature_noise(clean: Tensor, noise: Tensor, mask: Tensor, alpha: float, beta: float) -> Tensor:
    """F' of F_clean and the noise E, both [N, C, h, w], and the mask A [N, 1, h, w]. [F]"""
    return clean + noise * (alpha * minmax(mask) + beta)


def marked_pixels(mask: Tensor, size: tuple[int, int], share: float) -> Tensor:
    """1 in the highest ``share`` of A [N, 1, h, w], upsampled to ``size``: [N, 1, H, W]. [F]"""
    smooth = F.interpolate(mask, size, mode="bilinear", align_corners=False).flatten(1)
    count = max(1, round(share * smooth.shape[1]))
    marked = torch.zeros_like(smooth).scatter_(1, smooth.topk(count, dim=1).indices, 1.0)
    return marked.unflatten(1, (1, *size))


def image_noise(
    images: Tensor, mask: Tensor, share: float, std: float, generator: torch.Generator
) -> Tensor:
    """Gaussian noise on the images [N, 3, H, W] in the highest ``share`` of the mask A. [F]"""
    noise = std * torch.randn(images.shape, generator=generator).to(images.device)
    return images + noise * marked_pixels(mask, images.shape[2:], share)


def schedule(
    kind: str, done: float, alpha: float, image_share: tuple[float, float]
) -> tuple[float, float]:
    """(alpha, r): noise factor and share of noisy pixels at the share ``done`` of the training.

    kind: linear, from easy to hard [F], or constant, the mean of that [P].
    """
    at = done if kind == "linear" else 0.5
    low, high = image_share
    return at * alpha, low + at * (high - low)


class AGPNet(BackboneMethod):
    """The exported graph and its training."""

    name: ClassVar[str] = "agpnet"
    distance: ClassVar[str] = "l2"
    settings_type = AGPNetSettings
    presets: ClassVar = {"edge": {}, "paper": PAPER}

    def __init__(
        self, settings: AGPNetSettings, n_train: int, backbone: FrozenBackbone | None = None
    ) -> None:
        super().__init__()
        self.config = settings
        height, width = settings.size
        self.grid = (height // settings.stride, width // settings.stride)
        self.backbone = load_lite() if backbone is None else backbone
        self.check_backbone(settings, self.backbone)
        self.factors = [max(1, settings.stride // stride) for stride in self.backbone.strides]
        folded = self.folded()
        concat, self.alike = settings.join == "concat", len(set(folded)) == 1
        self.common = folded[0] if self.alike else settings.common  # of the sum
        self.decoder = Decoder(
            sum(folded) if concat else self.common,
            self.grid, settings.width, settings.heads, settings.blocks,
        )  # fmt: skip
        if not concat and not self.alike:
            generator = torch.Generator().manual_seed(0)
            for k, count in enumerate(folded):
                self.register_buffer(f"project_{k}", projection(count, settings.common, generator))
        rows, columns = self.grid
        self.sizes = [(rows * f, columns * f) for f in self.factors]
        compared = self.sizes if concat else [self.grid]
        self.scale = FeatureScale(
            self.backbone.channels, compared, [1.0] * len(compared), own_level=settings.own_level
        )
        self.teacher: Teacher | None = None  # while it trains
        self.clean: CleanFeatures | None = None

    @classmethod
    def check_backbone(cls, config: AGPNetSettings, backbone: FrozenBackbone) -> None:
        check_tokens(config.stride, backbone)
        super().check_backbone(config, backbone)

    @classmethod
    def multiple_of(cls, config: AGPNetSettings, backbone: FrozenBackbone) -> int:
        return math.lcm(super().multiple_of(config, backbone), config.stride)

    def pairs(self) -> tuple[Pair, ...]:
        if self.config.join == "sum":
            return (Pair("reference_0", "restored_0", self.common, self.grid, 1.0),)
        return super().pairs()

    def folded(self) -> list[int]:
        """Channels of each level on the grid: C_l f^2, with what is folded into a token."""
        return [c * f**2 for c, f in zip(self.backbone.channels, self.factors, strict=True)]

    def on_grid(self, levels: list[Tensor]) -> list[Tensor]:
        """Standardised, smoothed levels, none coarser than the grid: [N, C_l, f h, f w]."""
        placed = []
        for x, stride in zip(self.scale.target(levels), self.backbone.strides, strict=True):
            if stride > self.config.stride:
                scale = stride / self.config.stride
                x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            placed.append(x)
        return placed

    def join(self, levels: list[Tensor]) -> Tensor:
        """F_clean [N, C, h, w] float32 from the levels on the grid."""
        parts = list(zip(levels, self.factors, strict=True))
        if self.config.join == "concat":
            return torch.cat([fold(channel_norm(x), factor) for x, factor in parts], dim=1)
        placed = [fold(x, factor) for x, factor in parts]
        if not self.alike:
            placed = [F.conv2d(x, self.get_buffer(f"project_{k}")) for k, x in enumerate(placed)]
        return torch.stack([channel_norm(x) for x in placed]).sum(0)

    def split(self, features: Tensor) -> list[Tensor]:
        """F [N, C, h, w] to what is compared: each level at its resolution, or the sum."""
        if self.config.join == "sum":
            return [features]
        parts = features.split(self.folded(), dim=1)
        return [unfold(x, factor) for x, factor in zip(parts, self.factors, strict=True)]

    def saliency(self, levels: list[Tensor]) -> Tensor:
        """A_prior [N, 1, h, w] of the levels on the grid: the mean over levels and channels of the
        squared feature. [P: a CNN has no attention; Zagoruyko and Komodakis 2017]"""
        parts = zip(levels, self.factors, strict=True)
        energies = [fold(x, factor).square().mean(1, keepdim=True) for x, factor in parts]
        return torch.stack(energies).mean(0)

    def prior(self, levels: list[Tensor], attention: Tensor | None) -> Tensor:
        """A_prior [N, 1, h, w]: the backbone's attention [F], else ``saliency`` of its levels."""
        if attention is None:
            return self.saliency(levels)
        if attention.shape[2:] == self.grid:
            return attention
        return F.interpolate(attention, self.grid, mode="bilinear", align_corners=False)

    def averaged(self, parts: list[Tensor]) -> list[Tensor]:
        """What is compared, each position the mean of the window around it."""
        if (side := self.config.window) == 1:
            return parts
        pool = nn.AvgPool2d(side, 1, side // 2, count_include_pad=False)
        return [pool(x) for x in parts]

    def compared(self, clean: Tensor) -> Compared:
        """F_clean and F_hat as they are compared."""
        reconstructed = self.decoder(clean)
        return self.averaged(self.split(clean)), self.averaged(self.split(reconstructed))

    def compare(self, image: Tensor, levels: list[Tensor]) -> Pairs:
        placed = self.on_grid(levels)
        if self.config.join == "sum":
            return self.scale.emit(*self.compared(self.join(placed)))
        normal = [channel_norm(x) for x in placed]  # ``compared`` without folding them, and faster
        found = self.split(self.decoder.reconstruct(normal))
        return self.scale.emit(self.averaged(normal), self.averaged(found))

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: X, the mask A, and X with the noise that training ends with."""
        generator = torch.Generator().manual_seed(0)
        mask = self.mask(*self.describe(images), generator)
        noisy = image_noise(images, mask, self.schedule(1.0)[1], self.config.image_std, generator)
        mean, std = self.backbone.normalisation()
        shown = F.interpolate(minmax(mask), self.config.size, mode="bilinear")
        return [images, (shown - mean) / std, noisy]

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(F_clean [N, C, h, w], A_prior [N, 1, h, w]) of images [N, 3, H, W]."""
        levels, attention = self.backbone.features_and_attention(images)
        placed = self.on_grid(levels)
        return self.join(placed), self.prior(placed, attention)

    def clean_features(self, data: TrainingSet) -> CleanFeatures:
        values = self.decoder.channels * math.prod(self.grid)
        return CleanFeatures(data, values, self.backbone, self.scale, self.describe)

    def schedule(self, done: float) -> tuple[float, float]:
        """(alpha, r) at the share ``done`` of the training."""
        return schedule(self.config.schedule, done, self.config.alpha, self.config.image_share)

    def mask(self, clean: Tensor, prior: Tensor, generator: torch.Generator) -> Tensor:
        """A [N, 1, h, w]: where the noise goes."""
        if self.config.noise == "random":
            return torch.rand(prior.shape, generator=generator).to(prior.device)
        terms = []
        if self.config.masks != "learnt":
            terms.append(minmax(prior))
        if self.config.masks != "prior":
            decoder = self.decoder if self.teacher is None else self.teacher.decoder
            terms.append(minmax(decoder.attention_mask(clean)))
        return torch.stack(terms).sum(0)

    def gaussian(self, count: int, generator: torch.Generator) -> Tensor:
        """E [count, C, h, w] with standard deviation 1. The places that are folded into a token
        share a draw: from draws of their own a 3x3 average would tell what is there. [P]"""
        if self.config.join == "sum":
            return torch.randn(count, self.common, *self.grid, generator=generator)
        draws = [
            torch.randn(count, c, *self.grid, generator=generator).repeat_interleave(f**2, dim=1)
            for c, f in zip(self.backbone.channels, self.factors, strict=True)
        ]
        return torch.cat(draws, dim=1)

    def conclude(self, data: TrainingSet) -> None:
        source = self.clean or self.clean_features(data)
        source.prepare()  # nothing has, where a run is resumed after its last step

        def compared(part: Tensor) -> Compared:
            clean, _ = source(part)
            return self.compared(clean)

        self.fit_comparison(data, compared, self.places_count(data))
        self.clean = self.teacher = None

    def places_count(self, data: TrainingSet) -> bool:
        """Whether E is that of each place: of a part that lies loosely no place says anything."""
        config = self.config
        if not config.position or config.placement != "found":
            return config.position and config.placement != LOOSE
        lies = placement_of(self.backbone, data, self.map_params().blur_sigma)
        count = lies.name != LOOSE
        usual = "that of each place" if count else "alike at all places"
        self.found = f"{lies.name}: {MEANINGS[lies.name]}; what is usual is {usual}"
        return count

    def stages(self, data: TrainingSet) -> list[Stage]:
        config = self.config
        source = self.clean = self.clean_features(data)
        if config.ema and config.noise == "attention" and config.masks != "prior":
            self.teacher = Teacher(self.decoder, config.eta)

        def loss(indices: Tensor, generator: torch.Generator, done: float) -> Losses:
            if self.teacher is not None:
                self.teacher.follow(self.decoder)
            clean, prior = source(indices)
            inputs = {"clean": clean} if config.noise == "none" else {}  # by the name of their loss
            if not inputs:
                mask, (alpha, share) = self.mask(clean, prior, generator), self.schedule(done)

                def noisy(features: Tensor) -> Tensor:
                    noise = source.spread * self.gaussian(len(features), generator).to(mask.device)
                    return feature_noise(features, noise, mask, alpha, config.beta)

                if config.where != "image":
                    inputs["feature"] = noisy(clean)
                if config.where != "feature":
                    images = image_noise(data[indices], mask, share, config.image_std, generator)
                    with torch.no_grad():
                        seen = self.join(self.on_grid(self.backbone(images)))
                    inputs["image"] = noisy(seen) if config.joint else seen
            reconstructed = self.decoder(torch.cat(list(inputs.values()))).chunk(len(inputs))
            errors = [F.mse_loss(each, clean) / len(inputs) for each in reconstructed]
            return dict(zip(inputs, errors, strict=True))

        return [self.stage(data, self.decoder, loss, prepare=source.prepare)]
