"""The tables of the methods in the docs: they are what the figures give."""

from __future__ import annotations

import statistics

import pytest

from edgead.errors import InputError

RUN = {
    "seed": 0, "image_auroc": 0.9, "pixel_auroc": 0.8, "aupro": None, "model_mb": 2.04,
    "gflop": 3.26, "score_ms": 9.96, "train_seconds": 100.4, "steps": 7, "agreement": 1e-4,
    "changed_verdicts": 0, "calibration_images": 42, "test_images": 9, "processor": "Chip 3",
}  # fmt: skip
LATER = {
    "parts": 7, "image_auroc_interval": [0.5, 0.75], "ahead_of_untrained": [0.1, -0.05, 0.25],
    "false_reject_promised": 0.05, "false_reject_reached": 0.1, "cost_over_backbone": 1.5,
    "frame_size_aupro": 0.6, "aupro_0_05": 0.2, "frame_size_aupro_0_05": 0.3,
}  # fmt: skip
HEAD = {"method": "redi", "preset": "paper", "dataset": "mvtec_bottle", "settings": {},
        "trained": True, "with_instant": False,
        "command": "edgead train redi && edgead export"}  # fmt: skip


def test_the_table_in_the_docs_is_what_the_figures_give(script) -> None:
    methods, docs = script("methods"), script("docs_table")
    entries = script("entries").read_entries(methods.RESULTS)
    _, between, _ = docs.section(methods.PAGE.read_text(encoding="utf-8"), "methods")
    assert between == methods.table(entries), "python benchmarks/methods.py --table writes it"
    _, between, _ = docs.section(methods.SUMMARY_PAGE.read_text(encoding="utf-8"), "summary")
    assert between == methods.summary(entries), "python benchmarks/methods.py --table writes it"


def test_the_summary_has_the_means_of_a_method_on_each_data_set(script) -> None:
    make, summary = script("entries").make_entry, script("methods").summary
    more = {"seed": 2, "image_auroc": 0.7, "aupro": 0.5}
    other = HEAD | {"dataset": "magnetic_tile"}
    entries = [make(HEAD, [RUN | more, RUN | {"aupro": 0.3}]), make(other, [RUN | more])]
    row = "| redi (paper) | 0.800 / 0.400 | 0.700 / 0.500 | not measured | 1 to 2 |  | 2.0 | 10 |"
    assert summary(entries).splitlines()[2:] == [row]
    untrained = make(HEAD | {"trained": False}, [RUN | LATER])
    beside = "| redi (paper), untrained | 0.900 / no masks |"
    rest = " not measured | not measured | 1 | 1.50 | 2.0 | 10 |"
    assert summary([untrained, *entries]).splitlines()[2:] == [beside + rest, row]


def test_a_row_has_mean_and_spread_and_stands_beside_the_peers(script) -> None:
    more = {"seed": 2, "image_auroc": 0.7, "score_ms": 10.16, "train_seconds": 101.4}
    entry = script("entries").make_entry(HEAD, [RUN | more, RUN])
    assert entry["seeds"] == [0, 2] and entry["image_auroc"] == [0.9, 0.7]
    lines = script("methods").table([entry]).splitlines()
    row = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert row[:3] == ["mvtec_bottle", "redi (paper)", "0, 2"]
    spread = statistics.stdev([0.9, 0.7])
    assert row[3:8] == [f"0.800 ± {spread:.3f}", "", "", "0.800 ± 0.000", "no masks"]
    assert row[8:13] == [""] * 5  # not measured in earlier runs
    assert row[13:] == ["2.0", "3.3", "10.1", "", "101", "`edgead train redi`"]
    assert lines[3].startswith("| mvtec_bottle | PatchCore |  | 1.000 |  |  | 0.988 | 0.940 |")
    assert "Processor: Chip 3. Over all 2 runs" in lines[-1]
    assert "at most 0.0001 from torch's, and 0 of 84 verdicts" in lines[-1]


def test_intervals_costs_and_false_rejects_are_shown_and_an_earlier_row_is_marked(script) -> None:
    make, table = script("entries").make_entry, script("methods").table
    other = {"image_auroc_interval": [0.6, 0.85], "ahead_of_untrained": [0.2, 0.05, 0.35]}
    entry = make(HEAD | {"with_instant": True}, [RUN | LATER, RUN | LATER | other | {"seed": 1}])
    assert entry["image_auroc_interval"] == [pytest.approx(0.55), pytest.approx(0.8)]
    row = [cell.strip() for cell in table([entry]).splitlines()[2].strip("|").split("|")]
    assert row[1] == "redi (paper) with instant"
    assert row[4:6] == ["0.550 to 0.800", "+0.150 (+0.000 to +0.300)"]
    assert row[8:13] == ["0.600 ± 0.000", "0.200 ± 0.000", "0.050", "0.100 ± 0.000", "7"]
    assert row[16] == "1.50"
    untrained = make(HEAD | {"trained": False, "earlier": True}, [RUN])
    lines = table([untrained]).splitlines()
    assert "| redi (paper), untrained * |" in lines[2]
    assert lines[-1].startswith(r"\* An earlier measurement")


def test_one_seed_has_no_spread(script) -> None:
    assert script("docs_table").mean_and_spread([0.75]) == "0.750"


def test_only_what_lies_between_the_markers_is_replaced(script, tmp_path) -> None:
    docs, page = script("docs_table"), tmp_path / "page.md"
    page.write_text("a\n<!-- t:begin -->\nold\n<!-- t:end -->\nb <!-- u:end -->\n")
    docs.write_section(page, "t", "new\n")
    assert page.read_text() == "a\n<!-- t:begin -->\nnew\n<!-- t:end -->\nb <!-- u:end -->\n"
    before = page.read_text()
    with pytest.raises(InputError, match="no place"):
        docs.write_section(page, "u", "new\n")
    assert page.read_text() == before
