"""How features are compared: pairs by level, whitened, and one of a memory of good features.

ReDi and AGPNet reconstruct features of the same frozen backbone, each in its own way; from there on
they share what is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from edgead.bundle.entries import Pair
from edgead.errors import TrainingError

from .backbone import CHANNELS
from .memory import FeatureMemory
from .networks import upsample
from .scale import Compared, border_share, fit_scale
from .whitening import REGION, LocalWhitening

# The preset for parts that lie anywhere amid background. What differs at a place says little then,
# and what was seen at no place says most. [P] docs/methods.md has what was tried
LOOSE: dict[str, Any] = {
    "position": False,
    "quiet_border": True,
    "memory": 2048,
    "memory_share": 0.9,
}

REMEMBERED = sum(CHANNELS[1:])  # channels of what the memory compares, see ``remember``
Size = tuple[int, int]


def level_pairs(sizes: list[Size], memory_share: float) -> tuple[Pair, ...]:
    """The pairs of the backbone's levels, of ``sizes`` (h, w), and that of the memory.

    memory_share: what the memory counts, of a sum of 1; the levels share the rest alike. 0: no
    such pair.
    """
    weights = [(1 - memory_share) / len(CHANNELS)] * len(CHANNELS)
    levels = list(zip(CHANNELS, sizes, weights, strict=True))
    if memory_share:
        levels.append((REMEMBERED, sizes[1], memory_share))
    return tuple(
        Pair(f"reference_{k}", f"restored_{k}", channels, size, weight)
        for k, (channels, size, weight) in enumerate(levels)
    )


def check_memory_share(share: float) -> None:
    """Errors: TrainingError for a share that leaves nothing to the memory or to the levels."""
    if not 0 < share < 1:
        raise TrainingError(
            f"memory_share={share} cannot be used; give a share of the map, more than 0 and less "
            "than 1, or memory=0 for a map without a memory"
        )


def remember(fine: Tensor, coarse: Tensor, quiet_border: bool) -> Tensor:
    """What the memory compares: smoothed levels of strides 8 and 16 side by side, float32. [P]

    With ``quiet_border`` each counts by its ``border_share``.
    """
    if quiet_border:
        fine, coarse = (x * border_share(x.shape[2:]).to(x) for x in (fine, coarse))
    if coarse.shape[-1] != fine.shape[-1]:
        coarse = upsample(coarse)
    return torch.cat([fine, coarse], dim=1).float()


def make_whitening(sizes: list[Size], height: int, quiet_border: bool) -> LocalWhitening:
    """Squares of ``REGION`` pixels of an image ``height`` high, for levels of ``sizes``.

    Smaller ones where those do not divide it: of 16 pixels for a side that is a multiple of 16
    alone. There are four times as many then, each with a matrix in the graph.
    """
    sides = [math.gcd(REGION * rows // height, rows, columns) for rows, columns in sizes]
    return LocalWhitening(CHANNELS, sizes, sides, quiet_border)


def make_memory(count: int, size: Size, images: int) -> FeatureMemory | None:
    """Of ``count`` features at most, as many as ``images`` of ``size`` (h, w) have; None for 0."""
    kept = min(count, images * math.prod(size))
    return FeatureMemory(kept, REMEMBERED, size) if kept else None


def differences(reference: list[Tensor], reconstructed: list[Tensor]) -> list[Tensor]:
    """F_X - F_Y of every level, float32."""
    return [x.float() - y.float() for x, y in zip(reference, reconstructed, strict=True)]


def fit_comparison(
    method: Any,
    images: int,
    compared: Callable[[str], Iterator[Compared]],
    remembered: Callable[[str], Iterator[tuple[Tensor, Tensor]]],
) -> None:
    """Measure on the good images what is usual, and keep features of them.

    ``method`` has whitening and memory, each None where it is not used, and scale; its setting
    ``position`` says whether what is usual is that of each place, or of all of them together.
    ``compared`` and ``remembered`` take the title of a progress bar and give, by chunks of the
    ``images`` good images, (reference, reconstructed) of the levels and (indices [n], what the
    memory compares).
    """
    if method.whitening is not None:
        pairs = compared("residuals of the good images")
        residuals = (differences(*pair) for pair in pairs)
        method.whitening.fit(residuals, method.config.position)
    else:
        params = method.map_params() if method.config.balance else None
        fit_scale(method.scale, compared, method.config.position, params)
    if method.memory is not None:
        method.memory.fill(remembered("features to keep"), images)
        distances = remembered("distances of the good images")
        method.memory.fit_gain(distances, method.config.position)
