"""A method that learnt from tiles becomes a bundle that sees whole frames in tiles."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_export import CalibrationFrame, ExportOptions, export_method
from export_toy import SIZE, ToyMethod, frame

from edgead import Detector
from edgead.images import read_image
from edgead.tiling import Tiling

TILING = Tiling(SIZE, 16)


def large(seed: int) -> CalibrationFrame:
    """Four frames of the toy set side by side: 2 x 2 of their size."""
    four = [frame(4 * seed + i) for i in range(4)]
    size = min(f.shape[0] for f in four), min(f.shape[1] for f in four)
    a, b, c, d = (f[: size[0], : size[1]] for f in four)
    whole = np.vstack([np.hstack([a, b]), np.hstack([c, d])])
    return CalibrationFrame(f"{seed}.png", lambda: whole)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    out = tmp_path_factory.mktemp("tiled") / "toy.edgead"
    calibration = [large(seed) for seed in range(6)]
    options = ExportOptions(float16=False)
    bundle = export_method(
        ToyMethod(), calibration, out, options, tiling=TILING, log=lambda _: None
    )
    return Detector(bundle)


def test_calibration_scores_are_of_whole_frames(tiled: Detector) -> None:
    found = [tiled.score(large(seed).read()) for seed in range(6)]
    measured = tiled.bundle.manifest.calibration
    np.testing.assert_allclose([r.score for r in found], measured.scores, atol=1e-6)
    np.testing.assert_allclose([r.map.max() for r in found], measured.peaks, atol=1e-6)
    height, width = large(0).read().shape[:2]
    assert found[0].map.shape == (height, width)  # tiles of the image's size: pixel for pixel


def test_golden_frames_are_two_by_two_tiles(tiled: Detector) -> None:
    bundle = tiled.bundle
    assert len(bundle.manifest.golden) == 4
    for golden in bundle.manifest.golden:
        frame = read_image(bundle.path_of(golden.image))
        assert frame.shape[:2] == (2 * SIZE[0] - 16, 2 * SIZE[1] - 16)
        assert np.load(bundle.path_of(golden.map)).shape == frame.shape[:2]
