"""The hours in which a camera is watched: ``mon-fri 06:00-22:00``, by the system's local time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from edgead.errors import InputError, shortened

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOOK_S = 1.0
"""How often a camera that sleeps looks at the clock, which may be set meanwhile."""
MINUTES = 24 * 60
_SPAN = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? +)?"
    r"(?P<begin>[0-9]{2}:[0-9]{2})-(?P<end>[0-9]{2}:[0-9]{2})"
)


class _Stop(Protocol):
    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


class Span(NamedTuple):
    """Minutes of a day, on some days of the week (0: Monday); one that ends before it begins ends
    on the next day."""

    days: frozenset[int]
    begin: int
    end: int

    def holds(self, moment: datetime) -> bool:
        """Whether ``moment`` is in it."""
        minute, day = 60 * moment.hour + moment.minute, moment.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        late = day in self.days and minute >= self.begin
        return late or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True)
class Schedule:
    """When to watch: in any of the ``spans``; always, without one."""

    spans: tuple[Span, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now()

    @property
    def is_open(self) -> bool:
        """Whether to watch at this moment."""
        if not self.spans:
            return True
        moment = self.now()
        return any(span.holds(moment) for span in self.spans)

    def wait(self, stop: _Stop, say: Callable[..., Any] = lambda *said: None) -> bool:
        """Wait until it is open; whether to stop."""
        if not self.is_open and not stop.is_set():
            say("sleep", f"outside of its schedule until {self._opens():%a %H:%M}")
            while not stop.wait(LOOK_S):
                if self.is_open:
                    return False
        return stop.is_set()

    def _opens(self) -> datetime:
        moment = self.now().replace(second=0, microsecond=0)
        for _ in range(7 * MINUTES):
            moment += timedelta(minutes=1)
            if any(span.holds(moment) for span in self.spans):
                break
        return moment


ALWAYS = Schedule()


@dataclass(frozen=True)
class Until:
    """Tells a Reader to stop when ``stop`` does, and outside of the ``schedule``."""

    stop: _Stop
    schedule: Schedule

    def is_set(self) -> bool:
        """Whether to stop."""
        return self.stop.is_set() or not self.schedule.is_open

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether to stop."""
        return self.stop.wait(timeout) or self.is_set()


def parse_schedule(texts: Sequence[str]) -> Schedule:
    """The schedule of ``["mon-fri 06:00-22:00", "sat 08:00-12:00"]``; a day is 00:00-24:00.

    Raises:
        InputError: one of ``texts`` is not such a span.
    """
    return Schedule(tuple(map(_span, texts)))


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text.lower())
    span = match and _in_numbers(match)
    if span is None:
        raise InputError(
            f"schedule {shortened(text, 60)!r}: expected days and hours as mon-fri 06:00-22:00, "
            "sat 08:00-12:00, or hours alone for every day"
        )
    return span


def _in_numbers(match: re.Match[str]) -> Span | None:
    first, last = match["first"] or "mon", match["last"] or match["first"] or "sun"
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in (match["begin"], match["end"]))
    minutes = all(int(match[part][3:]) < 60 for part in ("begin", "end"))
    if not {first, last} <= set(DAYS) or not minutes or begin >= MINUTES or end > MINUTES:
        return None
    if begin == end:
        return None
    number = DAYS.index(first)
    days = {(number + n) % 7 for n in range((DAYS.index(last) - number) % 7 + 1)}
    return Span(frozenset(days), begin, end)
