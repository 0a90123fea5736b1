"""What methods on the features of a frozen backbone share: scale, smoothing, statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .networks import position_gain

CACHE_BYTES = 4 << 30  # features of training images beyond this are computed anew in each step


def smooth(levels: list[Tensor]) -> list[Tensor]:
    """Each position averaged with its eight neighbours: [N, C, h, w] to the same shape."""
    return [F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) for x in levels]


class FeatureScale(nn.Module):
    """Features to what is compared: standardised per channel, smoothed, divided by what is usual.

    ``mean`` and ``std`` are those of the good images' features per channel of every backbone level.
    ``gain`` is E ** -0.5 per position of every pair, E the mean squared difference per channel that
    good images have there; ``usual`` is E of every pair until it is measured.
    """

    def __init__(
        self, channels: tuple[int, ...], sizes: list[tuple[int, int]], usual: list[float]
    ) -> None:
        super().__init__()
        for k, count in enumerate(channels):
            self.register_buffer(f"mean_{k}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"std_{k}", torch.ones(1, count, 1, 1))
        for k, (size, error) in enumerate(zip(sizes, usual, strict=True)):
            self.register_buffer(f"gain_{k}", torch.full((1, 1, *size), error**-0.5))

    def _each(self, name: str, count: int) -> list[Tensor]:
        return [self.get_buffer(f"{name}_{k}") for k in range(count)]

    def set_moments(self, moments: list[tuple[Tensor, Tensor]]) -> None:
        """Take (mean, std), each [C], of every level."""
        for k, (mean, std) in enumerate(moments):
            self.get_buffer(f"mean_{k}").copy_(mean[None, :, None, None])
            self.get_buffer(f"std_{k}").copy_(std[None, :, None, None] + 1e-6)

    def set_expected(self, expected: list[Tensor]) -> None:
        """Take E [h, w] of every pair; a floor keeps quiet positions from shouting."""
        for k, error in enumerate(expected):
            self.get_buffer(f"gain_{k}").copy_(position_gain(error).sqrt())

    def standardise(self, levels: list[Tensor]) -> list[Tensor]:
        """(F - mean) / std per channel."""
        count = len(levels)
        parts = zip(levels, self._each("mean", count), self._each("std", count), strict=True)
        return [(x - mean) / std for x, mean, std in parts]

    def target(self, levels: list[Tensor]) -> list[Tensor]:
        """The levels as they are compared: standardised and smoothed."""
        return smooth(self.standardise(levels))

    def emit(self, reference: list[Tensor], restored: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Pairs times the gain, float32 also behind a half trunk."""
        gains = self._each("gain", len(reference))
        return [
            (x.float() * gain.float(), y.float() * gain.float())
            for x, y, gain in zip(reference, restored, gains, strict=True)
        ]


class Moments:
    """Mean and standard deviation per channel of every level, summed in float64."""

    def __init__(self) -> None:
        self.count: list[int] = []
        self.sums: list[Tensor] = []
        self.squares: list[Tensor] = []

    def add(self, levels: list[Tensor]) -> None:
        if not self.sums:
            self.count = [0] * len(levels)
            self.sums = [x.new_zeros(x.shape[1], dtype=torch.float64) for x in levels]
            self.squares = [torch.zeros_like(total) for total in self.sums]
        for k, x in enumerate(levels):
            wide = x.double()
            self.count[k] += x.numel() // x.shape[1]
            self.sums[k] += wide.sum((0, 2, 3))
            self.squares[k] += wide.square().sum((0, 2, 3))

    def result(self) -> list[tuple[Tensor, Tensor]]:
        found = []
        for count, total, squares in zip(self.count, self.sums, self.squares, strict=True):
            mean = total / count
            found.append((mean, (squares / count - mean.square()).clamp_min(0).sqrt()))
        return found


def join(parts: list[list[Tensor]]) -> list[Tensor]:
    """[chunk][level] to [level], chunks put together."""
    return [torch.cat(level) for level in zip(*parts, strict=True)]
