"""A bundle with memories, whitenings and no graph, and what features are from them in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import reference
from edgead.bundle.entries import Memory, Whitening
from edgead.bundle.storage import Draft, npy
from edgead.nearest import Blend

F32, F64 = NDArray[np.float32], NDArray[np.float64]
SHAPES = ((21, (9, 7)), (8, (5, 12)))
"""Channels and size of each output of the graph."""
MEMORIES = (
    Memory("features_0", *SHAPES[0], "memory_0.npy", "places_0.npy", 1,
           shares="shares.npy", scored="scored_0.npy"),
    Memory("features_1", *SHAPES[1], "memory_1.npy", "places_1.npy", 3, temperature=0.4),
    Memory("features_1", *SHAPES[1], "memory_2.npy", "places_2.npy", 3),
)  # fmt: skip
WHITENINGS = (  # one counts in both sums, one in that of the score, one in that of the map
    Whitening("features_0", *SHAPES[0], 2, 11, "mean_0.npy", "factors_0.npy", 4, "centre.npy",
              "places_3.npy", "scored_1.npy"),
    Whitening("features_0", *SHAPES[0], 13, 8, "mean_1.npy", "factors_1.npy", 9,
              scored="scored_2.npy"),
    Whitening("features_1", *SHAPES[1], 0, 8, "mean_2.npy", "factors_2.npy", 3, None,
              "places_4.npy"),
)  # fmt: skip


def memory_bundle(tiny: Any, dtype: str, distance: str = "l1") -> Draft:
    """Of features in ``dtype`` and a map of ``distance``, with whitenings where that is l1; the
    rest is of the tiny bundle."""
    rng, arrays = np.random.default_rng(6), {}
    whitenings = WHITENINGS if distance == "l1" else ()
    for entry in (*MEMORIES, *whitenings):
        for name in (entry.places, entry.scored, getattr(entry, "shares", None)):
            if name is not None:
                arrays[name] = rng.uniform(0.2, 1.5, entry.size).astype(np.float32)
    for number, memory in enumerate(MEMORIES):
        arrays[memory.file] = rng.standard_normal((70 + number, memory.channels)).astype(dtype)
    for one in whitenings:
        regions = -(-one.size[0] // one.side) * -(-one.size[1] // one.side)
        factors = rng.standard_normal((regions, one.count, one.count))
        factors = np.triu(factors) if one.side == 4 else factors
        mean = rng.standard_normal((one.count, *one.size))
        arrays |= {one.mean: np.float32(mean), one.factors: np.float32(factors)}
        if one.centre is not None:
            arrays[one.centre] = rng.standard_normal(one.count).astype(np.float32)
    manifest = replace(
        tiny.manifest,
        pairs=(),
        memories=MEMORIES,
        whitenings=whitenings,
        map=replace(
            tiny.manifest.map,
            distance=distance,
            weights=(1.0,) * (len(MEMORIES) + sum(one.places is not None for one in whitenings)),
        ),
        schema_version=2,
    )
    files = {name: npy(array) for name, array in arrays.items()}
    return Draft(Path("two.edgead"), manifest, "", {**tiny.files, **files})


def frame_features() -> dict[str, F32]:
    """Features [1, C, H, W] of each output."""
    rng = np.random.default_rng(7)
    return {
        f"features_{number}": rng.standard_normal((1, channels, *size)).astype(np.float32)
        for number, (channels, size) in enumerate(SHAPES)
    }


def exact(bundle: Draft, features: dict[str, F32]) -> tuple[list[F64], F64]:
    """In float64 the distances that count in the map, [H, W] each, and the sum of the score."""
    shown, scored, root = [], [], bundle.manifest.map.distance == "l2"

    def read(name: str) -> F64:
        return bundle.read_array(name).astype(np.float64)

    for entry in bundle.manifest.memories:
        values = features[entry.features]
        if entry.shares is not None:
            values = values * bundle.read_array(entry.shares)
        weights: Any = [1 / entry.neighbours] * entry.neighbours
        if entry.temperature is not None:
            weights = Blend(entry.neighbours, entry.channels * entry.temperature)
        distance = reference.nearest(values, read(entry.file), weights)[0] / entry.channels
        for name, into in ((entry.places, shown), (entry.scored, scored)):
            if name is not None:
                into.append(np.sqrt(distance * read(name)) if root else distance * read(name))
    for one in bundle.manifest.whitenings:
        values = features[one.features][:, one.first : one.first + one.count]
        if one.centre is not None:
            values = values - bundle.read_array(one.centre)[:, None, None]
        distance = reference.whiten(
            values, read(one.mean), read(one.factors), one.side, channel_normal=bool(one.centre)
        )[0]
        for name, into in ((one.places, shown), (one.scored, scored)):
            if name is not None:
                into.append(distance * read(name))
    return shown, np.sum(scored, axis=0)
