"""What methods on the features of a frozen backbone share: scale, smoothing, statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.anomaly_map import AnomalyMap, MapParams

from .networks import drawn, position_gain

PRIOR_IMAGES = 10  # [P]
QUIET = 0.5  # [P] the least level of an image: one with less residual is not made louder than that
Compared = tuple[list[Tensor], list[Tensor]]  # reference and reconstructed of some images, by pair
Pairs = list[tuple[Tensor, Tensor]]  # the same, by pair first
CACHE_BYTES = 4 << 30  # features of training images beyond this are computed anew in each step


def smooth(levels: list[Tensor], count: int | None = None) -> list[Tensor]:
    """Each position averaged with its eight neighbours: [N, C, h, w] to the same shape.

    count: only so many of the levels, the finest; the others stay as they are.
    """
    fine = levels[:count]
    averaged = [F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) for x in fine]
    return averaged + levels[len(fine) :]


class FeatureScale(nn.Module):
    """Features to what is compared: standardised per channel, smoothed, divided by what is usual.

    ``mean`` and ``std`` are those of the good images' features per channel of every backbone level.
    ``gain`` is (w / E) ** 0.5 per position of every pair, E the mean squared difference per channel
    that good images have there, w the weight of the pair; ``usual`` is E until it is measured.
    ``weight`` is w, which an image's own level does not count; kept where there is one.
    ``smoothed``: how many levels are smoothed, the finest first; all where it is None.
    ``own_level``: the power of an image's level m that divides its residuals, m the mean of their
    length over its positions, in units of E ** 0.5; about 1 where the image is a usual one.
    """

    def __init__(
        self, channels: tuple[int, ...], sizes: list[tuple[int, int]], usual: list[float],
        smoothed: int | None = None, own_level: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.smoothed, self.own_level, self.count = smoothed, own_level, len(sizes)
        for k, count in enumerate(channels):
            self.register_buffer(f"mean_{k}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"std_{k}", torch.ones(1, count, 1, 1))
        for k, (size, error) in enumerate(zip(sizes, usual, strict=True)):
            self.register_buffer(f"gain_{k}", torch.full((1, 1, *size), error**-0.5))
            self.register_buffer(f"weight_{k}", torch.ones(()), persistent=own_level > 0)

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
            self.get_buffer(f"weight_{k}").fill_(1)

    def set_weights(self, scores: Tensor) -> None:
        """Weigh pairs by 1 / standard deviation of the good images' scores [pairs, N]; mean 1.

        Few images say little about a deviation: the variance is drawn towards the mean of all
        pairs, which counts as much as ``PRIOR_IMAGES``.
        """
        count = scores.shape[1]
        variance = scores.double().var(dim=1, correction=0)
        weight = (drawn(variance, variance.mean(), count, PRIOR_IMAGES) + 1e-12).rsqrt()
        for k, share in enumerate(weight / weight.mean()):
            self.get_buffer(f"gain_{k}").mul_(share.sqrt())
            self.get_buffer(f"weight_{k}").fill_(share)

    def standardise(self, levels: list[Tensor]) -> list[Tensor]:
        """(F - mean) / std per channel."""
        means, stds = (self._each(name, len(levels)) for name in ("mean", "std"))
        return [(x - mean) / std for x, mean, std in zip(levels, means, stds, strict=True)]

    def target(self, levels: list[Tensor]) -> list[Tensor]:
        """The levels as they are compared: standardised and smoothed."""
        return self.smooth(self.standardise(levels))

    def smooth(self, levels: list[Tensor]) -> list[Tensor]:
        """The levels that are smoothed, smoothed; the others as they are."""
        return smooth(levels, self.smoothed)

    def emit(self, reference: list[Tensor], reconstructed: list[Tensor]) -> Pairs:
        """Pairs times the gain, float32 also behind a backbone in half."""
        gains, weights = (self._each(name, len(reference)) for name in ("gain", "weight"))
        found = []
        for x, y, gain, weight in zip(reference, reconstructed, gains, weights, strict=True):
            x, y, gain = x.float(), y.float(), gain.float()
            if self.own_level:
                length = (x - y).square().mean(1, keepdim=True).sqrt() * gain
                level = length.mean((2, 3), keepdim=True) / weight.float().sqrt()
                gain = gain * level.clamp_min(QUIET).pow(-self.own_level)
            found.append((x * gain, y * gain))
        return found


def fit_scale(
    scale: FeatureScale,
    compared: Callable[[str], Iterator[Compared]],
    position: bool,
    params: MapParams | None,
) -> None:
    """Measure on the good images what is usual: E of every pair, then the weights of the pairs.

    Args:
        scale: what is set.
        compared: the title of a progress bar to what of the good images is compared, in chunks.
        position: whether E is that of each position or one number.
        params: of the map, for weights of the pairs; None for none.
    """
    sums: list[Any] = [0.0] * scale.count
    count = 0
    for reference, reconstructed in compared("distances of the good images"):
        count += len(reference[0])
        for k, (x, y) in enumerate(zip(reference, reconstructed, strict=True)):
            sums[k] = sums[k] + (x - y).square().mean(1).sum(0, dtype=torch.float64).cpu()
    expected = [total / count for total in sums]
    if not position:
        expected = [error.mean().expand(error.shape) for error in expected]
    scale.set_expected(expected)
    if params is not None:
        alone, columns = replace(params, weights=(1.0,)), []  # scores by each pair alone
        for chunk in compared("scores of the good images"):
            pairs = [tuple(x.cpu().contiguous().numpy() for x in p) for p in scale.emit(*chunk)]
            columns.append([AnomalyMap(alone, [p[0].shape[1:]]).run([p])[1] for p in pairs])
        scale.set_weights(torch.from_numpy(np.concatenate(columns, axis=1)))


class Moments:
    """Mean and standard deviation per channel of every level, summed in float64."""

    def __init__(self) -> None:
        self.sums: list[list[Any]] = []  # by level: count, sum and sum of squares

    def add(self, levels: list[Tensor]) -> None:
        self.sums = self.sums or [[0, 0.0, 0.0] for _ in levels]
        for each, x in zip(self.sums, levels, strict=True):
            wide = x.double()
            more = (x.numel() // x.shape[1], wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)))
            each[:] = (known + new for known, new in zip(each, more, strict=True))

    def result(self) -> list[tuple[Tensor, Tensor]]:
        """(mean, standard deviation), each [C] float64, of every level."""
        found = []
        for count, total, squares in self.sums:
            mean = total / count
            found.append((mean, (squares / count - mean.square()).clamp_min(0).sqrt()))
        return found


def join(parts: list[list[Tensor]]) -> list[Tensor]:
    """[chunk][level] to [level], chunks put together."""
    return [torch.cat(level) for level in zip(*parts, strict=True)]
