"""The log of a watch: rare events at once, frequent ones once and then as a count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgead.errors import printable

PERIOD_S = 60.0
MOST_KINDS = 100
"""Kinds of trouble that are told apart; a source could make up any number of them."""


class Say(Protocol):
    """Takes what belongs in the log; ``kind`` for what may come again and again."""

    def __call__(self, word: str, text: str, kind: str = "") -> None: ...


@dataclass
class _Kind:
    since_s: float
    count: int = 0
    latest: str = ""


class Log:
    """Writes a line for each thing that is said; of a ``kind`` the first, then a count a minute.

    A kind that did not come for a minute is over: the next one is a first again.

    Args:
        write: gets the lines; one that cannot be written is lost.
        clock: seconds, which never jump.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def say(self, word: str, text: str, kind: str = "") -> None:
        """Say it now, or count it."""
        with self._lock:
            self._count_out(PERIOD_S)
            key = word, kind
            if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
                key = word, "all others"
            if not kind:
                self._line(word, text)
            elif known := self._kinds.get(key):
                known.count, known.latest = known.count + 1, text
            else:
                self._kinds[key] = _Kind(self._clock())
                self._line(word, text)

    def tick(self) -> None:
        """Say what was counted for a minute; to be called now and then."""
        with self._lock:
            self._count_out(PERIOD_S)

    def close(self) -> None:
        """Say what was counted and not said yet."""
        with self._lock:
            self._count_out(0.0)

    def _count_out(self, period_s: float) -> None:
        now_s = self._clock()
        for key, kind in list(self._kinds.items()):
            passed_s = now_s - kind.since_s
            if passed_s < period_s:
                continue
            if kind.count:
                self._line(
                    key[0], f"{kind.count} more in {passed_s:.0f} s, the latest: {kind.latest}"
                )
                self._kinds[key] = _Kind(now_s)
            else:
                del self._kinds[key]

    def _line(self, word: str, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads the log: verdicts go on
            self._write(f"{word:<7}{printable(text)}")
