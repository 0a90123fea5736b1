"""What SSAE and ARNet share: images compared with their reconstruction, in units of the residual.

A network cannot give the grain of metal back, nor light that is a little off. So pictures are
compared less their slow part h, and the residual r = h(X) - h(Y) is put in units of what good
images have at each place and in each colour [P, the idea of ARNet's E_k]:

    r / sqrt(E)        E the mean of r^2 at the place, blurred, as far as places tell of new images
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from edgead.errors import TrainingError

from .base import UNIT_RANGE, Method, MethodSettings, TrainingSet

CELL = 8  # [P] pixels; the slow part is a mean over three cells each way
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what a place has in E; the rest is of all places
SMOOTH = 4  # [P] sigma of the blur of E, pixels of a map 256 high
FLOOR = 0.1  # [P] share of the mean of E that is added: quiet places do not shout
LEAST = (1 / 510) ** 2  # [P] of E, half a grey level squared: no camera resolves less


@dataclass(frozen=True)
class ImageSettings(MethodSettings):
    """The settings of SSAE and ARNet alike."""

    least: ClassVar = {"width": 1 / 16, "shrink": 1}
    most: ClassVar = {"width": 8, "shrink": 8}
    added: ClassVar = {"shrink": 1, "fine": False}

    size: tuple[int, int] = (256, 256)  # [D]
    shrink: int = 2  # [P] of the image for the network, a quarter of the time; the papers: 1
    fine: bool = True  # [P] compared less the slow part; the papers: False
    position: bool = True  # [P] in units of each place; the papers: False
    blur_sigma: float = 4.0  # [P] pixels at 256
    pooling: str = "top_k"  # [P] by benchmarks/synthetic_defects.py
    top_k: float = 0.001  # [P] likewise

    def __post_init__(self) -> None:
        super().__post_init__()
        step = self.multiple * self.shrink
        if any(side % step for side in self.size):
            raise TrainingError(
                f"size={self.size} cannot be shrunk by shrink={self.shrink}: height and width must "
                f"be multiples of {step}; give other sides, or shrink=1"
            )

    @property
    def seen(self) -> tuple[int, int]:
        """The size of what the network sees."""
        return self.size[0] // self.shrink, self.size[1] // self.shrink


def fine(image: Tensor) -> Tensor:
    """Images [N, C, h, w] less their slow part; h and w are multiples of ``CELL``.

    The slow part: means of cells of 8x8 pixels, averaged over 3x3 cells, bilinear between them.
    """
    cells = F.avg_pool2d(image, CELL)
    smooth = F.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
    slow = F.interpolate(smooth, scale_factor=float(CELL), mode="bilinear", align_corners=False)
    return image - slow


def usual(squares: Tensor, share: float) -> Tensor:
    """E [T, C, h, w] of the mean of r^2 of good images, for a share of places, both float64."""
    error = share * squares + (1 - share) * squares.mean((2, 3), keepdim=True)
    sigma = SMOOTH * error.shape[2] / 256
    planes = [cv2.GaussianBlur(plane.numpy(), (0, 0), sigma) for plane in error.flatten(0, 1)]
    smooth = torch.stack(list(map(torch.from_numpy, planes))).reshape(error.shape)
    return smooth.clamp_min(LEAST) + FLOOR * smooth.mean((1, 2, 3), keepdim=True)


def share_of_places(first: Tensor, second: Tensor) -> float:
    """How much places tell of images that are not known: the share of the largest likelihood.

    Each half of the good images, of which this is the mean of r^2, is held against E of the other:
    residuals that are normal with variance E. It is 0 where no place has in one half what it has in
    the other.
    """

    def likelihood(share: float) -> float:
        found = 0.0
        for known, held_out in ((first, second), (second, first)):
            error = usual(known, share)
            found -= float((error.log() + held_out / error).mean())
        return found

    return max(SHARES, key=likelihood)


class ImageMethod(Method):
    """Its pairs are the image and T reconstructions of it, as the network sees it: [N, 3, h, w]."""

    normalisation = UNIT_RANGE
    config: Any
    gain: Tensor  # 1 / sqrt(E), or what the paper has in its place, [T, 3, h, w]

    def add_units(self, count: int) -> None:
        """The units of ``count`` reconstructions, which change nothing until they are measured."""
        shape = (count, 3, *self.config.seen)
        self.register_buffer("gain", torch.ones(shape))

        def widen(_: Any, state: dict[str, Tensor], prefix: str, *_more: Any) -> None:
            """Runs from before had one gain for all colours."""
            if (gain := state.get(f"{prefix}gain")) is not None and gain.shape[1:2] == (1,):
                state[f"{prefix}gain"] = gain.expand(-1, 3, -1, -1)

        self.register_load_state_dict_pre_hook(widen)

    @abstractmethod
    def restore(self, small: Tensor) -> Tensor:
        """Y of what the network sees [N, 3, h, w]: [N, T, 3, h, w] float32."""

    def shrink(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] as the network sees them: each pixel a mean, [N, 3, h, w]."""
        factor = self.config.shrink
        return F.avg_pool2d(images, factor) if factor > 1 and len(images) else images

    def compared(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(h(X) [N, 3, h, w], h(Y) [N, T, 3, h, w]) of images [N, 3, H, W]; h as is set."""
        small = self.shrink(image)
        restored = self.restore(small)
        if not self.config.fine:
            return small, restored
        return fine(small), fine(restored.flatten(0, 1)).reshape(restored.shape)

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        (original, restored), gain = self.compared(image), self.gain.float()
        return [(original * gain[k], restored[:, k] * gain[k]) for k in range(len(gain))]

    def measure_units(self, data: TrainingSet, title: str) -> None:
        """Measure what is usual at each place, as far as places tell."""

        def squares(image: Tensor) -> Tensor:
            original, restored = self.compared(image)
            return (original[:, None] - restored).square()

        first, second = data.halves(squares, title)
        error = usual((first + second) / 2, share_of_places(first, second))
        self.gain.copy_(error.rsqrt())
