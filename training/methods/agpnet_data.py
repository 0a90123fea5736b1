"""What AGPNet keeps of the good images, and how it perturbs them in training.

Every random draw comes from the generator of the step, so that a resumed run sees the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..features.scale import CACHE_BYTES, Moments
from .base import TrainingSet

if TYPE_CHECKING:
    from .agpnet import AGPNet, AGPNetSettings

_CHUNK = 16


def minmax(mask: Tensor) -> Tensor:
    """Each mask [N, 1, h, w] stretched to [0, 1]; all 0 where it is constant."""
    low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
    return (mask - low) / (high - low).clamp_min(1e-12)


def feature_noise(clean: Tensor, noise: Tensor, mask: Tensor, alpha: float, beta: float) -> Tensor:
    """F' = F_clean + E (alpha minmax(A) + beta). [F]

    clean, noise E [N, C, h, w], mask A [N, 1, h, w].
    """
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
    size = (images.shape[2], images.shape[3])
    noise = std * torch.randn(images.shape, generator=generator).to(images.device)
    return images + noise * marked_pixels(mask, size, share)


def schedule(settings: AGPNetSettings, done: float) -> tuple[float, float]:
    """(alpha, r): noise factor and share of noisy pixels at the share ``done`` of the training.

    linear: from easy to hard [F]; constant: the mean of that, for the ablation [P].
    """
    at = done if settings.schedule == "linear" else 0.5
    low, high = settings.image_share
    return at * settings.alpha, low + at * (high - low)


class CleanFeatures:
    """F_clean and A_prior of the training images: computed once, where they fit in CACHE_BYTES."""

    def __init__(self, method: AGPNet, data: TrainingSet) -> None:
        self.method, self.data = method, data
        rows, columns = method.grid
        self.fits = 2 * method.decoder.channels * rows * columns * len(data) <= CACHE_BYTES
        self.clean = torch.empty(0)  # [N, C, h, w] float16
        self.prior = torch.empty(0)  # [N, 1, h, w]
        self.spread = torch.empty(0)  # [1, C, 1, 1], per channel of F_clean

    @torch.no_grad()
    def prepare(self) -> None:
        """Channel moments of the backbone's levels first, then the features that need them."""
        if len(self.spread):
            return
        levels, clean = Moments(), Moments()
        for part in self.chunks("statistics of the good images"):
            levels.add(self.method.backbone(self.data[part]))
        self.method.scale.set_moments(levels.result())
        kept, priors = [], []
        for part in self.chunks("features of the good images"):
            features, prior = self._compute(self.data[part])
            clean.add([features])
            if self.fits:
                kept.append(features.half())
                priors.append(prior)
        ((_, spread),) = clean.result()
        self.spread = spread.float()[None, :, None, None]
        if self.fits:
            self.clean, self.prior = torch.cat(kept), torch.cat(priors)

    @torch.no_grad()
    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(F_clean [B, C, h, w], A_prior [B, 1, h, w]) of some training images."""
        if len(self.clean):
            return self.clean[indices].float(), self.prior[indices]
        return self._compute(self.data[indices])

    def _compute(self, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.method.on_grid(self.method.backbone(images))
        return self.method.join(levels), self.method.saliency(levels)

    def chunks(self, title: str) -> Iterator[Tensor]:
        """The indices of all images in batches, with a progress bar."""
        return self.data.progress(torch.arange(len(self.data)).split(_CHUNK), title)
