"""Frames in tiles: C says what Python says of every size, mask, pooling and kind of bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import COLOURS, array_of, same  # type: ignore[import-not-found]
from signal_bundles import MASK_SIZE, write_tiled  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError, InputError
from edgead.tiling import Tiling


@pytest.mark.parametrize("seed", range(12))
def test_tiles_of_every_kind(library: Any, tiny: Any, tmp_path: Path, seed: int) -> None:
    path, rng = write_tiled(tiny, tmp_path, seed), np.random.default_rng(seed)
    manifest = open_bundle(path).manifest
    assert manifest.tiling is not None
    height, width = manifest.tiling.size
    sizes = [(height, width), (height + 1, width), (3 * height - 5, 2 * width + 7)]
    if manifest.ignore is not None:
        sizes = [MASK_SIZE] * 2
    kinds = rng.permutation(["GRAY8", "GRAY16", *COLOURS])[: len(sizes)]
    with library.serving(path) as session:
        for size, kind in zip(sizes, map(str, kinds), strict=True):
            bits = 11 if kind.endswith("16") else 0
            colour = COLOURS.get(kind, "bgr")
            with Detector(
                path, device="cpu", threads=1, color=colour, bit_depth=bits or None
            ) as detector:
                for _ in range(2):
                    same(session, detector, array_of(rng, kind, size, bits), kind, bits)


def test_frames_that_are_smaller_than_a_tile(
    library: Any, refused: type[Exception], tiny: Any, tmp_path: Path
) -> None:
    path = write_tiled(tiny, tmp_path, 0)
    tiling = open_bundle(path).manifest.tiling
    assert tiling is not None
    height, width = tiling.size
    fits = np.full((height + 9, width, 3), 70, np.uint8)
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        session.score(fits, "BGR")
        for size in ((height - 1, width), (height, width - 1)):
            frame = np.zeros((*size, 3), np.uint8)
            with pytest.raises(InputError) as expected:
                detector.score(frame)
            with pytest.raises(refused) as caught:
                session.score(frame, "BGR")
            assert str(caught.value) == str(expected.value)
            with pytest.raises(refused, match="no map"):
                session.map_size()
        same(session, detector, fits, "BGR", 0)


def test_golden_frames_that_are_smaller_than_a_tile(
    library: Any, refused: type[Exception], tiny: Any, tmp_path: Path
) -> None:
    path = tmp_path / "large.edgead"
    tiny.write(path, tiling=Tiling((80, 80), 8))
    with pytest.raises(BundleError) as expected:
        Detector(path, device="cpu", threads=1)
    with pytest.raises(refused) as caught:
        library.open(path)
    assert str(caught.value) == str(expected.value)
