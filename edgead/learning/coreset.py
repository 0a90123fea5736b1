"""Which features of good parts are kept: few that cover all.

Source: Roth et al., Towards total recall in industrial anomaly detection (PatchCore, arXiv
2106.08265), for a coreset of features that know no position; Sener and Savarese, Active learning
for convolutional neural networks (2018), for its greedy choice; Johnson and Lindenstrauss for the
random projection.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

PROJECTED = 32  # our choice: the coreset is chosen in so many random directions
AHEAD = 256  # candidates that are looked at together: a few large products, not many small ones


def choose_coreset(
    candidates: F32,
    count: int,
    seed: int = 0,
    show: Callable[[int, int], None] = lambda _done, _total: None,
    first: int = 0,
) -> NDArray[np.int64]:
    """Choose rows that cover the candidates: each next one is the farthest from those before.

    Args:
        candidates: [n, channels].
        count: how many to choose; more than n gives all.
        seed: of the random projection.
        show: called with (rows chosen, rows in all) now and then, last with all of them.
        first: so many rows at the beginning are chosen before any other, at most ``count``.

    Returns:
        Indices [min(count, n)], in the order of their choice.
    """
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((candidates.shape[1], PROJECTED)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    points = np.ascontiguousarray(candidates @ directions)
    count, ahead = min(count, len(points)), min(AHEAD, len(points) - 1)
    chosen = list(range(max(1, first)))
    distance = _squared(points, points[: len(chosen)]).min(axis=1)
    distance[: len(chosen)] = -np.inf  # whatever rounding left of 0
    while len(chosen) < count:
        # Distances only shrink, so whatever is not in front stays below the largest of the rest:
        # the choice goes on among those in front, as far as theirs are not below it.
        order = np.argpartition(distance, -ahead - 1)
        front, rest = order[-ahead:], distance[order[-ahead - 1]]
        near, between = distance[front], _squared(points[front], points[front])
        fresh: list[int] = []
        while len(chosen) + len(fresh) < count and near[best := int(near.argmax())] >= rest:
            fresh.append(best)
            np.minimum(near, between[best], out=near)
            near[best] = -np.inf
        rows = front[fresh]
        np.minimum(distance, _squared(points, points[rows]).min(axis=1), out=distance)
        distance[rows] = -np.inf
        chosen += rows.tolist()
        show(len(chosen), count)
    return np.array(chosen)


def _squared(points: F32, others: F32) -> F32:
    """Squared distances [n, m] of ``points`` [n, c] to ``others`` [m, c]."""
    found = points @ (-2 * others.T)
    found += np.einsum("ij,ij->i", points, points)[:, None]
    found += np.einsum("ij,ij->i", others, others)
    return found
