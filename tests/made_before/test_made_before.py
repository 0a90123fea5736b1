"""Bundles and runs made before go on working: these were written by commit 1c96a08."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgead
from edgead.bundle import open_bundle
from edgead.images import read_image

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "scores.json").read_text())


def hold_verdicts(detector: edgead.Detector, tolerance: float) -> None:
    """Scores within ``tolerance`` of those written down then, and the same verdicts."""
    for name, (score, p_value, is_anomalous) in EXPECTED.items():
        result = detector.score(read_image(HERE / "parts" / name))
        assert result.score == pytest.approx(score, abs=tolerance)
        assert (result.p_value, result.is_anomalous) == (p_value, is_anomalous)


def test_a_bundle_opens_qualifies_and_gives_its_verdicts() -> None:
    bundle = open_bundle(HERE / "disc.edgead")
    # Two processors may differ by as much as the bundle allows an engine in float32.
    hold_verdicts(edgead.Detector(bundle), bundle.manifest.tolerance_of("float32").score)


def test_its_graph_in_float16_stays_in_the_bundle() -> None:
    assert set(open_bundle(HERE / "disc.edgead").manifest.models) == {"float32", "float16"}


@pytest.mark.parametrize(
    "line",
    [
        "from edgead.bundle import Bundle, Manifest, open_bundle, write_bundle",
        "from edgead.bundle import Manifest; Manifest.loads",
        "from edgead.images import read_image",
        "from edgead import reference",
        "import edgead; edgead.Detector, edgead.Health, edgead.Drift, edgead.Result",
    ],
)
def test_documented_imports_go_on_working(line: str) -> None:
    subprocess.run([sys.executable, "-c", line], check=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run, with its images where they lie now."""
    pytest.importorskip("torch")
    shutil.copytree(HERE / "disc-run", tmp_path / "disc-run")
    record = tmp_path / "disc-run" / "run.json"
    value = json.loads(record.read_text())
    value["data"]["path"] = str(HERE / "parts")
    record.write_text(json.dumps(value, indent=1))
    return tmp_path / "disc-run"


def test_a_run_is_exported_to_a_bundle_with_the_verdicts_of_then(run: Path) -> None:
    from edgead.cli.main import main

    out = run.with_name("disc.edgead")
    assert main(["export", str(run), "--out", str(out)]) == 0
    bundle = open_bundle(out)
    hold_verdicts(edgead.Detector(bundle), bundle.manifest.tolerance_of("float32").score)
