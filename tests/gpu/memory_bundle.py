"""A bundle with two memories and no graph, and what frames' features are from them in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import reference
from edgead.bundle.entries import Memory
from edgead.bundle.storage import Draft, npy

SHAPES = ((21, (9, 7), 1), (8, (5, 12), 3))
"""Channels, size and neighbours of each memory."""


def memory_bundle(tiny: Any, dtype: str) -> Draft:
    """With features stored in ``dtype``; the rest is of the tiny bundle."""
    rng, files, entries = np.random.default_rng(6), {}, []
    for number, (channels, size, neighbours) in enumerate(SHAPES):
        kept = rng.standard_normal((70 + number, channels)).astype(dtype)
        names = f"memory_{number}.npy", f"places_{number}.npy"
        files |= {names[0]: npy(kept), names[1]: npy(rng.random(size).astype(np.float32))}
        entries.append(Memory(f"features_{number}", channels, size, *names, neighbours))
    manifest = replace(
        tiny.manifest,
        pairs=(),
        memories=tuple(entries),
        map=replace(tiny.manifest.map, weights=(1.0, 1.0)),
        schema_version=2,
    )
    return Draft(Path("two.edgead"), manifest, "", {**tiny.files, **files})


def frame_features() -> list[NDArray[np.float32]]:
    """Features [1, C, H, W] for each memory."""
    rng = np.random.default_rng(7)
    return [rng.standard_normal((1, c, *size)).astype(np.float32) for c, size, _ in SHAPES]


def exact(bundle: Draft, features: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
    """The distances in float64, [H, W] each."""
    found = []
    for entry, values in zip(bundle.manifest.memories, features, strict=True):
        kept = bundle.read_array(entry.file).astype(np.float64)
        weights = [1 / entry.neighbours] * entry.neighbours
        distance = reference.nearest(values, kept, weights)[0] / entry.channels
        found.append(distance * bundle.read_array(entry.places))
    return found
