"""Training on 12 bits in 16: declared once and kept in the run; a warning where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from edgead_training.commands import train as command
from edgead_training.data import Sample
from edgead_training.fit import Bounds
from edgead_training.progress import Reporter
from edgead_training.run import load_run, train
from edgead_training.run_backbone import keep
from edgead_training.run_record import TrainingOptions
from edgead_training.training_set import load_images, load_textures

from edgead.cli.main import main
from edgead.errors import DataError, InputError, TrainingError
from edgead.preprocess import PreprocessParams, preprocess
from edgead.tiling import Tiling

SETTINGS = {"size": [64, 64], "bank_size": 3, "width": 8, "batch_size": 4}


def _deepen(parts: Path, out: Path, bits: int) -> Path:
    """The parts as a camera of ``bits`` bits would give them in uint16."""
    out.mkdir()
    for path in sorted(parts.glob("*.png")):
        image = np.rint(cv2.imread(str(path)) / 255 * ((1 << bits) - 1)).astype(np.uint16)
        cv2.imwrite(str(out / path.name), image)
    return out


@pytest.fixture
def deep(parts, tmp_path) -> Path:
    return _deepen(parts, tmp_path / "deep", 12)


def _options(data: Path, out: Path, **more) -> TrainingOptions:
    return TrainingOptions("redi", data, out, SETTINGS, 0, Bounds(steps=4), **more)


def _train(options: TrainingOptions, *, resume: bool = False):
    said: list[str] = []
    return train(options, resume=resume, reporter=Reporter(log=said.append)), "\n".join(said)


def test_the_depth_is_in_the_run_and_in_the_input_of_the_method(deep, tmp_path):
    run, said = _train(_options(deep, tmp_path / "run", bit_depth=12))
    assert "warning" not in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["bit_depth"] == 12
    assert record["command"].endswith("--bit-depth 12")
    assert run.provenance["data"]["bit_depth"] == 12
    for one in (run, load_run(tmp_path / "run")):
        assert one.method.bit_depth == one.method.preprocess_params().bit_depth == 12


def test_a_run_in_which_nothing_is_declared_says_nothing(parts, tmp_path):
    run, said = _train(_options(parts, tmp_path / "run"))
    assert "warning" not in said
    assert (
        "bit_depth" not in run.provenance["data"] and "bit-depth" not in run.provenance["command"]
    )
    assert load_run(tmp_path / "run").method.bit_depth is None


def test_12_bits_learn_what_8_and_16_bits_learn(parts, deep, tmp_path):
    """The images that are learnt from, to a step of 12 bits of the range [0, 1] / 0.22."""
    wide = _deepen(parts, tmp_path / "wide", 16)
    found = []
    for folder, bits in ((parts, None), (deep, 12), (wide, None), (wide, 16)):
        params = PreprocessParams((64, 64), bit_depth=bits)
        samples = [Sample(path) for path in sorted(folder.glob("*.png"))]
        tiles = [[(slice(None), slice(None))]] * len(samples)
        images = load_images(samples, tiles, params, tmp_path, lambda items, _: iter(items), True)
        found.append(images)
        expected = preprocess(cv2.imread(str(samples[0].path), cv2.IMREAD_UNCHANGED), params)
        np.testing.assert_array_equal(images[0], expected)
    for images in found[1:]:
        assert torch.abs(images - found[0]).max() <= 1 / 4095 / 0.22


@pytest.mark.parametrize("tiling", [None, Tiling((64, 64), 8)])
def test_12_bits_that_nobody_declared_are_a_warning_with_the_cure(deep, tmp_path, tiling):
    _, said = _train(_options(deep, tmp_path / "run", tiling=tiling))
    assert said.count("warning: no value of the 12 frames in 16 bits is above") == 1
    assert "--bit-depth 12;" in said
    _, said = _train(_options(deep, tmp_path / "dark", tiling=tiling, bit_depth=16))
    assert "no value of the 12 frames" not in said  # they may be called dark


def test_a_value_above_the_depth_names_the_image_and_writes_nothing(deep, tmp_path):
    image = cv2.imread(str(deep / "003.png"), cv2.IMREAD_UNCHANGED)
    image[5, 6, 1] = 4096
    cv2.imwrite(str(deep / "003.png"), image)
    with pytest.raises(DataError, match=r"(?s)1 of 12 images.*003\.png.*4096.*at most 4095"):
        _train(_options(deep, tmp_path / "run", bit_depth=12))
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_the_depth_that_it_was_begun_with(deep, tmp_path):
    out = tmp_path / "run"
    begun, _ = _train(_options(deep, out, bit_depth=12))
    (out / "model.safetensors").unlink()  # as if it had been stopped
    keep(begun.method.backbone, out)
    with pytest.raises(
        TrainingError, match="begun with --bit-depth 12, not 14; remove --bit-depth"
    ):
        _train(_options(deep, out, bit_depth=14), resume=True)
    run, _ = _train(_options(deep, out), resume=True)
    assert run.method.bit_depth == 12


def test_textures_are_of_another_camera(tmp_path):
    path = tmp_path / "texture.png"
    cv2.imwrite(str(path), np.full((70, 70), 65535, np.uint16))
    params = PreprocessParams((64, 64), (0.0,) * 3, (1.0,) * 3, bit_depth=12)
    assert load_textures([Sample(path)], params).min() == 1.0


def test_the_command_passes_the_depth_on(deep, tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("edgead_training.run.train", lambda options, **_: seen.append(options))
    words = ["train", "redi", str(deep), "--out", str(tmp_path / "run"), "--bit-depth"]
    with pytest.raises(AttributeError):  # nothing was trained, so there is nothing to say
        main([*words, "12"])
    assert seen[0].bit_depth == 12
    assert main([*words, "17"]) == 1
    assert "bit_depth is 17, expected" in capsys.readouterr().err
    with pytest.raises(InputError, match="bit_depth is 8"):
        _options(deep, tmp_path / "x", bit_depth=8)
    assert "bit_depth" in command._PASSED_ON


def test_from_the_images_to_the_score(parts, deep, tmp_path):
    """Learnt at 12 bits: the bundle says so, and one part scores the same at 8, 12 and 16 bits."""
    from edgead_export.exporter import export_run
    from edgead_export.options import ExportOptions

    from edgead import Detector

    asked = _options(deep, tmp_path / "run", bit_depth=12)
    # A frame that is 16 times too dark is odd everywhere, of which an image's own level takes half.
    _train(replace(asked, settings=asked.settings | {"own_level": 0.0}))
    said: list[str] = []
    options = ExportOptions(float16=False)
    bundle = export_run(tmp_path / "run", tmp_path / "x.edgead", options, log=said.append)
    assert bundle.manifest.preprocess.bit_depth == 12
    assert not any("warning" in line for line in said)
    scores = bundle.manifest.calibration.scores
    detector, wide = Detector(bundle), Detector(bundle, bit_depth=16)
    for path in sorted(parts.glob("*.png"))[:4]:
        eight = cv2.imread(str(path))
        truth = detector.score(eight).score
        twelve = cv2.imread(str(deep / path.name), cv2.IMREAD_UNCHANGED)
        sixteen = eight.astype(np.uint16) * 257
        # Twelve bits round by 1.2e-4 of full scale; scores of good parts spread over this much.
        tolerance = 0.05 * max(scores)
        assert detector.score(twelve).score == pytest.approx(truth, abs=tolerance)
        assert wide.score(sixteen).score == pytest.approx(truth, abs=tolerance)
        with pytest.raises(InputError, match="at most 4095"):
            detector.score(sixteen)
        # What it was about: read at a depth that they do not have, frames score otherwise.
        assert abs(wide.score(twelve).score - truth) > 4 * tolerance
