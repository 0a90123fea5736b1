"""benchmarks/ablation.py: its grid is of settings that there are, and its table is the figures'."""

from __future__ import annotations

import json

import pytest
from edgead_training.methods import METHODS
from edgead_training.run_record import full_settings


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_row_changes_just_what_it_names(script, method: str) -> None:
    usual, *changed = [row for row, _ in script("ablation").GRID[method]]
    assert usual == {}
    before = full_settings(method, "edge", {})
    for change in changed:
        after = full_settings(method, "edge", change)  # an error for what the method does not know
        assert {key for key in after if after[key] != before[key]} == set(change)
    assert len({json.dumps(row) for row in changed}) == len(changed)


def test_the_tables_in_the_docs_are_what_the_figures_give(script) -> None:
    ablation, docs = script("ablation"), script("docs_table")
    entries = script("entries").read_entries(ablation.RESULTS)
    _, between, _ = docs.section(script("ablation").PAGE.read_text(encoding="utf-8"), "ablation")
    assert between == ablation.tables(entries), "python benchmarks/ablation.py --table writes them"


def test_cells_are_kept_apart_by_what_was_changed(
    script, data, tmp_path, monkeypatch, capsys
) -> None:
    """Three cells: two of the grid, and one that the table does not know."""
    ablation, small = script("ablation"), {"size": [64, 64], "width": 0.0625, "batch_size": 2}
    rows = tuple((small | change, f"claim {number}") for number, change in
                 enumerate(({}, {"erase": "gray"})))  # fmt: skip
    monkeypatch.setattr(ablation, "GRID", {"arnet": rows})
    file = tmp_path / "a.json"
    line = ["ablation.py", data, "--methods", "arnet", "--datasets", "discs", "--steps", 2,
            "--results", file, "--work", tmp_path / "work"]  # fmt: skip
    monkeypatch.setattr("sys.argv", list(map(str, line)))
    assert ablation.main() == 0
    entries = json.loads(file.read_text())
    assert [entry["settings"]["erase"] for entry in entries] == ["both", "gray"]
    lines = ablation.tables(entries[::-1]).splitlines()
    assert lines[0] == "**arnet**"
    assert "claim 0" in lines[4] and "`erase=gray`" in lines[5] and "claim 1" in lines[5]
    assert f"{entries[1]['image_auroc'][0]:.3f}" in lines[5]
    assert "--set erase=gray" in lines[5] and "--steps 2" in lines[5]
    entries[0]["settings"]["pooling"] = "max"
    assert len(ablation.tables(entries).splitlines()) == 5
    capsys.readouterr()
    assert ablation.main() == 0
    assert "nothing to do" in capsys.readouterr().out
