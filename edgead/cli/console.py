"""What commands print: people read a table, programs read JSON on stdout."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from edgead.errors import printable
from edgead.records.lines import to_json

_STYLES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_PAINT = re.compile(r"\0(\[\d+m)")
"""How a colour is marked in a text until it is said: no file name contains a zero byte."""


class Console:
    """Where a command talks to people: stdout, or stderr when stdout belongs to ``--json``."""

    def __init__(self, *, json_on_stdout: bool = False) -> None:
        self.stream: TextIO = sys.stderr if json_on_stdout else sys.stdout
        self._coloured = (
            self.stream.isatty()
            and "NO_COLOR" not in os.environ  # https://no-color.org
            and os.environ.get("TERM") != "dumb"
        )

    def say(self, text: str = "") -> None:
        """One line for people, there at once even when the stream is a pipe.

        It is one line whatever names it holds: see ``printable``.
        """
        pieces = _PAINT.split(text) if self._coloured else [text]
        pieces[::2] = map(printable, pieces[::2])
        pieces[1::2] = [f"\x1b{code}" for code in pieces[1::2]]
        print("".join(pieces), file=self.stream, flush=True)

    def paint(self, text: str, style: str) -> str:
        """``text`` for ``say``, in ``red green yellow bold dim``; plain without colours."""
        return f"\0[{_STYLES[style]}m{text}\0[0m" if self._coloured else text

    def warn(self, text: str) -> None:
        """A line on what is doubtful and does not stop the command."""
        self.say(self.paint(f"warning: {text}", "yellow"))

    def next(self, command: str) -> None:
        """The last line of every command: what to type next."""
        self.say(f"next   {self.paint(command, 'bold')}")


def complain(sentence: object) -> None:
    """What is wrong, on stderr: one line that begins with ``edgead:``."""
    print(f"edgead: {printable(sentence)}", file=sys.stderr, flush=True)


def print_json(value: Any, indent: int | None = 2) -> None:
    """A JSON object of a ``--json`` run; one line of several when ``indent`` is None.

    It is ASCII, so that no stream lacks a character of it; see ``to_json``.

    Raises:
        ValueError: NaN and infinity are not JSON.
    """
    print(to_json(value, indent).decode(), flush=True)


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows of equal length as aligned lines; ``right`` names the columns that end flush right."""
    rows = [[printable(cell) for cell in row] for row in rows]  # before their width is taken
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [">" if column in right else "<" for column in range(len(widths))]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return [form.format(*row).rstrip() for row in rows]


def count(number: int, noun: str) -> str:
    """``1 image``, ``3 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(rate: float) -> str:
    """A rate as people write it: ``5 %``, ``0.21 %``."""
    return f"{100 * rate:.3g} %"


def progress_line(verb: str) -> Callable[[int, int], None]:
    """Progress on stderr: one line that is redrawn on a terminal, else a line per quarter.

    Returns: a function to call with (done, total) after each of the things that `verb` is done to.
    """
    terminal, verb = sys.stderr.isatty(), printable(verb)
    started = last = time.monotonic()
    before = 0

    def show(done: int, total: int) -> None:
        nonlocal last, before
        now = time.monotonic()
        if terminal and (done == total or now - last > 0.1):
            last = now
            left = (now - started) / done * (total - done)
            end = "\n" if done == total else ""
            print(f"\r{verb} {done}/{total}, {left:.0f} s left ", end=end, file=sys.stderr)
        elif not terminal and (done * 4 // total) > (before * 4 // total):
            print(f"{verb} {done}/{total}", file=sys.stderr)
        before = done

    return show
