"""ARNet: erase attributes of an image, restore them, and measure what comes back wrong.

Source: Huang, Ye, Cao, Li, Zhang, Lu, "Attribute restoration framework for anomaly detection"
(arXiv 1911.10676). Tags: [F] stated by the authors, [D] read off an independent re-implementation,
[P] our choice.

    O_k(X) = gray(rotate_k(X))       k = 0, 90, 180, 270 degrees, T transformations          [D]
    Y_k = unet(O_k(X))               the colour image X upright again; trained with MSE      [D]
    E_k = mean |Y_k - X| over the training images, their pixels and channels                 [D]
    map = 1/T sum over k of |Y_k - X| / E_k, the score is its mean                           [D]

What was erased comes back as good parts have it, so a defect is reconstructed wrongly [F]. With the
setting position E_k is measured at each position, so that edges, which never come back quite, do
not drown a faint defect, and the score is the mean of the highest values [P]. The graph gives
X / E_k and Y_k / E_k, whose mean absolute difference is just |Y_k - X| / E_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from ..features.networks import conv_norm_relu, position_gain, upsample
from .base import OPTIMISERS, UNIT_RANGE, Losses, Method, MethodSettings, Stage, TrainingSet
from .ssae_corruption import cut

WIDTHS = (64, 128, 256, 512, 512)  # [D] at strides 1, 2, 4, 8, 16; times the setting width
USUAL_FLOOR = 1 / 510  # [P] half a grey level: no camera resolves a smaller E


@dataclass(frozen=True)
class ARNetSettings(MethodSettings):
    """Every choice of ARNet, as docs/methods/arnet.md describes them: the preset edge."""

    multiple: ClassVar = 16
    choices: ClassVar = {
        "erase": ("both", "gray", "rotation"), "turns": (2, 4), "optimiser": OPTIMISERS
    }  # fmt: skip
    least: ClassVar = {"width": 1 / 16}
    most: ClassVar = {"width": 8}

    size: tuple[int, int] = (256, 256)  # [P]
    erase: str = "both"  # [D]; which attributes help depends on the part, so it is a setting [P]
    turns: int = 4  # [D] by 90 degrees; 2: by 180
    width: float = 0.125  # [P] of the channels; about the time of ReDi on one core; the paper: 1
    position: bool = True  # [P] the paper: False
    blur_sigma: float = 4.0  # [P] pixels at 256; the paper scores images only
    pooling: str = "top_k"  # [P] finds small defects; the paper: mean [D]
    top_k: float = 0.001  # [P] by benchmarks/synthetic_defects.py
    batch_size: int = 8  # [P] more steps in the same minutes; the paper: 32 [D]
    augment: bool = False  # [P] mirrored and shifted images; the paper: True
    optimiser: str = "adamw"  # [P] the steps are few; the paper: sgd [D]
    learning_rate: float = 1e-3  # [P] the paper: 0.1, halved ten times [D]
    steps: int = 2000  # [P] the paper: 500/T epochs [D]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.erase != "gray" and self.turns == 4 and self.size[0] != self.size[1]:
            raise TrainingError(
                f"size={self.size} is not square, and a rotation by 90 degrees swaps the sides: "
                "set turns=2, erase=gray or a square size"
            )


PAPER: dict[str, Any] = {
    "width": 1.0,  # [D]
    "position": False,  # [D]
    "batch_size": 32,  # [D]
    "augment": True,  # [F] an author asks a re-implementer for it; which one is [P]
    "optimiser": "sgd",  # [D]
    "learning_rate": 0.1,  # [D] also the first one of an author's log
    "steps": 1000,  # [D] 500/T epochs, of a category of MVTec AD
    "blur_sigma": 0.0,  # [D] the map itself is averaged
    "pooling": "mean",  # [D]
}


def rotate(image: Tensor, quarters: int) -> Tensor:
    """[..., H, W] counterclockwise by ``quarters`` of 90 degrees, 0 to 3, as ``numpy.rot90``.

    Written as transpositions and flips, which every engine has.
    """
    turned = image.transpose(-2, -1) if quarters % 2 else image
    sides = ((), (-2,), (-2, -1), (-1,))[quarters]
    return turned.flip(*sides) if sides else turned


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of images [N, 3, H, W] mirrored or not, and shifted by up to an eighth of a side."""
    size = (int(images.shape[2]), int(images.shape[3]))
    rows, columns = (side // 8 for side in size)
    padded = F.pad(images, (columns, columns, rows, rows), mode="reflect")
    views = [cut(view, size, generator) for view in padded]
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.stack(
        [x.flip(2) if turned else x for x, turned in zip(views, mirrored, strict=True)]
    )


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_relu(inputs, outputs), conv_norm_relu(outputs, outputs))


class UNet(nn.Module):
    """U-Net with bilinear upsampling and concatenated skips. [D; width, sigmoid: P]

    [N, inputs, H, W] in [0, 1], in the dtype of the weights, to [N, 3, H, W] float32 in [0, 1].
    """

    def __init__(self, inputs: int, width: float) -> None:
        super().__init__()
        a, b, c, d, e = (round(width * count) for count in WIDTHS)
        self.inputs = inputs
        self.enc1, self.enc2 = _double(inputs, a), _double(a, b)
        self.enc4, self.enc8, self.enc16 = _double(b, c), _double(c, d), _double(d, e)
        self.dec8, self.dec4 = _double(e + d, c), _double(c + c, b)
        self.dec2, self.dec1 = _double(b + b, a), _double(a + a, a)
        self.out = nn.Conv2d(a, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.enc1(x)
        e2 = self.enc2(F.max_pool2d(e1, 2))
        e4 = self.enc4(F.max_pool2d(e2, 2))
        e8 = self.enc8(F.max_pool2d(e4, 2))
        e16 = self.enc16(F.max_pool2d(e8, 2))
        d8 = self.dec8(torch.cat([e8, upsample(e16)], dim=1))
        d4 = self.dec4(torch.cat([e4, upsample(d8)], dim=1))
        d2 = self.dec2(torch.cat([e2, upsample(d4)], dim=1))
        d1 = self.dec1(torch.cat([e1, upsample(d2)], dim=1))
        # In half a value near 1 has steps of 5e-4, which is a share of E; a logit's are finer.
        return torch.sigmoid(self.out(d1).float())


class ARNet(Method):
    """The exported graph and its training."""

    name: ClassVar[str] = "arnet"
    distance: ClassVar[str] = "l1"
    settings_type = ARNetSettings
    normalisation = UNIT_RANGE  # an author says so [F]
    presets: ClassVar = {"edge": {}, "paper": PAPER}
    gain: Tensor  # 1 / E_k, [T, 1, H, W]

    def __init__(self, settings: ARNetSettings) -> None:
        super().__init__()
        self.config = settings
        turns = 1 if settings.erase == "gray" else settings.turns
        self.quarters = tuple(range(0, 4, 4 // turns))
        self.unet = UNet(3 if settings.erase == "rotation" else 1, settings.width)
        self.register_buffer("gain", torch.ones(len(self.quarters), 1, *settings.size))

    def pairs(self) -> tuple[Pair, ...]:
        count = len(self.quarters)
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", 3, self.config.size, 1 / count)
            for k in range(count)
        )

    def erase(self, image: Tensor, k: int) -> Tensor:
        """O_k: [N, 3, H, W] to [N, 1 or 3, H, W], without colour and turned, as is set."""
        kept = image.mean(1, keepdim=True) if self.config.erase != "rotation" else image
        return rotate(kept, self.quarters[k])

    def reconstruct(self, image: Tensor) -> Tensor:
        """Y_k of all k, as one batch: [N, 3, H, W] to [N, T, 3, H, W], float32 in [0, 1]."""
        count, size = len(self.quarters), self.config.size
        erased = torch.stack([self.erase(image, k) for k in range(count)], dim=1)
        erased = erased.reshape(-1, self.unet.inputs, *size).to(self.unet.out.weight.dtype)
        return self.unet(erased).reshape(-1, count, 3, *size)

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        reconstructed, gain = self.reconstruct(image), self.gain.float()
        return [(image * gain[k], reconstructed[:, k] * gain[k]) for k in range(len(self.quarters))]

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: the images X, the last O_k(X) in three channels, and its reconstruction."""
        erased = self.erase(images, -1).expand(-1, 3, -1, -1)
        return [images, erased, self.reconstruct(images)[:, -1]]

    def conclude(self, data: TrainingSet) -> None:
        """Measure E_k, the mean error of the training images under each transformation [D]."""

        def error(image: Tensor) -> Tensor:
            return (self.reconstruct(image) - image[:, None]).abs().mean(2)

        for k, usual in enumerate(data.mean(error, "restoration errors of the good images")):
            if self.config.position:
                self.gain[k, 0] = position_gain(usual.clamp_min(USUAL_FLOOR), blurred=True)
            else:
                self.gain[k] = 1 / usual.mean().clamp_min(USUAL_FLOOR)

    def stages(self, data: TrainingSet) -> list[Stage]:
        def loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            image = data[indices]
            if self.config.augment:
                image = augmented(image, generator)
            drawn = torch.randint(len(self.quarters), indices.shape, generator=generator).tolist()
            erased = [self.erase(x[None], k) for x, k in zip(image, drawn, strict=True)]
            return {"mse": F.mse_loss(self.unet(torch.cat(erased)), image)}

        return [self.stage(data, self.unet, loss, optimiser=self.config.optimiser)]
