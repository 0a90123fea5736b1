"""Building blocks that the methods share."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU. The normalisation folds away at export."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + two 3x3 convolutions of x, then ReLU. [N, C, H, W] to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm_relu(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def upsample(x: Tensor) -> Tensor:
    """Twice the size, bilinear, half-pixel: [N, C, h, w] to [N, C, 2h, 2w]."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def fold(x: Tensor, factor: int) -> Tensor:
    """Space to depth, each channel's f^2 places together: [N, C, h, w] to [N, C f^2, h/f, w/f]."""
    if factor == 1:
        return x
    count, height, width = (int(side) for side in x.shape[1:])
    h, w = height // factor, width // factor
    x = x.reshape(-1, count, h, factor, w, factor).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(-1, count * factor**2, h, w)


def unfold(x: Tensor, factor: int) -> Tensor:
    """Depth to space, the inverse of ``fold``."""
    if factor == 1:
        return x
    count, h, w = (int(side) for side in x.shape[1:])
    x = x.reshape(-1, count // factor**2, factor, factor, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(-1, count // factor**2, h * factor, w * factor)


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity of images [N, C, H, W] in [0, 1], uniform window; a scalar.

    Source: Wang et al., Image quality assessment (2004), eq. 13, K1 = 0.01, K2 = 0.03.
    """
    c1, c2 = 0.01**2, 0.03**2
    moments = F.avg_pool2d(torch.cat([a, b, a * a, b * b, a * b], dim=1), window, stride=1)
    mean_a, mean_b, aa, bb, ab = moments.chunk(5, dim=1)
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    quality = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (quality / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def drawn(own: Tensor, whole: Tensor, images: int, prior: int) -> Tensor:
    """What ``images`` images say, drawn towards the whole, which counts as ``prior`` of them."""
    return (images * own + prior * whole) / (images + prior)


def position_gain(expected: Tensor, blurred: bool = False, floor: float = 0.1) -> Tensor:
    """1 / E, what makes a usual distance 1 at each position. [P, the idea of ARNet's E_k]

    Args:
        expected: E [h, w] >= 0, the mean distance of good images.
        blurred: smooth E by 4 px of a map 256 high.
        floor: share of the mean that is added, so that the gain is at most 1 / (floor * mean E).
    """
    if blurred:
        sigma = 4 * expected.shape[0] / 256
        expected = torch.from_numpy(cv2.GaussianBlur(expected.numpy(), (0, 0), sigma))
    return 1 / (expected + floor * expected.mean() + 1e-9)
