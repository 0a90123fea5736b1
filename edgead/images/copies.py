"""Which images of a set show the same: copies, and near-copies that differ by noise or encoding.

Two images are near-copies when their dots differ by little, as by a sensor's noise, and their
thumbnails

- by far less than those of the set usually do, or
- by no more than noise leaves of what the dots differ by: noise averages out, other parts do not.

Mirrored and turned images count, since that is how sets are made larger. The bounds were measured
on real parts and on simulated shots of them: docs/notes/copies.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .content import THUMB, Content

NEAR = 2.0  # levels of 255, between thumbnails; different parts differ by more
NEAR_USUAL = 1.0  # the same where the differences are not white, as those of encodings are not
NEAR_DOTS = 10.0  # levels of 255, between single pixels; fine texture differs by more
USUAL_SHARE, USUAL_DOTS_SHARE = 1 / 8, 1 / 4  # of the distance that 90 % of all pairs do not reach
NOISE = 3.0  # times what white noise leaves in a thumbnail; different parts have 4.7 or more
FEWEST_DOTS = 16  # pixels in a cell, for noise to average out
DRAWN_PAIRS = 500  # to find the usual distance of a large set

_TURNS: tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...] = (
    lambda a: a,
    lambda a: a[..., ::-1, :],
    lambda a: a[..., ::-1, :, :],
    lambda a: a[..., ::-1, ::-1, :],
    lambda a: a.swapaxes(-3, -2),
    lambda a: a.swapaxes(-3, -2)[..., ::-1, :],
    lambda a: a.swapaxes(-3, -2)[..., ::-1, :, :],
    lambda a: a.swapaxes(-3, -2)[..., ::-1, ::-1, :],
)  # all eight ways to lay a square [..., side, side, channels]


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
    coarse = np.mean([turn(thumbs) for turn in _TURNS], axis=0)  # the same however it lies
    coarse = coarse.reshape(len(thumbs), 8, THUMB // 8, 8, THUMB // 8, -1).mean((2, 4))
    means = coarse.mean((1, 2, 3))
    usual = _usual([contents[i] for i in chosen], [levels[i] for i in chosen])
    order = np.argsort(means, kind="stable")
    # What is coarser differs by less, however the images are turned; so most need no closer look.
    ends = np.searchsorted(means[order], means[order] + NEAR, "right")
    for place, (row, end) in enumerate(zip(order, ends, strict=True)):
        others = order[place + 1 : end]
        others = others[_distance(coarse[others], coarse[row]) <= NEAR]
        one = int(chosen[row])
        for turn in _TURNS:
            others = np.array([k for k in others if root(chosen[k]) != root(one)], np.intp)
            if not others.size:
                break
            dots = turn(_dots(contents[one], levels[one]))
            distances = _distance(thumbs[others], turn(thumbs[row]))
            for other, distance in zip(chosen[others].tolist(), distances.tolist(), strict=True):
                if distance <= NEAR:
                    between = _distance(_dots(contents[other], levels[other])[None], dots)
                    cell = min(contents[one].per_cell, contents[other].per_cell)
                    if _is_near(distance, float(between[0]), usual, cell):
                        yield one, other


def _is_near(distance: float, dots: float, usual: tuple[float, float], cell: float) -> bool:
    """Whether images show the same whose thumbnails and dots differ by so much."""
    if cell < FEWEST_DOTS:  # the thumbnail of a small image shows its texture, and its noise
        bound = min(NEAR, NEAR_USUAL * math.sqrt(FEWEST_DOTS / cell))
        return distance <= min(bound, USUAL_SHARE * usual[0])
    if dots > max(NEAR_DOTS, USUAL_DOTS_SHARE * usual[1]):
        return False
    noise = distance * cell**0.5 <= NOISE * dots
    return noise or distance <= min(NEAR_USUAL, USUAL_SHARE * usual[0])


def _dots(content: Content, level: float) -> NDArray[np.float32]:
    """In levels of 255."""
    return content.dots.astype(np.float32) / np.float32(level)


def _distance(many: NDArray[np.float32], one: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root mean square of the differences of each of ``many`` from ``one``."""
    differences = (many - one).reshape(len(many), one.size)
    squares = np.einsum("ij,ij->i", differences, differences)
    return np.asarray(np.sqrt(squares / one.size), np.float32)


def _usual(contents: Sequence[Content], levels: Sequence[float]) -> tuple[float, float]:
    """What 90 % of pairs do not reach, of thumbnails and of dots; a large set's pairs are drawn."""
    n = len(contents)
    if n <= 64:
        pairs = [(i, j) for j in range(n) for i in range(j)]
    else:
        steps = np.random.default_rng(0).integers(1, n, DRAWN_PAIRS)
        pairs = [(k % n, (k + int(step)) % n) for k, step in enumerate(steps)]
    thumbs, dots = [], []
    for i, j in pairs:
        one, other = (contents[k].thumb / np.float32(levels[k]) for k in (i, j))
        thumbs.append(_distance(one[None], other))
        one, other = (_dots(contents[k], levels[k]) for k in (i, j))
        dots.append(_distance(one[None], other))
    return float(np.quantile(thumbs, 0.9)), float(np.quantile(dots, 0.9))
