"""ARNet: erase attributes of an image, restore them, and measure what comes back wrong.

Source: Huang, Ye, Cao, Li, Zhang, Lu, "Attribute restoration framework for anomaly detection"
(arXiv 1911.10676). Tags: [F] stated by the authors, [D] read off an independent re-implementation,
[P] our choice.

    O_k(X) = gray(rotate_k(X))       k = 0, 90, 180, 270 degrees, T transformations          [D]
    Y_k = unet(O_k(X))               the colour image X upright again; trained with MSE      [D]
    E_k = mean |Y_k - X| over the training images, their pixels and channels                 [D]
    map = 1/T sum over k of |Y_k - X| / E_k, the score is its mean                           [D]

What was erased comes back as good parts have it, so a defect is reconstructed wrongly [F]. With the
setting position the residual Y_k - X is put in units of what good images have at each place instead
(image_method.py): edges and grain, which never come back quite, do not drown a faint defect; and
the score is the mean of the highest values [P]. The graph gives X and Y_k over E_k, whose mean
absolute difference is just |Y_k - X| / E_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from ..features.networks import conv_norm_relu, upsample
from .base import OPTIMISERS, Losses, Stage, TrainingSet
from .image_method import ImageMethod, ImageSettings
from .ssae_corruption import cut

WIDTHS = (64, 128, 256, 512, 512)  # [D] at strides 1, 2, 4, 8, 16; times the setting width
USUAL_FLOOR = 1 / 510  # [P] half a grey level: no camera resolves a smaller E_k


@dataclass(frozen=True)
class ARNetSettings(ImageSettings):
    """Every choice of ARNet, as docs/methods/arnet.md describes them: the preset edge."""

    multiple: ClassVar = 16
    choices: ClassVar = {
        "erase": ("both", "gray", "rotation"), "turns": (2, 4), "optimiser": OPTIMISERS
    }  # fmt: skip

    erase: str = "both"  # [D]; which attributes help depends on the part, so it is a setting [P]
    turns: int = 4  # [D] by 90 degrees; 2: by 180
    width: float = 0.125  # [P] of the channels; about the time of ReDi on one core; the paper: 1
    batch_size: int = 8  # [P] more steps in the same minutes; the paper: 32 [D]
    augment: bool = False  # [P] mirrored and shifted images; the paper: True
    optimiser: str = "adamw"  # [P] the steps are few; the paper: sgd [D]
    learning_rate: float = 1e-3  # [P] the paper: 0.1, halved ten times [D]
    steps: int = 700  # [P] some four minutes of a core; the paper: 500/T epochs [D]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.erase != "gray" and self.turns == 4 and self.size[0] != self.size[1]:
            raise TrainingError(
                f"size={self.size} is not square, and a rotation by 90 degrees swaps the sides: "
                "set turns=2, erase=gray or a square size"
            )


PAPER: dict[str, Any] = {
    "width": 1.0,  # [D]
    "shrink": 1,  # [D]
    "fine": False,  # [D]
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


class ARNet(ImageMethod):
    """The exported graph and its training."""

    name: ClassVar[str] = "arnet"
    distance: ClassVar[str] = "l1"
    settings_type = ARNetSettings
    presets: ClassVar = {"edge": {}, "paper": PAPER}

    def __init__(self, settings: ARNetSettings) -> None:
        super().__init__()
        self.config = settings
        turns = 1 if settings.erase == "gray" else settings.turns
        self.quarters = tuple(range(0, 4, 4 // turns))
        self.unet = UNet(3 if settings.erase == "rotation" else 1, settings.width)
        self.add_units(len(self.quarters))

    def pairs(self) -> tuple[Pair, ...]:
        count = len(self.quarters)
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", 3, self.config.seen, 1 / count)
            for k in range(count)
        )

    def erase(self, image: Tensor, k: int) -> Tensor:
        """O_k: [N, 3, h, w] to [N, 1 or 3, h, w], without colour and turned, as is set."""
        kept = image.mean(1, keepdim=True) if self.config.erase != "rotation" else image
        return rotate(kept, self.quarters[k])

    def restore(self, small: Tensor) -> Tensor:
        """Y_k of all k, as one batch: [N, 3, h, w] to [N, T, 3, h, w], float32 in [0, 1]."""
        count, size = len(self.quarters), self.config.seen
        erased = torch.stack([self.erase(small, k) for k in range(count)], dim=1)
        erased = erased.reshape(-1, self.unet.inputs, *size).to(self.unet.out.weight.dtype)
        return self.unet(erased).reshape(-1, count, 3, *size)

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows: the images X, the last O_k(X) in three channels, and its reconstruction."""
        small = self.shrink(images)
        rows = [self.erase(small, -1).expand(-1, 3, -1, -1), self.restore(small)[:, -1]]
        return [images, *(F.interpolate(row, self.config.size) for row in rows)]

    def conclude(self, data: TrainingSet) -> None:
        """Measure E_k, the mean error of the training images under each transformation [D]."""
        title = "restoration errors of the good images"
        if self.config.position:
            self.measure_units(data, title)
            return

        def error(image: Tensor) -> Tensor:
            original, restored = self.compared(image)
            return (restored - original[:, None]).abs().mean((2, 3, 4))

        usual = data.mean(error, title).clamp_min(USUAL_FLOOR)
        self.gain.copy_(1 / usual[:, None, None, None])

    def stages(self, data: TrainingSet) -> list[Stage]:
        def loss(indices: Tensor, generator: torch.Generator, _: float) -> Losses:
            image = data[indices]
            if self.config.augment:
                image = augmented(image, generator)
            image = self.shrink(image)
            drawn = torch.randint(len(self.quarters), indices.shape, generator=generator).tolist()
            erased = [self.erase(x[None], k) for x, k in zip(image, drawn, strict=True)]
            return {"mse": F.mse_loss(self.unet(torch.cat(erased)), image)}

        return [self.stage(data, self.unet, loss, optimiser=self.config.optimiser)]
