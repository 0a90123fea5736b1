"""How AGPNet perturbs features and images in training.

Every random draw comes from the generator of the step, so that a resumed run sees the same noise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
