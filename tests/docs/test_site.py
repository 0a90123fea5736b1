"""The site is whole: every link leads somewhere, and nothing is loaded from another server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import doc_pages
import pytest

import edgead

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


class Read(HTMLParser):
    """What a page loads, what it links to, and the names that links may lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.names |= {found[key] for key in ("id", "name") if key in found}
        if tag in LOADED and LOADED[tag] in found:
            self.loads.append(found[LOADED[tag]])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])
        elif tag == "a" and "href" in found:
            self.links.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(doc_pages.ROOT / "docs/build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(folder / "edgead-docs.zip") as packed:
        assert "index.html" in packed.namelist()
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Read]:
    return {path: Read(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_links_lead_to_pages_and_places_in_them(pages) -> None:
    count = 0
    for page, read in pages.items():
        for link in read.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].names, f"{page}: {link}"
            count += 1
    assert count > 1000


def test_nothing_is_loaded_from_another_server(site, pages) -> None:
    for page, read in pages.items():
        assert read.loads
        for name in read.loads:
            assert not urlsplit(name).netloc, f"{page}: {name}"
            assert (page.parent / urlsplit(name).path).resolve().is_file(), f"{page}: {name}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_every_page_of_the_docs_is_a_page_of_the_site(site) -> None:
    for page in (doc_pages.ROOT / "docs").rglob("*.md"):
        name = page.relative_to(doc_pages.ROOT / "docs").with_suffix(".html")
        made = site / (name.with_name("index.html") if name.stem == "README" else name)
        assert made.is_file(), name


def test_the_python_api_has_every_public_name(site, pages) -> None:
    names = pages[site / "python-api.html"].names
    missing = [n for n in edgead.__all__ if n[0] != "_" and not {f"edgead.{n}"} & names]
    assert not missing
    assert "edgead.Detector.score" in names


def test_the_c_api_has_every_function(site) -> None:
    header = (doc_pages.ROOT / "csrc/include/edgead.h").read_text(encoding="utf-8")
    functions = set(re.findall(r"\b(edgead_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
    assert len(functions) > 20
    text = re.sub(r"<[^>]+>", "", (site / "c-api.html").read_text(encoding="utf-8"))
    assert not {name for name in functions if name not in text}


def test_search_works_in_pages_opened_as_files(site) -> None:
    """Without the frame that stands in for a Worker there, the box to search in does not appear."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    address = (site / "index.html").as_uri() + "?q=threshold"
    command = [chromium, "--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run(
        [*command, address], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"(\d+) matching documents", shown.stdout)
    assert found and int(found[1]) > 5
    assert "scores.html" in shown.stdout.split("md-search-result__list")[1]
