"""Memories and queries that a search with bounds may stumble over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Made = tuple[np.ndarray, np.ndarray]  # memory [rows, channels], queries [positions, channels]


def noise(rng, rows, channels, positions) -> Made:
    return rng.standard_normal((rows, channels)), rng.standard_normal((positions, channels))


def structured(rng, rows, channels, positions) -> Made:
    """Variance that falls off, as that of real features: most rows are left out."""
    spread = 3.0 / (1 + np.arange(channels)) ** 0.7
    memory, queries = noise(rng, rows, channels, positions)
    turn = np.linalg.qr(rng.standard_normal((channels, channels)))[0]
    return memory * spread @ turn + 5, queries * spread @ turn + 5


def near_rows(rng, rows, channels, positions) -> Made:
    memory, queries = structured(rng, rows, channels, positions)
    return memory, memory[rng.integers(rows, size=positions)] + 1e-3 * queries


def equal_rows(rng, rows, channels, positions) -> Made:
    memory, queries = noise(rng, rows, channels, positions)
    return np.repeat(memory[:1], rows, axis=0), queries


def duplicates(rng, rows, channels, positions) -> Made:
    memory, queries = noise(rng, rows, channels, positions)
    return memory[rng.integers(min(3, rows), size=rows)], queries


def far_cluster(rng, rows, channels, positions) -> Made:
    """A small cluster far from the origin, and queries in it: differences cancel."""
    memory, queries = noise(rng, rows, channels, positions)
    return 1e4 + 1e-2 * memory, 1e4 + 1e-2 * queries


def far_queries(rng, rows, channels, positions) -> Made:
    memory, queries = noise(rng, rows, channels, positions)
    return memory, 1e6 * queries


def outlier(rng, rows, channels, positions) -> Made:
    """One row makes the step of all bytes coarse, were it shared."""
    memory, queries = noise(rng, rows, channels, positions)
    memory[-1] *= 1e5
    return memory, queries


def heavy_tails(rng, rows, channels, positions) -> Made:
    return rng.standard_cauchy((rows, channels)), rng.standard_cauchy((positions, channels))


def low_rank(rng, rows, channels, positions) -> Made:
    """No rest beside the components: its length is rounding."""
    lines = rng.standard_normal((2, channels))
    return rng.standard_normal((rows, 2)) @ lines, rng.standard_normal((positions, 2)) @ lines


def still_channels(rng, rows, channels, positions) -> Made:
    """Channels without variance in the memory, with variance in the queries."""
    memory, queries = noise(rng, rows, channels, positions)
    memory[:, ::2] = 7.0
    return memory, queries


def one_hot(rng, rows, channels, positions) -> Made:
    """Rows at the same distance of each other, and queries between two of them."""
    memory = np.eye(channels)[rng.integers(channels, size=rows)]
    other = np.eye(channels)[rng.integers(channels, size=positions)]
    return memory, (memory[rng.integers(rows, size=positions)] + other) / 2


def whole(rng, rows, channels, positions) -> Made:
    """Small whole numbers: distances are exact, and many of them equal."""
    return rng.integers(-1, 2, (rows, channels)), rng.integers(-1, 2, (positions, channels))


def zeros(rng, rows, channels, positions) -> Made:
    return np.zeros((rows, channels)), rng.standard_normal((positions, channels))


def large(rng, rows, channels, positions) -> Made:
    """Squares near the end of float32."""
    memory, queries = noise(rng, rows, channels, positions)
    return 1e17 * memory, 1e17 * queries


def over(rng, rows, channels, positions) -> Made:
    """Squares beyond float32, but for the rows that are asked for."""
    memory, _ = noise(rng, rows, channels, positions)
    memory *= 1e25
    return memory, memory[rng.integers(rows, size=positions)]


def small(rng, rows, channels, positions) -> Made:
    """Squares at the other end of it."""
    memory, queries = noise(rng, rows, channels, positions)
    return 1e-18 * memory, 1e-18 * queries


def subnormal(rng, rows, channels, positions) -> Made:
    memory, queries = noise(rng, rows, channels, positions)
    return 1e-40 * memory, 1e-40 * queries


KINDS: dict[str, Callable[..., Made]] = {
    kind.__name__: kind
    for kind in (
        *(noise, structured, near_rows, equal_rows, duplicates, far_cluster, far_queries, outlier),
        *(heavy_tails, low_rank, still_channels, one_hot, whole, zeros, large, over, small),
        subnormal,
    )
}


def made(kind: str, rng, rows: int, channels: int, positions: int) -> Made:
    """float32 memory and queries of a kind."""
    memory, queries = KINDS[kind](rng, rows, channels, positions)
    return np.ascontiguousarray(memory, np.float32), np.ascontiguousarray(queries, np.float32)


def as_map(queries: np.ndarray, layout: str) -> np.ndarray:
    """[positions, channels] as a frame [1, C, H, W] or [1, H, W, C] of one row."""
    frame = queries[None, None]
    return np.ascontiguousarray(frame if layout == "NHWC" else frame.transpose(0, 3, 1, 2))
