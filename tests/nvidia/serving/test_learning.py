"""Learning with features of a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import Device

from edgead.bundle.storage import Bundle, open_bundle
from edgead.learning import engines
from edgead.nvidia.engine import TensorRTEngine
from edgead.serving import qualification

pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")
sys.path.insert(0, str(Path(__file__).parents[2] / "learning"))

from good_parts import part, with_label, write_small_backbone  # type: ignore[import-not-found]
from steps import run, save  # type: ignore[import-not-found]

IMAGES = 14


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of good parts, and a backbone beside it."""
    write_small_backbone(tmp_path / "small.onnx")
    return save(tmp_path / "good", {f"{seed:02}.png": part(seed) for seed in range(IMAGES)})


def learn(folder: Path, out: Path, device: str) -> Bundle:
    """What ``edgead learn`` makes of the folder on a device."""
    words = ["--backbone", folder.parent / "small.onnx", "--size", 64, "--memory", 200]
    assert run("learn", folder, "--out", out, *words, "--device", device) == 0
    return open_bundle(out)


def check_same(found: Bundle, expected: Bundle) -> None:
    """Statistics, scores and golden frames are the same but for what features are rounded."""
    arrays = [name for name in expected.manifest.files if name.endswith(".npy")]
    assert set(found.manifest.files) == set(expected.manifest.files)
    for name in arrays:
        a, b = (np.asarray(one.read_array(name), np.float64) for one in (found, expected))
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3 * float(np.abs(b).max()))
    mine, theirs = found.manifest.calibration, expected.manifest.calibration
    np.testing.assert_allclose(mine.scores, theirs.scores, rtol=1e-3)
    assert found.manifest.provenance["learn"] == expected.manifest.provenance["learn"]


def executed(device: Device) -> int:
    """How often the graph ran on the device."""
    return sum(name == "execute_async_v3" for name, _ in device.log)


def test_the_bundle_is_that_of_the_cpu_and_is_qualified_on_the_device(
    device: Device,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    plain = qualification.qualify

    def watched(bundle: Bundle, engine: Any) -> Any:
        checked.append(type(engine).__name__)  # not the engine, which would outlive its device
        return plain(bundle, engine)

    monkeypatch.setattr(engines, "qualify", watched)
    expected = learn(folder, tmp_path / "cpu.edgead", "cpu")
    assert executed(device) == 0 and checked == ["OpenVINOEngine"]
    found = learn(folder, tmp_path / "gpu.edgead", "auto")
    assert executed(device) >= IMAGES and checked[1:] == ["TensorRTEngine"]
    assert "engine cuda:0 (auto: a GPU that can serve)" in capsys.readouterr().out
    check_same(found, expected)


def test_what_is_added_and_its_sample_are_seen_by_the_device(
    device: Device, folder: Path, tmp_path: Path
) -> None:
    bundle = learn(folder, tmp_path / "part.edgead", "cpu")
    new = save(tmp_path / "new", {f"{seed}.png": with_label(seed) for seed in range(100, 104)})
    sample = save(
        tmp_path / "sample",
        {f"{s}.png": (with_label if s % 4 == 0 else part)(s) for s in range(200, 224)},
    )
    found = {}
    for word in ("cpu", "cuda"):
        out = tmp_path / f"{word}.edgead"
        words = ["--add", new, "--calibrate", sample, "--force", "--out", out, "--device", word]
        before = executed(device)
        assert run("learn", bundle.path, *words) == 0
        assert (executed(device) - before >= 28) == (word == "cuda")
        found[word] = open_bundle(out)
    check_same(found["cuda"], found["cpu"])


def test_a_device_that_does_not_reproduce_the_bundle_writes_nothing(
    device: Device,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = qualification.open_pipeline

    class Worse:
        def __init__(self, bundle: Bundle, engine: Any) -> None:
            assert isinstance(engine, TensorRTEngine)
            self._pipeline = plain(bundle, engine)
            self.close = self._pipeline.close

        def run(self, frame: Any) -> Any:
            found = self._pipeline.run(frame)
            return found._replace(score=found.score + 1.0)

    monkeypatch.setattr(qualification, "open_pipeline", Worse)
    words = ["--backbone", folder.parent / "small.onnx", "--size", 64, "--device", "cuda"]
    assert run("learn", folder, "--out", tmp_path / "bad.edgead", *words) != 0
    assert "does not reproduce" in capsys.readouterr().err
    assert not (tmp_path / "bad.edgead").exists()
