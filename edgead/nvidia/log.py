"""What TensorRT says while it works: kept as clean lines, and never an exception in its face."""

from __future__ import annotations

import threading
from typing import Any

from edgead.nvidia.api import TensorRT

LONGEST_LINE = 1000  # characters; TensorRT prints whole fused graphs in one line
MOST_LINES = 20_000

_ERRORS = ("INTERNAL_ERROR", "ERROR")


class BuildLog:
    """The lines of one build or load, from any thread.

    ``verbose``: keep the lines of the lowest level too.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._lock = threading.Lock()

    def add(self, severity: str, text: str) -> None:
        """Keep ``text``, cleaned, under a severity of TensorRT's ("ERROR", "INFO", …)."""
        if severity == "VERBOSE" and not self.verbose:
            return
        line = clean(text)
        with self._lock:
            if len(self._lines) < MOST_LINES:
                self._lines.append(f"[{severity}] {line}")
            if severity in _ERRORS:
                self._errors.append(line)

    @property
    def errors(self) -> list[str]:
        """The lines that were errors, oldest first."""
        with self._lock:
            return list(self._errors)

    def text(self) -> str:
        """All lines, each ended by a newline."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines)


def clean(text: str) -> str:
    """One printable line: TensorRT's messages may hold newlines, raw bytes and terminal codes."""
    one_line = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)
    if len(printable) > LONGEST_LINE:
        return printable[: LONGEST_LINE - 1] + "…"
    return printable


def make_logger(module: TensorRT, log: BuildLog) -> Any:
    """An ILogger of ``module`` that writes into ``log``; must outlive whatever it is given to."""
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]  # a class of whichever library there is
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            # Called from C++: an exception here would pass through code that expects none.
            try:
                log.add(str(getattr(severity, "name", severity)), msg)
            except Exception:
                log.add("WARNING", "a line of TensorRT's log could not be kept")

    return Logger()
