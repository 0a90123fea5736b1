"""Grids of settings: `make test` meets every pair of values, `make test-all` every combination."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def pairwise(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Few rows of indices below ``sizes`` in which any two columns show every pair of values."""

    def shown(row: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
        return set(combinations(enumerate(row), 2))

    every = list(product(*map(range, sizes)))
    left = set().union(*map(shown, every))
    rows = []
    while left:
        rows.append(max(every, key=lambda row: len(left & shown(row))))
        left -= shown(rows[-1])
    return rows


def grid(*axes: Sequence[Any]) -> list[Any]:
    """Parameters of every combination; what ``pairwise`` leaves out is marked exhaustive."""
    kept = set(pairwise([len(axis) for axis in axes]))
    params = []
    for indices in product(*(range(len(axis)) for axis in axes)):
        row = [axis[index] for axis, index in zip(axes, indices, strict=True)]
        name = "-".join(getattr(value, "__name__", str(value)) for value in row)
        marks = () if indices in kept else (pytest.mark.exhaustive,)
        params.append(pytest.param(*row, marks=marks, id=name))
    return params
