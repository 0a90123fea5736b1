"""benchmarks/windows.py: what follows a run's residual, without training it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgead.errors import InputError

SETTINGS = {"size": [64, 64], "width": 16, "heads": 2, "blocks": 1, "placement": "aligned"}


def _trained(method: str, settings: dict, data: Path, out: Path) -> Path:
    run = pytest.importorskip("edgead_training.run")
    from edgead_training.fit import Bounds
    from edgead_training.run_record import TrainingOptions

    run.train(TrainingOptions(method, data / "discs", out, settings, 0, Bounds(steps=2)))
    return out


def _said(script, name: str, monkeypatch, capsys, *words: object) -> str:
    monkeypatch.setattr("sys.argv", [name, *map(str, words)])
    assert script(name).main() == 0
    return capsys.readouterr().out


def test_the_window_of_the_run_gets_what_the_run_gets(
    script, data, tmp_path, monkeypatch, capsys
) -> None:
    run = _trained("agpnet", SETTINGS, data, tmp_path / "run")
    table = _said(script, "windows", monkeypatch, capsys, run)
    exact = _said(script, "synthetic_defects", monkeypatch, capsys, run)
    rows = {line[:18].split()[-1] + line[:9]: line.split()[-2:] for line in table.splitlines()[1:]}
    area, _ = map(float, rows["yes3, 3, 3  "])
    want = re.search(r"^max +([0-9.]+)", exact, re.MULTILINE)
    assert want is not None
    assert area == pytest.approx(float(want[1]), abs=0.03)  # residuals are kept in half: a tie
    assert len({tuple(row) for row in rows.values()}) > 1  # and others get something else


def test_a_run_of_another_method_gets_a_sentence(script, data, tmp_path, monkeypatch) -> None:
    small = {"size": [64, 64], "width": 0.0625, "batch_size": 2}
    run = _trained("arnet", small, data, tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["windows", str(run)])
    with pytest.raises(InputError, match="is a run of arnet; give one of agpnet"):
        script("windows").main()
