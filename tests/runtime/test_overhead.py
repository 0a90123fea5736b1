"""The benchmark still runs; what it measures is nobody's business here."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "overhead.py"


def test_overhead(
    bundle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    arguments = [str(bundle_dir), "--repeats", "3", "--frame", "20x30", "--json"]
    file = tmp_path / "new" / "folder" / "o.json"
    monkeypatch.setattr("sys.argv", ["overhead.py", *arguments, str(file)])
    assert main() == 0
    found = json.loads(file.read_text())
    assert found["frame"] == [20, 30, 3]
    assert found["ratio"] == found["score_ms"] / found["bare_ms"]
    assert f"{found['ratio']:.3f}" in capsys.readouterr().out
    images = ["--precision", "float32", "--images", str(bundle_dir / "golden")]
    monkeypatch.setattr("sys.argv", ["overhead.py", *arguments, str(file), *images])
    assert main() == 0
    assert json.loads(file.read_text())["precision"] == "float32"
    monkeypatch.setattr("sys.argv", ["overhead.py", str(tmp_path / "absent.edgead")])
    assert main() == 1
