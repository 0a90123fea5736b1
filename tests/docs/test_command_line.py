"""docs/command-line.md is what the parsers say."""

from __future__ import annotations

import argparse
import importlib.util

import doc_pages
import pytest

from edgead.cli.main import COMMANDS


@pytest.fixture(scope="module")
def generate():
    """The script docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", doc_pages.ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generate) -> None:
    page = doc_pages.read("docs/command-line.md")
    assert generate.page(page) == page, "make docs generates it"


def test_the_page_has_every_command() -> None:
    headings = doc_pages.anchors(doc_pages.read("docs/command-line.md"))
    assert {f"edgead-{name}" for name in COMMANDS} | {"edgead-bench"} <= headings


def test_an_argument_becomes_a_row_that_markdown_does_not_change(generate) -> None:
    text = "a|b, see docs/data.md"
    parser = argparse.ArgumentParser(prog="edgead toy", description="edgead toy: Do <it>.")
    parser.add_argument("--pair", nargs=2, metavar=("A", "B"), required=True, help=text)
    parser.add_argument("files", nargs="+", metavar="FILE", help="some (default: %(default)s)")
    text = "\n".join(generate._section(parser, "edgead toy x      two words"))
    assert "## edgead toy\n\nDo \\<it\\>.\n" in text
    assert "edgead toy --pair A B FILE…\n" in text
    assert "| `--pair A B` | a\\|b, see [data.md](data.md) (required) |" in text
    assert "| `FILE` | some (default: None) |" in text
    assert "```sh\nedgead toy x  # two words\n```" in text
