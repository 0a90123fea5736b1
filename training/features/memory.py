"""Features of good images that are kept: each position against the most similar of them.

A bundle has them in a file beside its graph; ``edgead.nearest.Blend`` computes the same.

Source: Roth et al., Towards total recall in industrial anomaly detection (PatchCore, arXiv
2106.08265), for the coreset of features that know no position.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .networks import drawn, position_gain
from .whitening import PRIOR_IMAGES

CANDIDATES = 12000  # [P] features that the coreset is chosen from
NEIGHBOURS = 4  # [P] blended, and the next one decides where their weights end
TEMPERATURE = 0.05  # [P] of the blend, in mean squared differences per channel
_LEAST = 1e-4  # of a weight: where all are equal, their mean counts
_PROJECTED = 32  # [P] the coreset is chosen in so many random directions


class FeatureMemory(nn.Module):
    """[N, C, h, w] features to the pair (distance, 0), [N, 1, h, w], of the most similar ones kept.

    The distance is the root of the mean squared difference over C, times ``gain``. The
    reconstructed feature of a position blends the ``NEIGHBOURS`` nearest of ``kept`` [M, C], by
    exp(-|f - k|^2 / (2 C ``TEMPERATURE``)) less that of the next one: a weight falls to 0 where its
    feature ceases to be among the nearest, so that rounding, which decides a tie, is not a jump.
    ``gain``^2 is 1 / sqrt(E mean(E)) per position, E the mean squared difference that good images
    have there without their own features. The square root [P]: E itself quiets what differs often,
    which may be where defects are.
    """

    kept: Tensor
    gain: Tensor

    def __init__(self, count: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(count, channels))
        self.register_buffer("gain", torch.ones(1, 1, *size))
        self.owners = torch.empty(0, dtype=torch.int64)  # the image of each, while it is measured

    def emit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The pair of features [N, C, h, w] float32; float32 also after ``.half()``."""
        difference = features - self.reconstruct(features)
        distance = difference.square().mean(1, keepdim=True).sqrt() * self.gain.float()
        return distance, torch.zeros_like(distance)

    def reconstruct(self, features: Tensor, foreign_to: Tensor | None = None) -> Tensor:
        """The blend for every position; ``foreign_to`` [N]: images whose own features are out."""
        count, height, width = (int(length) for length in features.shape[1:])
        query, kept = features.flatten(2).transpose(1, 2), self.kept.float()
        # -|f - k|^2 / 2 C without the part that all share.
        near = (query @ kept.T - kept.square().sum(1) / 2) / count  # [N, positions, M]
        if foreign_to is not None:
            own = self.owners.to(near.device)[None] == foreign_to.to(near.device)[:, None]
            near = near.masked_fill(own[:, None], -torch.inf)
        best, rows = near.topk(min(NEIGHBOURS + 1, len(kept)), dim=2)
        share = torch.softmax(best / TEMPERATURE, dim=2)
        if len(kept) > NEIGHBOURS:
            share = share[..., :-1] - share[..., -1:]
        share = share + _LEAST
        share = share / share.sum(2, keepdim=True)
        blend = (kept[rows[..., : share.shape[2]]] * share[..., None]).sum(2)
        return blend.transpose(1, 2).reshape(-1, count, height, width)

    @torch.no_grad()
    def fill(self, chunks: Iterable[tuple[Tensor, Tensor]], images: int) -> None:
        """Keep a coreset of the good images' features; chunks of (indices [n], features)."""
        generator = torch.Generator().manual_seed(0)
        parts, owners = [], []
        for indices, features in chunks:
            flat = features.flatten(2).transpose(1, 2).cpu()
            share = min(flat.shape[1], -(-max(CANDIDATES, len(self.kept)) // images))
            for index, each in zip(indices.tolist(), flat, strict=True):
                chosen = torch.randperm(flat.shape[1], generator=generator)[:share]
                parts.append(each[chosen])
                owners += [index] * share
        candidates = torch.cat(parts)
        chosen = spread(candidates, len(self.kept), generator)
        self.kept.copy_(candidates[chosen].half())  # as the file of a bundle has them
        self.owners = torch.tensor(owners)[chosen]

    @torch.no_grad()
    def fit_gain(self, chunks: Iterable[tuple[Tensor, Tensor]], position: bool = True) -> None:
        """Measure E on the good images, each without its own features; one image: E is 1.

        Of few images E is drawn towards its mean, which counts as much as ``PRIOR_IMAGES``; without
        ``position`` it is that mean.
        """
        if len(self.owners.unique()) < 2:
            return
        total, count = torch.zeros(self.gain.shape[2:], dtype=torch.float64), 0
        for indices, features in chunks:
            difference = features - self.reconstruct(features, foreign_to=indices)
            total += difference.square().mean(1).sum(0, dtype=torch.float64).cpu()
            count += len(indices)
        own, mean = total / count, (total / count).mean()
        expected = drawn(own, mean, count, PRIOR_IMAGES) if position else mean.expand_as(own)
        self.gain.copy_((position_gain(expected / mean).sqrt() / mean).sqrt())


def spread(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A ``k_centre`` choice of ``count`` rows of [N, C], by a random projection: int64 indices.

    Source: Roth et al., as above; Johnson and Lindenstrauss for the projection.
    """
    directions = torch.randn(features.shape[1], _PROJECTED, generator=generator)
    # [projected, N]: rows lie together
    return k_centre(F.normalize(directions, dim=0).T @ features.T, 0, count)


def k_centre(points: Tensor, first: int, count: int) -> Tensor:
    """Greedy choice of ``count`` columns of [C, N], from ``first`` on: int64 indices.

    Source: Sener and Savarese, Active learning for convolutional neural networks (2018).
    """
    chosen = [first]
    distance = (points - points[:, first : first + 1]).square().sum(0)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[:, chosen[-1:]]).square().sum(0))
    return torch.tensor(chosen)
