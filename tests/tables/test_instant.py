"""benchmarks/instant.py: a run of each seed, few images, and the table; times are not judged."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason="the scripts need the extra edgead[train]")


@pytest.fixture
def instant(script, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path):
    """``instant(words…)``: the command on ``data``; ``edgead`` is replaced by what it prints."""
    module: ModuleType = script("instant")
    said: list[tuple[object, ...]] = []

    def edgead(*words: object) -> dict[str, object]:
        said.append(words)
        if words[0] == "learn":
            learnt = len(list(Path(str(words[1])).glob("*.png"))) or 10
            return {"images": learnt, "calibration": 2, "kept": 9, "seconds": 3.0 + len(said)}
        rates = {"false_reject_reached": 0.25, "false_reject_promised": 0.125}
        return {"image_auroc": 0.5, "pixel_auroc": None, "aupro": None, **rates}

    monkeypatch.setattr(module, "edgead", edgead)
    monkeypatch.setattr(module, "over_backbone", lambda *_: 1.5 + len(said))

    def run(*words: object) -> int:
        line = ["instant.py", data, "--results", tmp_path / "i.json", "--datasets", "discs", *words]
        monkeypatch.setattr("sys.argv", list(map(str, line)))
        return int(script("edgead.cli.main").guard(module.main))

    run.said, run.results, run.module = said, tmp_path / "i.json", module  # type: ignore[attr-defined]
    return run


def test_each_seed_is_made_once(instant) -> None:
    assert instant("--seeds", 1) == 0 and instant("--seeds", 0, 1, 2) == 0
    (entry,) = json.loads(instant.results.read_text())
    assert [words[-1] for words in instant.said if words[0] == "learn"] == [1, 0, 2]
    assert (entry["dataset"], entry["shots"], entry["seeds"]) == ("discs", None, [0, 1, 2])
    assert (entry["image_auroc"], entry["aupro"]) == ([0.5] * 3, [None] * 3)
    assert (entry["false_reject_promised"], entry["false_reject_reached"]) == (0.125, [0.25] * 3)
    assert entry["learn_seconds"] == 6.0  # of 4, 6 and 8
    assert entry["score_over_backbone"] == 5.5  # of 3.5, 5.5 and 7.5


def test_few_images(instant) -> None:
    assert instant("--seeds", 0, "--shots", 1, 4, 8) == 0
    entries = json.loads(instant.results.read_text())
    assert [(e["shots"], e["runs"][0]["images"]) for e in entries] == [(1, 2), (4, 5), (8, 10)]
    lines = instant.module.table(entries).splitlines()
    assert len(lines) == 5
    assert "| 0.500 | no masks | no masks | 0.125 | 0.250 |" in lines[2]


def test_a_set_that_is_not_there(instant, capsys) -> None:
    assert instant("--datasets", "cubes") == 1
    assert "has no cubes; name sets with --datasets" in capsys.readouterr().err
