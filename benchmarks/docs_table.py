"""Generated parts of the documentation: text between markers, numbers as they stand in tables.

<!-- NAME:begin --> … <!-- NAME:end -->
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from edgead.errors import InputError
from edgead.files import write_file

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTES = DOCS / "notes"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every row as long as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def mean_and_spread(values: Sequence[float | None]) -> str:
    """``0.912 ± 0.004``: mean and standard deviation of the sample (n - 1) over the seeds."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "no masks"
    text = f"{statistics.mean(numbers):.3f}"
    return text if len(numbers) == 1 else f"{text} ± {statistics.stdev(numbers):.3f}"


def section(page: str, name: str) -> tuple[str, str, str]:
    """``page`` before, between and after the markers.

    Raises: InputError unless each marker is there once, the first before the second.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise InputError(f"the page has no place for a table: {begin.strip()} and {end} in lines")
    before, rest = page.split(begin)
    between, after = rest.split(end)
    return before + begin, between, end + after


def write_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers of the page ``path``."""
    before, _, after = section(path.read_text(encoding="utf-8"), name)
    write_file(path, (before + text + after).encode())
