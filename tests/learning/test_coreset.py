"""The coreset against a greedy choice that is written out, and by its laws."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.learning import coreset
from edgead.learning.coreset import choose_coreset


def farthest_first(points: np.ndarray, count: int) -> list[int]:
    """The greedy choice, every distance in float64."""
    chosen = [0]
    while len(chosen) < count:
        apart = np.square(points[:, None] - points[chosen][None]).sum(2).min(1)
        chosen.append(int(apart.argmax()))
    return chosen


def radius(points: np.ndarray, chosen: np.ndarray) -> float:
    """How far the farthest point is from those chosen."""
    return float(np.square(points[:, None] - points[chosen][None]).sum(2).min(1).max() ** 0.5)


def test_it_covers_nearly_as_well_as_without_projection() -> None:
    """A random projection to 32 directions keeps lengths to a third or so."""
    points = np.random.default_rng(0).normal(size=(600, 50)).astype(np.float32)
    found = choose_coreset(points, 40)
    assert len(set(found.tolist())) == 40
    assert radius(points, found) < 1.3 * radius(points, np.array(farthest_first(points, 40)))


@pytest.mark.parametrize("ahead", [1, 2, 7, 256, 10_000])
@pytest.mark.parametrize(("rows", "kind"), [(2, "normal"), (300, "normal"), (900, "clusters")])
def test_it_is_the_greedy_choice(monkeypatch, ahead: int, rows: int, kind: str) -> None:
    """However many are looked at together before the distances are updated."""
    monkeypatch.setattr(coreset, "AHEAD", ahead)
    rng = np.random.default_rng(rows)
    points = rng.normal(size=(rows, 6))
    if kind == "clusters":
        points += 3 * rng.normal(size=(9, 6))[np.arange(rows) % 9]
    directions = np.random.default_rng(5).standard_normal((6, coreset.PROJECTED))
    directions = directions.astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    count = min(rows, 100)
    seen: list[int] = []
    found = choose_coreset(
        points.astype(np.float32), count, 5, lambda done, _total: seen.append(done)
    )
    assert found.tolist() == farthest_first(points @ directions, count)
    assert seen == sorted(seen) and seen[-1] == count


def test_every_cluster_is_chosen_before_any_twice() -> None:
    rng = np.random.default_rng(1)
    centres = 100 * rng.normal(size=(30, 20))
    points = (centres[np.arange(900) % 30] + rng.normal(size=(900, 20))).astype(np.float32)
    found = choose_coreset(points, 30)
    assert sorted((found % 30).tolist()) == list(range(30))


def test_a_larger_one_begins_with_the_smaller() -> None:
    points = np.random.default_rng(2).normal(size=(300, 8)).astype(np.float32)
    assert choose_coreset(points, 100)[:30].tolist() == choose_coreset(points, 30).tolist()


def test_no_more_than_there_are_and_copies_too() -> None:
    points = np.ones((7, 5), np.float32)
    assert sorted(choose_coreset(points, 100).tolist()) == list(range(7))
    assert choose_coreset(points[:1], 4).tolist() == [0]


def test_progress_is_told() -> None:
    points, seen = np.random.default_rng(3).normal(size=(900, 4)).astype(np.float32), []
    choose_coreset(points, 800, show=lambda done, total: seen.append(done + total - 800))
    assert len(seen) > 2 and seen == sorted(set(seen)) and seen[-1] == 800
