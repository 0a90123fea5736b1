"""benchmarks/readme.py: the table of README.md is what the figures give."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the scripts need the extra edgead[train]")


def entry(**changed):
    figures = {"image_auroc": [0.9, 0.7], "pixel_auroc": [0.5, 0.5], "aupro": [0.25, 0.75]}
    return {"preset": "edge", "dataset": "mvtec_bottle", "shots": None, **figures, **changed}


def test_the_table_in_the_readme_is_what_the_figures_give(script) -> None:
    readme, docs = script("readme"), script("docs_table")
    _, between, _ = docs.section(readme.PAGE.read_text(encoding="utf-8"), "figures")
    read = readme.read
    expected = readme.table(read("instant"), read("demo"), *readme.alone(read("methods")))
    assert between == expected, "python benchmarks/readme.py writes it"


def test_a_trained_row_has_its_untrained_one_below_it(script) -> None:
    cell = {"image_auroc": 0.5, "pixel_auroc": None, "aupro": None}
    instant = [
        entry(shots=4, learn_seconds=0.1),
        entry(learn_seconds=4.4),
        entry(dataset="elpv", learn_seconds=1.2),
    ]
    trained, untrained = (
        [
            entry(method=m, preset=p, command=f"edgead train {m} {n} && more")
            for m in ("agpnet", "redi")
            for p in ("paper", "edge")
        ]
        for n in (700, 2)
    )
    cells = {"trained": cell, "untrained": cell | {"image_auroc": 0.4375}, "joined": cell}
    rows = script("readme").table(instant, cells, trained, untrained).splitlines()[2:]
    spread = "0.800 ± 0.141 | 0.500 ± 0.000 | 0.500 ± 0.354"
    learn = "`edgead learn {} --out part.edgead --seed S`"
    assert rows == [
        f"| solar cells | **learnt** in 1 s | {spread} | {learn.format('demo/data')} |",
        "| solar cells | AGPNet trained | 0.500 | no masks | no masks | `make demo` |",
        "| solar cells | AGPNet untrained: 2 steps | 0.438 | no masks | no masks "
        "| `edgead train agpnet demo/data --out RUN --steps 2` |",
        "| solar cells | AGPNet joined with learnt | 0.500 | no masks | no masks | `make demo` |",
        f"| bottles | **learnt** in 4 s | {spread} | {learn.format('mvtec_bottle')} |",
        f"| bottles | ReDi trained | {spread} | `edgead train redi 700` |",
        f"| bottles | ReDi untrained: 2 steps | {spread} | `edgead train redi 2` |",
        f"| bottles | AGPNet trained | {spread} | `edgead train agpnet 700` |",
        f"| bottles | AGPNet untrained: 2 steps | {spread} | `edgead train agpnet 2` |",
    ]


def test_figures_of_the_demo_are_taken_in(script, tmp_path, monkeypatch, capsys) -> None:
    readme = script("readme")
    results, page = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    for name in ("instant", "methods", "demo"):
        (results / f"{name}.json").write_bytes((readme.RESULTS / f"{name}.json").read_bytes())
    page.write_text("a\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nb\n")
    monkeypatch.setattr(readme, "RESULTS", results)
    monkeypatch.setattr(readme, "PAGE", page)
    figures = {"image_auroc": 0.123, "pixel_auroc": None, "aupro": None}
    other = figures | {"image_auroc": 0.9}
    (tmp_path / "trained.json").write_text(json.dumps(figures))
    (tmp_path / "beside.json").write_text(json.dumps({"image_auroc": 0.5, "beside": other}))
    given = [f"--{key}={tmp_path / name}.json" for key, name in
             (("trained", "trained"), ("joined", "beside"))]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["readme.py", *given])
    assert readme.main() == 0
    for how, figure in (("trained", "0.123"), ("joined with learnt", "0.900")):
        row = f"| solar cells | AGPNet {how} | {figure} | no masks | no masks | `make demo` |"
        assert row in page.read_text()
    assert page.read_text().startswith("a\n") and page.read_text().endswith("b\n")
    assert json.loads((results / "demo.json").read_text())["trained"] == figures


def test_what_was_not_measured_has_no_row(script) -> None:
    instant = [entry(learn_seconds=1), entry(dataset="elpv", learn_seconds=1)]
    rows = script("readme").table(instant, {}, [], []).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| solar cells", "| bottles"]
