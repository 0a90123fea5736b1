"""Links between the pages lead somewhere, and every page and picture is reached by one."""

from __future__ import annotations

import re

import doc_pages
import pytest

ALL_PAGES = doc_pages.all_pages()


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page) -> None:
    for link in doc_pages.links(page):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (doc_pages.ROOT / page).parent / name if name else doc_pages.ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            found = doc_pages.anchors(target.read_text(encoding="utf-8"))
            assert anchor in found, f"{page}: {link}; there are {sorted(found)}"


def test_every_page_is_in_the_index_and_every_picture_in_a_page() -> None:
    reached = {
        str(((doc_pages.ROOT / page).parent / link.partition("#")[0]).resolve())
        for page in ("README.md", "docs/README.md", "docs/notes/README.md")
        for link in doc_pages.links(page)
    }
    for page in ALL_PAGES:
        assert not page.startswith("docs/") or str(doc_pages.ROOT / page) in reached, page
    shown = {link.rpartition("/")[2] for page in ALL_PAGES for link in doc_pages.links(page)}
    for picture in (doc_pages.ROOT / "docs").glob("*.png"):
        assert picture.name in shown, picture


def test_anchors_are_those_of_github() -> None:
    text = "# A `b.c` d\n## e — f's, g\n## e\n## e\n## [h](i.md) j_k\n"
    assert doc_pages.anchors(text) == {"a-bc-d", "e--fs-g", "e", "e-1", "h-j_k"}


def test_code_and_messages_name_pages_that_exist() -> None:
    for folder in ("edgead", "training", "export", "benchmarks", "examples", "csrc"):
        for path in (doc_pages.ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".h", ".cpp", ".cu", ".html"):
                for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                    assert (doc_pages.ROOT / name).is_file(), f"{path}: {name}"


HOUSE_WORDS = {
    r"\bwanted\b": "expected",
    r"(?<!there )\bis no (?!longer)": "is not a",
    r"\b(nobody|somebody|whoever)\b": "name who, or use the passive",
    r"\bdoors?\b": "entry point",
    r"\btwins?\b": "CPU and CUDA implementation",
    r"\btrunk\b": "backbone",
    r"\brestored\b": "reconstructed",
    r"\bpainted\b": "synthetic defect",
}
"""Words that a page does not use, and what it says instead."""


@pytest.mark.parametrize("page", ALL_PAGES)
def test_a_page_uses_the_standard_terms(page) -> None:
    text = doc_pages.prose(doc_pages.read(page))
    if page == "docs/command-line.md":
        text = text.partition("<!-- commands:begin -->")[0]  # the rest is the help of the commands
    text = re.sub(r"`[^`]*`|\([^()]*\.(py|md)\)", "", text)
    for word, better in HOUSE_WORDS.items():
        found = re.search(word, text, re.IGNORECASE)
        assert not found, f"{page}: {found[0]!r}: {better}"


@pytest.mark.parametrize("page", ALL_PAGES)
def test_a_page_installs_from_a_clone(page) -> None:
    assert not re.search(r"pip install \"?edgead", doc_pages.read(page)), "edgead is not on PyPI"


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_row_of_a_table_has_the_cells_of_its_header(page) -> None:
    rows = doc_pages.prose(doc_pages.read(page)).splitlines()
    cells = 0
    for before, line in zip(["", *rows], rows, strict=False):
        if not line.startswith("|"):
            continue
        count = len(re.findall(r"(?<!\\)\|", line)) - 1
        cells = cells if before.startswith("|") else count
        assert count == cells, f"{page}: {line}"
