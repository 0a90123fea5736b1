"""ReDi's two losses, and the vectors whose directions they and its map compare."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ORIGIN = 1.0
"""[P] Length of the constant part of ``directed``, in that of an average feature."""


def alignment_loss(reference: list[Tensor], reconstructed: list[Tensor]) -> Tensor:
    """L_D = sum over scales of mean(1 - cos(F_X, F_Y)) over positions [F]."""
    pairs = zip(_wide(reference), _wide(reconstructed), strict=True)
    return torch.stack([1 - F.cosine_similarity(x, y).mean() for x, y in pairs]).sum()


def self_correlation_loss(
    reference: list[Tensor], reconstructed: list[Tensor], grid: int = 16
) -> Tensor:
    """L_S = sum over scales of ||C(F_X) - C(F_Y)||_F^2 / n^2, C the cosine self-similarity [F].

    C compares n <= grid^2 cells with each other [P: grid 16, the cost grows with its fourth power].
    """

    def similarity(x: Tensor) -> Tensor:
        steps = [-(-int(side) // grid) for side in x.shape[-2:]]
        flat = F.normalize(F.avg_pool2d(x, steps, ceil_mode=True).flatten(2), dim=1)
        with torch.autocast(x.device.type, enabled=False):  # a loss is float32, products too
            return flat.transpose(1, 2) @ flat

    pairs = zip(_wide(reference), _wide(reconstructed), strict=True)
    return torch.stack([(similarity(x) - similarity(y)).square().mean() for x, y in pairs]).sum()


def _wide(levels: list[Tensor]) -> list[Tensor]:
    """Not less than float32: a network under autocast gives less."""
    return [x if x.dtype == torch.float64 else x.float() for x in levels]


def unit(levels: list[Tensor]) -> list[Tensor]:
    """Each position's feature with length 1, float32."""
    return [F.normalize(x.float()) for x in levels]


def directed(levels: list[Tensor]) -> list[Tensor]:
    """Each feature with a constant beside it: [N, C, h, w] to [N, C + 1, h, w] float32.

    A standardised feature near the mean points anywhere, for its direction is noise: the cosine of
    two such says nothing, and a smooth surface is all of them. Beside sqrt(C) ``ORIGIN`` they all
    point the same way, and one far from the mean keeps its direction.
    """
    wide = [x.float() for x in levels]
    # 0 x + constant: what fills a tensor has no operator in TensorRT 8.5.
    constants = [0 * x[:, :1] + ORIGIN * x.shape[1] ** 0.5 for x in wide]
    return [torch.cat(each, dim=1) for each in zip(wide, constants, strict=True)]
