"""SSAE: an autoencoder that undoes local corruption, a filter for what is not normal.

Source: Bauer, Nakajima, Mueller, "Self-supervised autoencoders for visual anomaly detection"
(Mathematics 2024; first as arXiv 2206.11723, "Self-supervised training with autoencoders for visual
anomaly detection"). Tags: [F] stated by the authors, [D] read off an independent
re-implementation, [P] our choice.

    X' = corrupt(X), M = 1 where it is corrupted                         blobs, strokes [D, P]
    L = lambda / |1-M| ||(1-M) (f(X') - X)||^2 + (1-lambda) / |M| ||M (f(X') - X)||^2      [D]
    map = |f(X) - X|^2, Gaussian; the score is the mean of its top 0.1 %                   [F]

f has no narrow bottleneck; stacked dilated convolutions (SDC) let it see far instead, and the
corruption keeps it from copying [F]. The residual f(X) - X is put in units of what good images have
(image_method.py): edges and grain, which never come back quite, do not drown a faint defect [P].
With noise, eps is added to both X' and the target X, so that f learns to let the fine grain pass
[F, a follow-up].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from ..features.networks import conv_norm_relu
from .base import Losses, Stage, TrainingSet
from .image_method import ImageMethod, ImageSettings
from .ssae_corruption import Corruption, corrupt, cut

DILATIONS = (1, 2, 4, 8, 16)  # [D]; the variant ccm has 32 too [F]
WIDTHS = (32, 64, 128)  # [D] at strides 1, 2, 4; these and those below times the setting width
FILTERS = 64  # [D] of each convolution of an SDC block
FUSED = 256  # [D] after the SDC blocks


@dataclass(frozen=True)
class SSAESettings(ImageSettings):
    """Every choice of SSAE, as docs/methods/ssae.md describes them: the preset edge."""

    multiple: ClassVar = 8
    choices: ClassVar = {"variant": ("plain", "ccm")}
    least: ClassVar = {**ImageSettings.least, "noise": 0}
    shares: ClassVar = ("weight", "elastic", "strokes", "clean")

    variant: str = "ccm"  # [F] in the same minutes it restores far better; plain: the first paper
    width: float = 0.25  # [P] of the channels; the paper: 1
    weight: float = 0.9  # [D] lambda
    elastic: float = 0.5  # [P] share of the shapes: elastic [D] and texture [F], mixed
    strokes: float = 0.25  # [P] share of the shapes
    clean: float = 0.15  # [P] share of the images
    extent: tuple[float, float] = (0.02, 0.4)  # [P] of a shape, shares of the smaller side
    opacity: tuple[float, float] = (0.2, 1.0)  # [P] of a texture
    noise: float = 0.0  # [P] off
    crop: int = 0  # [D] for textures only
    flips: bool = False  # [D] only where the part permits
    top_k: float = 0.001  # [F] or the maximum, which benchmarks/synthetic_defects.py likes less
    batch_size: int = 4  # [D] 4 to 16; more steps in the same minutes
    learning_rate: float = 1e-3  # [P] the steps are few; the paper: 1e-4 [D]
    steps: int = 1200  # [P] some seven minutes of a core; the paper: 20,000 to 40,000 [D]

    def __post_init__(self) -> None:
        super().__post_init__()
        step = self.multiple * self.shrink
        if self.crop and not (self.crop % step == 0 and 64 <= self.crop <= min(self.size)):
            raise TrainingError(
                f"crop={self.crop} cannot be used: give a multiple of {step} from 64 to "
                f"{min(self.size)}, the smaller side of size, or 0 for whole images"
            )
        for name in ("extent", "opacity"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise TrainingError(
                    f"{name}={getattr(self, name)} is not a range of shares; give two numbers "
                    "above 0, at most 1, the smaller one first"
                )

    @property
    def corruption(self) -> Corruption:
        return Corruption(self.clean, self.strokes, self.elastic, self.extent, self.opacity)


PAPER: dict[str, Any] = {
    "variant": "ccm",  # [F] with dilations to 32, the later paper, whose figures are quoted
    "width": 1.0,  # [D]
    "shrink": 1,  # [D]
    "fine": False,  # [F] the plain difference
    "position": False,  # [F] no such normalisation
    "batch_size": 8,  # [D]
    "learning_rate": 1e-4,  # [D]
    "steps": 30000,  # [D] 20,000 to 40,000
}


class StackedDilated(nn.Module):
    """SDC block: 5x5 convolutions of several dilations side by side, concatenated. [D]"""

    def __init__(self, inputs: int, filters: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_relu(inputs, filters, 5, dilation=d) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Mixing(nn.Module):
    """CCM skip: a e + (1 - a) d, a learned per position and channel. [F; form of a: P]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.share = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        share = torch.sigmoid(self.share(torch.cat([encoded, decoded], dim=1)))
        return share * encoded + (1 - share) * decoded


def _rise(inputs: int, outputs: int) -> nn.Sequential:
    """Transposed convolution to twice the size. [D; kernel 4: P]"""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class AutoEncoder(nn.Module):
    """f: [N, 3, H, W] in the dtype of the weights to [N, 3, H, W] float32, unbounded. [D]

    The kernels that the source leaves open are 5 before and 4 in the transposed convolutions: with
    them the network has the 11.7 million parameters that it names. [P]
    """

    def __init__(self, width: float, ccm: bool) -> None:
        super().__init__()
        a, b, c = (round(width * count) for count in WIDTHS)
        filters, fused = round(width * FILTERS), round(width * FUSED)
        dilations = (*DILATIONS, 32) if ccm else DILATIONS
        wide = filters * len(dilations)
        self.enc1 = nn.Sequential(conv_norm_relu(3, a), conv_norm_relu(a, a))
        self.enc2 = nn.Sequential(conv_norm_relu(a, b), conv_norm_relu(b, b))
        self.enc4 = nn.Sequential(conv_norm_relu(b, c), conv_norm_relu(c, c))
        self.sdc = nn.Sequential(
            *(StackedDilated(inputs, filters, dilations) for inputs in (c, wide, wide, wide)),
            conv_norm_relu(wide, fused, 5),
        )
        self.dec4, self.dec2, self.dec1 = _rise(fused, c), _rise(c, b), _rise(b, a)
        self.skips = nn.ModuleList(Mixing(count) for count in (c, b, a)) if ccm else None
        self.out = nn.Conv2d(a, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.enc1(x)
        e2 = self.enc2(F.max_pool2d(e1, 2))
        e4 = self.enc4(F.max_pool2d(e2, 2))
        decoded = self.sdc(F.max_pool2d(e4, 2))
        steps = ((self.dec4, e4), (self.dec2, e2), (self.dec1, e1))
        for k, (rise, encoded) in enumerate(steps):
            decoded = rise(decoded)
            if self.skips is not None:
                decoded = self.skips[k](encoded, decoded)
        # In half a value near 1 has steps of 5e-4, which is a share of a good image's error.
        return F.conv2d(decoded.float(), self.out.weight.float(), self.out.bias.float())


def weighted_loss(reconstructed: Tensor, target: Tensor, mask: Tensor, weight: float) -> Losses:
    """The two terms of L, per image and then averaged over [N, 3, H, W]. [D]

    mask: [N, 1, H, W], 1 where the input was corrupted; |M| counts pixels times channels.
    """
    error = (reconstructed - target).square()

    def mean(region: Tensor) -> Tensor:
        count = (3 * region.sum((1, 2, 3))).clamp_min(1)
        return ((region * error).sum((1, 2, 3)) / count).mean()

    return {"kept": weight * mean(1 - mask), "corrupted": (1 - weight) * mean(mask)}


class SSAE(ImageMethod):
    """The exported graph and its training."""

    name: ClassVar[str] = "ssae"
    distance: ClassVar[str] = "l2"  # a mean over channels; the paper's sum is three times that
    settings_type = SSAESettings
    presets: ClassVar = {"edge": {}, "paper": PAPER}
    takes_textures: ClassVar[bool] = True

    def __init__(self, settings: SSAESettings) -> None:
        super().__init__()
        self.config = settings
        self.autoencoder = AutoEncoder(settings.width, settings.variant == "ccm")
        self.add_units(1)

    def pairs(self) -> tuple[Pair, ...]:
        return (Pair("reference_0", "restored_0", 3, self.config.seen, 1.0),)

    def reconstruct(self, small: Tensor) -> Tensor:
        """f: [N, 3, h, w] to the same shape, float32."""
        return self.autoencoder(small.to(self.autoencoder.out.weight.dtype))

    def restore(self, small: Tensor) -> Tensor:
        return self.reconstruct(small)[:, None]

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: X, f(X), corrupted X, and what f makes of it."""
        small, generator = self.shrink(images), torch.Generator().manual_seed(0)
        corrupted, _ = corrupt(small, self.config.corruption, generator)
        rows = [self.reconstruct(small), corrupted, self.reconstruct(corrupted)]
        return [images, *(F.interpolate(row, self.config.size) for row in rows)]

    def conclude(self, data: TrainingSet) -> None:
        """Measure what residual good images have, at each place and in each colour."""
        if self.config.position:
            self.measure_units(data, "errors of the good images")

    def views(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Crops and mirrored images, where the settings ask for them: [N, 3, h, w]."""
        config, views = self.config, []
        for view in images:
            if config.crop:
                view = cut(view, (config.crop, config.crop), generator)
            if config.flips:
                both = torch.randint(2, (2,), generator=generator).tolist()
                view = view.flip([axis + 1 for axis, turned in enumerate(both) if turned])
            views.append(view)
        return torch.stack(views)

    def stages(self, data: TrainingSet) -> list[Stage]:
        config, textures = self.config, self.shrink(data.textures)

        def loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            target = self.shrink(self.views(data.images[indices], generator))
            corrupted, mask = corrupt(target, config.corruption, generator, textures)
            if config.noise:
                grain = config.noise * torch.randn(target.shape, generator=generator)
                target, corrupted = target + grain, corrupted + grain
            target, corrupted, mask = (x.to(data.device) for x in (target, corrupted, mask))
            return weighted_loss(self.reconstruct(corrupted), target, mask, config.weight)

        # AdamW without decay is Adam [D].
        return [self.stage(data, self.autoencoder, loss, weight_decay=0.0)]
