"""PatchCore's coreset by greedy k-centers: the same choice, hundreds of times faster.

anomalib updates the distance of every patch after each single choice, which takes hours for the
40,960 of 409,600 patches that its default ratio wants of 400 images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CANDIDATES = 4096
ROWS = 16384  # of the distances held at once


def k_centers(points: Tensor, count: int, first: int = 0) -> Tensor:
    """Indices of ``count`` of the ``points`` [n, d]: each the one farthest from those before it.

    The CANDIDATES farthest points choose among themselves as long as the next is farther than
    every other point was before the round: distances only shrink, so that is what a full update
    after each choice would choose. Then all points learn of the round's choices at once.
    """
    squares = points.square().sum(1)
    nearest = torch.full((len(points),), float("inf"))
    chosen, fresh = [first], [first]
    while len(chosen) < count:
        _update(points, squares, fresh, nearest)
        values, places = nearest.topk(min(CANDIDATES + 1, len(points)))
        bound = float(values[-1]) if len(places) < len(points) else -1.0
        near, own, fresh = values.clone(), points[places], []
        while len(chosen) < count:
            best = int(near.argmax())
            if fresh and float(near[best]) <= bound:
                break
            fresh.append(int(places[best]))
            chosen.append(fresh[-1])
            near = torch.minimum(near, (own - own[best]).square().sum(1))
    return torch.tensor(chosen)


def _update(points: Tensor, squares: Tensor, fresh: list[int], nearest: Tensor) -> None:
    """Let ``nearest``, squared distances to the closest choice, know of the ``fresh`` ones."""
    for centers in torch.tensor(fresh).split(256):
        some, their = points[centers].T, squares[centers]
        for start in range(0, len(points), ROWS):
            part = slice(start, start + ROWS)
            distance = squares[part, None] - 2 * (points[part] @ some) + their
            nearest[part] = torch.minimum(nearest[part], distance.amin(1).clamp(min=0))
    nearest[torch.tensor(fresh)] = 0.0


class Sampler:
    """In the place of anomalib's KCenterGreedy."""

    def __init__(self, embedding: Tensor, sampling_ratio: float) -> None:
        self.embedding = embedding
        self.count = max(1, int(len(embedding) * sampling_ratio))

    def sample_coreset(self, *_: Any) -> Tensor:
        """The chosen rows of the embedding."""
        return self.embedding[k_centers(self.embedding, self.count)]
