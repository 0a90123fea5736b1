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


def choose_coreset(
    candidates: F32, count: int, seed: int = 0, tick: Callable[[int], None] = lambda _: None
) -> NDArray[np.int64]:
    """Choose rows that cover the candidates: each next one is the farthest from those before.

    Args:
        candidates: [n, channels].
        count: how many to choose; more than n gives all.
        seed: of the random projection.
        tick: called with the number of rows chosen so far, now and then.

    Returns:
        Indices [min(count, n)], in the order of their choice.
    """
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((candidates.shape[1], PROJECTED)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    points = np.ascontiguousarray(candidates @ directions)
    squares = np.einsum("ij,ij->i", points, points)
    chosen = [0]
    distance = np.full(len(points), np.inf, np.float32)
    for done in range(1, min(count, len(points))):
        last = chosen[-1]
        np.minimum(distance, squares - 2 * (points @ points[last]) + squares[last], out=distance)
        distance[last] = -np.inf  # whatever rounding left of 0
        chosen.append(int(distance.argmax()))
        if done % 256 == 0:
            tick(done)
    return np.array(chosen)
