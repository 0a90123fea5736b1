"""The tiny bundle with memories and whitenings of every kind, drawn by a seed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgead.bundle.entries import Memory, Tolerance, Whitening
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import npy, open_bundle, write_bundle
from edgead.tiling import Tiling

SIZES = ((32, 24), (16, 12))  # of the tiny graph's levels
MASK_SIZE = (75, 131)  # of frames in tiles that have an ignore mask


class Draw:
    """Entries of a manifest and their files."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.files: dict[str, bytes] = {}

    def file(self, array: np.ndarray) -> str:
        """The name of a new file with ``array``, in either order."""
        name = f"array{len(self.files)}.npy"
        order = np.asfortranarray if self.rng.random() < 0.3 else np.ascontiguousarray
        stream = io.BytesIO()
        np.save(stream, order(array))
        self.files[name] = stream.getvalue()
        return name

    def places(self, size: tuple[int, int], often: float = 1.0) -> str | None:
        """A file with a number for each position, some of them 0; None where none is drawn."""
        if self.rng.random() >= often:
            return None
        values = self.rng.random(size) * (self.rng.random(size) < 0.9)
        return self.file(values.astype(np.float32))

    def memory(self, features: str, channels: int, size: tuple[int, int], scored: bool) -> Memory:
        rng = self.rng
        blend = rng.random() < 0.6
        neighbours = int(rng.integers(1, 8))
        rows = int(rng.integers(1 if blend else neighbours, 400))
        values = np.abs(rng.normal(0, 0.4, (rows, channels)))
        values[rows // 3 : 2 * (rows // 3)] = values[: rows // 3]  # ties
        values = values.astype([np.float32, np.float16][int(rng.integers(2))])
        return Memory(
            features,
            channels,
            size,
            self.file(values),
            str(self.places(size)),
            neighbours,
            float(rng.uniform(0.2, 2)),
            temperature=float(10 ** rng.uniform(-3, 0)) if blend else None,
            shares=self.places(size, 0.5),
            scored=self.places(size) if scored else None,
        )

    def whitening(
        self, features: str, channels: int, size: tuple[int, int], scored: bool
    ) -> Whitening:
        rng = self.rng
        first = int(rng.integers(channels))
        count = int(rng.integers(1, channels - first + 1))
        side = int(rng.integers(1, 40))
        regions = -(-size[0] // side) * -(-size[1] // side)
        factors = rng.normal(0, 1, (regions, count, count))
        factors = np.triu(factors) if rng.random() < 0.5 else factors
        centre = rng.random(count).astype(np.float32)
        return Whitening(
            features,
            channels,
            size,
            first,
            count,
            mean=self.file(rng.random((count, *size)).astype(np.float32)),
            factors=self.file(factors.astype(np.float32)),
            side=side,
            centre=self.file(centre) if rng.random() < 0.5 else None,
            places=self.places(size, 0.5 if scored else 1.0),
            scored=self.places(size) if scored else None,
        )


def write_with_signals(tiny: Any, path: Path, seed: int, graph: Any = None) -> Path:
    """A bundle whose golden frames hold nothing.

    Args:
        tiny: the parts of the tiny bundle.
        path: where to write it.
        seed: of what is drawn; of the odd ones there are pairs too, of the first everything.
        graph: ``make_graph``; the second level has 70 channels then.
    """
    draw, manifest = Draw(seed), tiny.manifest
    channels = (8, 12 if graph is None else 70)
    everything = seed == 0
    paired = everything or bool(seed % 2)
    pairs = manifest.pairs[:1] if paired else ()
    memories, whitenings = [], []
    for level in (1,) if paired else (1, 0):
        for output in ("reference", "restored"):
            about = (f"{output}_{level}", channels[level], SIZES[level])
            kind = int(draw.rng.integers(3))  # one of both, or both
            scored = level == 1 and (everything or bool(draw.rng.random() < 0.6))
            if kind != 1 or everything or not memories:
                memories.append(draw.memory(*about, scored))
            if kind != 0 or everything:
                whitenings.append(draw.whitening(*about, scored))
    weights = [pair.weight for pair in pairs] + [memory.weight for memory in memories]
    weights += [1.0 for whitening in whitenings if whitening.places]
    rng = draw.rng
    params = replace(
        manifest.map,
        distance=("l1", "l2")[int(rng.integers(2))] if not whitenings else "l1",
        fusion=("sum", "product")[int(rng.integers(4)) // 3],
        pooling=("max", "mean", "top_k")[int(rng.integers(3))],
        top_k=0.01,
        blur_sigma=float(rng.choice([0.0, 2.0])),
        align_corners=bool(rng.integers(2)),
        weights=tuple(weights),
    )
    expected = np.zeros(manifest.map.size, np.float32)
    golden = (replace(manifest.golden[0], scored="golden/0.scored.npy"), *manifest.golden[1:])
    shown = {one.size for one in (*memories, *whitenings) if one.places}
    levels = len(shown) == 1 and params.distance == "l1" and seed % 4 < 2
    changed = replace(
        manifest,
        own_levels=(0.5, 100.0) if levels else None,
        schema_version=2,
        pairs=pairs,
        memories=tuple(memories),
        whitenings=tuple(whitenings),
        map=params,
        golden=golden,
        tolerance={"float32": Tolerance(1e9, 1e9)},
    )
    model = {} if graph is None else {"model.onnx": graph(channels=channels)}
    write_bundle(
        path, changed, {**tiny.files, **draw.files, **model, "golden/0.scored.npy": npy(expected)}
    )
    return path


def write_tiled(tiny: Any, folder: Path, seed: int) -> Path:
    """A bundle with tiles and one golden frame, which holds nothing; every fourth has a mask."""
    rng = np.random.default_rng(seed)
    whole = write_with_signals(tiny, folder / "whole.edgead", seed) if seed % 2 else None
    manifest = tiny.manifest if whole is None else open_bundle(whole).manifest
    files = dict(tiny.files)
    if whole is not None:
        files = {name: open_bundle(whole).read(name) for name in manifest.files}
    sides = (int(rng.integers(16, 60)), int(rng.integers(16, 60)))
    tiling = Tiling(sides, int(rng.integers(2, min(sides) // 2 + 1)))
    corner = ((0.0, 0.0), (90.0, 0.0), (0.0, 70.0))
    changed = replace(
        manifest,
        tiling=tiling,
        golden=manifest.golden[:1],
        map=replace(manifest.map, pooling=("max", "mean", "top_k")[seed % 3], top_k=0.01),
        ignore=IgnoreMask(MASK_SIZE, (corner,)) if seed % 4 >= 2 else None,
        tolerance={"float32": Tolerance(1e9, 1e9)},
    )
    shape = changed.map_size((70, 90))
    files[manifest.golden[0].map] = npy(np.zeros(shape, np.float32))
    write_bundle(folder / "tiled.edgead", changed, files)
    return folder / "tiled.edgead"
