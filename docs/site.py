"""What MkDocs does not know by itself to make these pages a site; mkdocs.yml names this file.

The navigation is that of README.md and notes/README.md. A link to a file outside docs/ leads to a
copy in the site, so that it works without a network: a page as a page, code as highlighted code.
Two pages are made from the code: the Python API from docstrings, the C API from the header.
"""

from __future__ import annotations

import posixpath
import re
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import edgead

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PYTHON_API, C_API = "python-api.md", "c-api.md"
COPIES = "source"
"""The folder of the site with copies of files outside docs/."""

LANGUAGES = {
    ".c": "c", ".cpp": "cpp", ".cu": "cpp", ".h": "c", ".hpp": "cpp",
    ".csv": "text", ".json": "json", ".py": "python", ".toml": "toml", ".yml": "yaml",
}  # fmt: skip
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\))")
_HEADER_SECTION = re.compile(r"^/\* ---- (.*) ---- \*/$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Read the navigation off the index pages."""
    found: list[Any] = [{"Overview": "README.md"}]
    for heading, pages in sections((DOCS / "README.md").read_text(encoding="utf-8")):
        made = [PYTHON_API, C_API] if heading == "Reference" else []
        found.append({heading: [*pages, *made]})
    (_, notes), *_ = sections((DOCS / "notes/README.md").read_text(encoding="utf-8"))
    found.append({"Notes": ["notes/README.md", *(f"notes/{page}" for page in notes)]})
    found.append({"Changes": f"{COPIES}/CHANGELOG.md"})
    config.nav = found
    return config


def sections(text: str) -> list[tuple[str, list[str]]]:
    """(heading, pages it links to) for each heading of an index page that has any."""
    found = []
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        pages = [match[2] for match in _LINK.finditer(body)]
        inside = [page for page in dict.fromkeys(pages) if page.endswith(".md") and page[0] != "."]
        inside = [page for page in inside if not page.endswith("README.md")]
        if inside:
            found.append((heading.strip(), inside))
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made from code, and copies of the files that pages link to."""
    add(files, config, PYTHON_API, python_api())
    add(files, config, C_API, c_api((ROOT / "csrc/include/edgead.h").read_text(encoding="utf-8")))
    todo = [*DOCS.rglob("*.md"), ROOT / "CHANGELOG.md"]
    seen = set(todo)
    add_copy(files, config, ROOT / "CHANGELOG.md")
    while todo:
        page = todo.pop()
        for target in outside(page):
            if target not in seen:
                seen.add(target)
                add_copy(files, config, target)
                todo += [target] if target.suffix == ".md" else []
    return files


def outside(page: Path) -> list[Path]:
    """Files outside docs/ that a page links to."""
    text = page.read_text(encoding="utf-8")
    targets = [(page.parent / match[2]).resolve() for match in _LINK.finditer(text)]
    return [path for path in targets if path.is_file() and not path.is_relative_to(DOCS)]


def add_copy(files: Files, config: MkDocsConfig, path: Path) -> None:
    """Add a file outside docs/: Markdown and code as a page, other ones as they are."""
    where = copy_of(path)
    if path.suffix == ".md":
        add(files, config, where, path.read_text(encoding="utf-8"))
    elif path.suffix in LANGUAGES:
        add(files, config, where, code_page(path))
    else:
        files.append(File.generated(config, where, abs_src_path=str(path)))


def add(files: Files, config: MkDocsConfig, where: str, content: str) -> None:
    """Add a page that is not in docs/."""
    files.append(File.generated(config, where, content=content))


def copy_of(path: Path) -> str:
    """Where in the site a file outside docs/ is."""
    name = path.relative_to(ROOT).as_posix()
    return f"{COPIES}/{name}.md" if path.suffix in LANGUAGES else f"{COPIES}/{name}"


def code_page(path: Path) -> str:
    """A page that shows a file as it is."""
    language = LANGUAGES[path.suffix]
    text = path.read_text(encoding="utf-8").rstrip("\n")
    heading = "---\nsearch: {exclude: true}\n---\n# " + path.relative_to(ROOT).as_posix()
    return f"{heading}\n\n``````{language}\n{text}\n``````\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside docs/ lead to their copies."""
    origin = page.file.src_uri
    is_copy = origin.startswith(f"{COPIES}/")
    base = ROOT / origin.removeprefix(f"{COPIES}/") if is_copy else DOCS / origin

    def moved(match: re.Match[str]) -> str:
        target = (base.parent / match[2]).resolve()
        if not target.is_file():  # an address
            return match[0]
        inside = target.is_relative_to(DOCS)
        uri = target.relative_to(DOCS).as_posix() if inside else copy_of(target)
        return match[1] + posixpath.relpath(uri, posixpath.dirname(origin) or ".") + match[3]

    if origin in (PYTHON_API, C_API):
        return markdown
    return _LINK.sub(moved, markdown)


def python_api() -> str:
    """A page with all public names, by mkdocstrings."""
    names = [name for name in edgead.__all__ if not name.startswith("_")]
    names.sort(key=lambda name: name.endswith("Error"))  # at the end
    lines = ["# Python API", "", "`import edgead`; with examples: [Detector API](detector.md).", ""]
    return "\n".join([*lines, *(f"::: edgead.{name}" for name in names), ""])


def c_api(header: str) -> str:
    """The header as a page: its opening comment as text, its sections as code."""
    parts = _HEADER_SECTION.split(header)
    opening, rest = parts[0], parts[1:]
    manual = re.sub(r"^ ?(/\*|\*) ?", "", opening[: opening.index("*/")], flags=re.MULTILINE)
    text = ["# C API", "", "The header `edgead.h` of libedgead. How to use it: [c.md](c.md).", ""]
    text += [*_prose(manual.strip()), ""]
    for heading, body in zip(rest[::2], rest[1::2], strict=True):
        text += [f"## {heading}", "", "``````c", body.strip(), "``````", ""]
    return "\n".join(text)


def _prose(comment: str) -> list[str]:
    """A comment as Markdown: indented lines are code, "Word: …" begins a paragraph."""
    found: list[str] = []
    for is_code, parts in groupby(comment.split("\n\n"), lambda part: part.startswith("  ")):
        text = "\n\n".join(parts)
        if is_code:
            found += ["``````c", dedent(text), "``````", ""]
        else:
            escaped = re.sub(r"([_*<>])", r"\\\1", text)
            found += [re.sub(r"\n(?=[A-Z][a-z]+: )", "\n\n", escaped), ""]
    return found
