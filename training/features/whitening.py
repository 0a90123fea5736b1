"""What good images differ in at a place, taken out: residuals whitened by their local covariance.

As PaDiM compares features (Defard et al., arXiv 2011.08785), but of residuals F_X - F_Y and with a
covariance that few images cannot spoil: that of a square of positions, drawn towards that of the
whole image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .networks import drawn
from .scale import border_share

REGION = 32  # [P] pixels, side of the squares that have a covariance of their own
PRIOR_IMAGES = 20  # [P] mean and covariance of the whole image count as much as so many images
FLOOR = 0.01  # [P] of the mean variance, added to every channel's


def to_regions(x: Tensor, side: int) -> Tensor:
    """[N, C, h, w] to [N, R, C, side^2]: R squares of positions, row by row."""
    count, height, width = (int(length) for length in x.shape[1:])
    rows, columns = height // side, width // side
    x = x.reshape(-1, count, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, rows * columns, count, side * side)


def from_regions(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of ``to_regions`` for maps of ``size`` (h, w)."""
    (height, width), count = size, int(x.shape[2])
    side = int(int(x.shape[3]) ** 0.5)
    rows, columns = height // side, width // side
    x = x.reshape(-1, rows, columns, count, side, side).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(-1, count, height, width)


class LocalWhitening(nn.Module):
    """Residuals that good images show in every direction alike, about 1 in the mean.

    For each level of C channels at size (h, w) it keeps the mean [1, C, h, w] of the good images'
    residuals, and W [R, C, C] of each square of positions, W^T W being the inverse of the
    covariance of those residuals there; or one mean and one W for all positions, see ``fit``.
    ``sides``: of the squares, in positions; each divides h and w. With ``quiet_border`` a position
    counts by its ``border_share``.
    """

    def __init__(
        self, channels: tuple[int, ...], sizes: list[tuple[int, int]], sides: list[int],
        quiet_border: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes, self.sides, self.quiet_border = sizes, sides, quiet_border
        for k, (count, (height, width)) in enumerate(zip(channels, sizes, strict=True)):
            self.register_buffer(f"mean_{k}", torch.zeros(1, count, height, width))
            if quiet_border:
                share = border_share((height, width))
                self.register_buffer(f"border_{k}", share, persistent=False)
            squares = height * width // sides[k] ** 2
            self.register_buffer(f"whiten_{k}", torch.eye(count).repeat(squares, 1, 1))

    def emit(self, residuals: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """(W (r - mean), 0) of the residual r = F_X - F_Y of every level, all float32, behind a
        backbone in half too. W F_X and W F_Y on their own would be as far apart for twice the work.
        """
        pairs = []
        for k, residual in enumerate(residuals):
            unusual = residual - self.get_buffer(f"mean_{k}").float()
            if self.quiet_border:
                unusual = unusual * self.get_buffer(f"border_{k}").float()
            matrix = self.get_buffer(f"whiten_{k}")
            regions = to_regions(unusual.to(matrix.dtype), self.sides[k])
            white = from_regions(torch.matmul(matrix, regions), self.sizes[k]).float()
            # Not zeros_like: an output that is a constant is not for every importer.
            pairs.append((white, white - white))
        return pairs

    @torch.no_grad()
    def fit(self, residuals: Iterable[list[Tensor]], position: bool = True) -> None:
        """Measure means and covariances on the good images' residuals of every level, by chunks.

        The mean of each position is drawn towards that of all of them, which counts as much as
        ``PRIOR_IMAGES``. With ``position`` False there is one mean, and one covariance: what
        differs from place to place counts in it.
        """
        count = 0
        sums: list[Any] = [0.0] * len(self.sides)
        products: list[Any] = [0.0] * len(self.sides)
        for levels in residuals:
            for k, residual in enumerate(levels):
                regions = to_regions(residual, self.sides[k])
                square = torch.einsum("nrcp,nrdp->rcd", regions, regions).double().cpu()
                sums[k] = sums[k] + residual.sum(0, keepdim=True, dtype=torch.float64).cpu()
                products[k] = products[k] + square
            count += len(levels[0])
        for k, (total, product) in enumerate(zip(sums, products, strict=True)):
            usual = total / count
            own = to_regions(usual, self.sides[k])[0]
            whole = usual.mean((2, 3), keepdim=True).expand_as(usual)
            mean = drawn(usual, whole, count, PRIOR_IMAGES) if position else whole
            self.get_buffer(f"mean_{k}").copy_(mean)
            bias = to_regions(mean, self.sides[k])[0]
            mixed = own @ bias.transpose(1, 2)
            around = product / count - mixed - mixed.transpose(1, 2) + bias @ bias.transpose(1, 2)
            covariance = around / self.sides[k] ** 2
            if not position:
                covariance = covariance.mean(0, keepdim=True)  # the squares are of one size
            self.get_buffer(f"whiten_{k}").copy_(inverse_root(covariance, count))


def inverse_root(covariance: Tensor, images: int) -> Tensor:
    """W with W^T W the inverse of the shrunk covariances: [R, C, C] float64 to the same.

    (images S_r + PRIOR_IMAGES S) / (images + PRIOR_IMAGES), S the mean of all S_r with ``FLOOR`` of
    its mean variance on the diagonal.
    """
    channels = covariance.shape[-1]
    whole = covariance.mean(0)
    floor = FLOOR * whole.diagonal().mean() + 1e-6  # more than float32 sums are off
    whole = whole + floor * torch.eye(channels, dtype=covariance.dtype)
    lower = torch.linalg.cholesky(drawn(covariance, whole, images, PRIOR_IMAGES))
    eye = torch.eye(channels, dtype=covariance.dtype).expand_as(lower)
    return torch.linalg.solve_triangular(lower, eye, upper=False)
