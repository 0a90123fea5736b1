"""The documentation as data: pages, their fenced blocks, commands, inline code, links, anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(.*)$")


@dataclass
class Block:
    """One fenced block; ``line`` is that of the fence, counted from 1."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass
class Command:
    """One command of a block, and the output that the page shows below it."""

    place: str
    text: str
    shown: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The words of the shell, up to a redirection or the next command."""
        words = shlex.split(self.text, comments=True)
        ends = [words.index(mark) for mark in (">", "||", "&&", "|") if mark in words]
        return words[: min(ends, default=len(words))]

    @property
    def file(self) -> str | None:
        """Where stdout is redirected to."""
        words = shlex.split(self.text, comments=True)
        return words[words.index(">") + 1] if ">" in words else None


def user_pages() -> list[str]:
    """README.md and the pages of docs/ that teach a user, as paths from the root."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "notes" not in path.parts]
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in pages)]


def all_pages() -> list[str]:
    """Every Markdown file that has links to check."""
    notes = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs/notes").glob("*.md"))
    return [*user_pages(), *notes, "CONTRIBUTING.md", "csrc/README.md", "benchmarks/README.md"]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def has_target(name: str) -> bool:
    """Whether the Makefile has it."""
    return bool(
        re.search(rf"(?m)^[\w -]*(?<![\w-]){re.escape(name)}(?![\w-])[\w -]*:", read("Makefile"))
    )


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order. Errors: ValueError for one that does not end."""
    found: list[Block] = []
    inside: Block | None = None
    for number, line in enumerate((read(page) if text is None else text).splitlines(), 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            inside = Block(page, number, fence[1].strip(), "")
        elif inside is not None and fence:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.text += line + "\n"
    if inside is not None:
        raise ValueError(f"{inside.place}: the block does not end")
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a block: each line of ``sh``, each line with ``$ `` of ``console``."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        place = f"{block.page}:{number}"
        if block.kind == "console" and line.startswith("$ "):
            found.append(Command(place, line[2:]))
        elif block.kind == "console":
            found[-1].shown.append(line)
        elif line.strip() and not line.startswith("#"):
            found.append(Command(place, line))
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def inline_code(page: str) -> Iterator[str]:
    """What stands between single backticks, over line ends too."""
    for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose(read(page))):
        yield re.sub(r"\s+", " ", found[1])


def links(page: str) -> Iterator[str]:
    """The targets of links and pictures."""
    for found in re.finditer(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "", prose(read(page)))):
        yield found[1]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"(?m)^#{1,6} (.+)$", prose(text)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        again = found.get(name, 0)
        found[name] = again + 1
        names.add(f"{name}-{again}" if again else name)
    return names
