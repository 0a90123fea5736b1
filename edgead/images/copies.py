"""Which images of a set show the same: copies, and near-copies that differ by noise or encoding.

Two images are near-copies when their thumbnails and their dots differ by less than a sensor's noise
leaves, and the thumbnails in addition

- by far less than those of the set usually do, or
- by no more than noise leaves of what the dots differ by: noise averages out, other parts do not.

Mirrored and turned images count, since that is how sets are made larger. The bounds were measured
on real parts and on simulated shots of them: docs/notes/copies.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .content import Content

NEAR = 1.0  # levels of 255, between thumbnails; different parts differ by 2 or more
NEAR_DOTS = 10.0  # levels of 255, between single pixels; fine texture differs by more
USUAL_SHARE = 1 / 8  # of the distance that 90 % of all pairs do not reach
NOISE = 3.0  # times what white noise leaves in a thumbnail; different parts have 4.7 or more
FEWEST_DOTS = 16  # pixels in a cell, for noise to average out
DRAWN_PAIRS = 2000  # to find the usual distance of a large set

_TURNS: tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...] = (
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a.swapaxes(0, 1),
    lambda a: a.swapaxes(0, 1)[:, ::-1],
    lambda a: a.swapaxes(0, 1)[::-1],
    lambda a: a.swapaxes(0, 1)[::-1, ::-1],
)  # all eight ways to lay a square


def copies(contents: Sequence[Content]) -> list[int]:
    """For each image the index of the first one with the same pixels."""
    first: dict[bytes, int] = {}
    return [first.setdefault(one.digest, index) for index, one in enumerate(contents)]


def near_copies(contents: Sequence[Content], levels: Sequence[float]) -> list[int]:
    """For each image the index of the first one that it is a copy or a near-copy of.

    What is nearly the same as a near-copy belongs to the same group.

    Args:
        contents: of all images.
        levels: see ``content.levels``.
    """
    group = copies(contents)

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for one, other in _pairs(contents, levels, root):
        low, high = sorted((root(one), root(other)))
        group[high] = low
    return [root(index) for index in range(len(group))]


def _pairs(
    contents: Sequence[Content], levels: Sequence[float], root: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Pairs of near-copies, but those that ``root`` has joined already."""
    chosen = np.array([i for i in range(len(contents)) if root(i) == i])
    if len(chosen) < 2:
        return
    thumbs = np.stack([contents[i].thumb / np.float32(levels[i]) for i in chosen])
    means, deviations = thumbs.mean((1, 2, 3)), thumbs.std((1, 2, 3))
    bound = _usual(thumbs) * USUAL_SHARE
    order = np.argsort(means, kind="stable")
    # Neither mean nor deviation differs by more than the images do, however they are turned.
    ends = np.searchsorted(means[order], means[order] + NEAR, "right")
    for place, (row, end) in enumerate(zip(order, ends, strict=True)):
        others = order[place + 1 : end]
        others = others[np.abs(deviations[others] - deviations[row]) <= NEAR]
        for turn in _TURNS:
            one = int(chosen[row])
            others = np.array([k for k in others if root(chosen[k]) != root(one)], np.intp)
            if not others.size:
                break
            distances = _distance(thumbs[others], turn(thumbs[row]))
            for k, distance in zip(others, distances, strict=True):
                if distance <= NEAR and _is_near(
                    float(distance), bound, contents[chosen[k]], levels[chosen[k]],
                    turn(contents[one].dots / np.float32(levels[one])), contents[one].per_cell,
                ):  # fmt: skip
                    yield one, int(chosen[k])


def _is_near(
    distance: float, bound: float, other: Content, level: float,
    dots: NDArray[np.float32], per_cell: float,
) -> bool:  # fmt: skip
    """Whether images whose thumbnails are near show the same, by their dots."""
    between_dots = float(_distance((other.dots / np.float32(level))[None], dots)[0])
    if between_dots > NEAR_DOTS:
        return False
    cell = min(per_cell, other.per_cell)
    noise = cell >= FEWEST_DOTS and distance * cell**0.5 <= NOISE * between_dots
    return distance <= bound or noise


def _distance(many: NDArray[np.float32], one: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root mean square of the differences of each of ``many`` from ``one``."""
    differences = (many - one).reshape(len(many), -1)
    squares = np.einsum("ij,ij->i", differences, differences)
    return np.asarray(np.sqrt(squares / differences.shape[1]), np.float32)


def _usual(thumbs: NDArray[np.float32]) -> float:
    """The distance that 90 % of pairs do not reach; of a draw of the pairs where they are many."""
    n = len(thumbs)
    one, other = np.triu_indices(n, 1) if n <= 64 else _drawn(n)
    distances = [_distance(thumbs[[i]], thumbs[j])[0] for i, j in zip(one, other, strict=True)]
    return float(np.quantile(distances, 0.9))


def _drawn(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    one = np.arange(DRAWN_PAIRS) % n
    return one, (one + np.random.default_rng(0).integers(1, n, DRAWN_PAIRS)) % n
