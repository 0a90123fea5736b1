"""Export of a run on images of 12 bits in 16: manifest, golden frames, defects, scores."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_export import CalibrationFrame, export_method
from edgead_training.data.synthetic_defects import add_defect
from export_toy import ToyMethod, frame, frames

from edgead import Detector
from edgead.images import decode_image
from edgead.learning.golden import synthetic_defect


def _at(image: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(image / 255 * ((1 << bits) - 1)).astype(np.uint16)


def _frames(count: int, bits: int) -> list[CalibrationFrame]:
    return [CalibrationFrame(f"{i}.png", lambda i=i: _at(frame(i), bits)) for i in range(count)]


def _export(given, path, bits):
    method, said = ToyMethod(), []
    method.bit_depth = bits
    return export_method(method, given, path, log=said.append), "\n".join(said)


def test_a_bundle_of_12_bits_scores_as_one_of_8(tmp_path):
    eight, said = _export(frames(6), tmp_path / "8.edgead", None)
    assert said.count("warning") == 1 and "warning: The images are of 6 sizes" in said
    twelve, said = _export(_frames(6, 12), tmp_path / "12.edgead", 12)
    assert said.count("warning") == 1 and "warning: The images are of 6 sizes" in said
    assert twelve.manifest.to_json()["input"]["bit_depth"] == 12
    spread = np.ptp(eight.manifest.calibration.scores)
    # Twelve bits round to 1/4095 of full scale, sixteen times finer than eight bits themselves.
    assert twelve.manifest.calibration.scores == pytest.approx(
        eight.manifest.calibration.scores, abs=0.05 * spread
    )
    assert twelve.manifest.health.brightness == pytest.approx(
        eight.manifest.health.brightness, abs=1e-3
    )
    images = [decode_image(twelve.read(one.image), one.image) for one in twelve.manifest.golden]
    assert all(image.dtype == np.uint16 and image.max() <= 4095 for image in images)
    with Detector(twelve) as one, Detector(eight, bit_depth=12) as other:
        for index in range(3):
            found = one.score(_at(frame(50 + index), 12)).score
            assert found == pytest.approx(other.score(frame(50 + index)).score, abs=0.05 * spread)


def test_12_bits_that_nobody_declared_are_a_warning_once(tmp_path):
    bundle, said = _export(_frames(4, 12), tmp_path / "x.edgead", None)
    assert said.count("warning: no value of the 4 frames in 16 bits is above") == 1
    assert "--bit-depth 12" in said
    assert "bit_depth" not in bundle.manifest.to_json()["input"]


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_synthetic_defects_have_the_shades_of_the_depth(bits):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (80, 90, 3), np.uint8)
    wide, full = _at(image, bits), (1 << bits) - 1
    changed = synthetic_defect(wide, bits)
    assert changed.max() <= full
    eight = synthetic_defect(image)
    # A flat 30 % of full scale, at both: to the rounding of 8 bits.
    assert np.abs(changed / full - eight / 255).max() <= 1 / 255
    for seed in range(20):
        found = add_defect(wide, np.random.default_rng(seed), bits)
        expected = add_defect(image, np.random.default_rng(seed))
        assert found[2] == expected[2] and found[0].max() <= full
        apart = np.abs(found[0] / full - expected[0] / 255)
        assert np.median(apart) <= 1 / 255 and np.mean(apart > 3 / 255) < 0.01
