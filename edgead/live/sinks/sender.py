"""A sink that delivers from a spool, in a thread of its own, until the receiver confirms."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgead.errors import EdgeadError
from edgead.files import in_words
from edgead.live.sinks.interface import SinkState
from edgead.live.sinks.spool import Spool
from edgead.live.sinks.table import Table
from edgead.live.source import Moment
from edgead.records.lines import Line, to_json

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
"""Between two tries to reach a receiver that is away; doubled each time."""
SETTLE_S = 5.0
"""How often what waits is flushed to the disk's surface."""
LINGER_S = 2.0
"""How long ``close`` waits for what can still be delivered."""
LEAVE_S = 3.0
"""How long it waits then for a receiver that does not answer, and may have minutes to do so."""
LOOK_S = 0.5
SPOOL_MB, MOST_SPOOL_MB = 100.0, 1e6


class SpoolSettings(NamedTuple):
    """Where records wait, and how many megabytes of them."""

    folder: Path
    limit_mb: float

    @classmethod
    def read(cls, table: Table) -> SpoolSettings:
        """The keys ``spool`` and ``spool_mb``."""
        return cls(table.path("spool"), table.number("spool_mb", SPOOL_MB, 1, MOST_SPOOL_MB))


class Sender(ABC):
    """Spools what it is sent and delivers it in order, each record until it is confirmed.

    Args:
        name: of the sink.
        spool: where records wait.
    """

    def __init__(self, name: str, spool: SpoolSettings) -> None:
        self._name, self._settings = name, spool
        self._spool: Spool | None = None
        self._news = threading.Event()  # something to do: a record, a confirmation, the end
        self._closing = threading.Event()
        self._reached, self._delivered = False, 0
        self._why: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)

    @abstractmethod
    def connect(self) -> str | None:
        """Reach the receiver, for as long as it takes; None, or why not."""

    @abstractmethod
    def deliver(self) -> str | None:
        """Send what waits and take confirmations; None, or why the connection is over."""

    @abstractmethod
    def disconnect(self) -> None:
        """Let go of the receiver, whether or not it was reached."""

    def open(self) -> None:
        """Begin; see ``Sink``."""
        self._spool = Spool(*self._settings, self._name)
        self._thread.start()

    def send(self, record: Line) -> None:
        """Take a record; see ``Sink``."""
        if self._spool is not None:
            self._spool.put(record["camera"], to_json(record))
            self._news.set()

    @abstractmethod
    def report(self, camera: str, health: Sequence[str]) -> None:
        """Take the health of a camera; see ``Sink``."""

    def state(self) -> SinkState:
        """How it fares; see ``Sink``."""
        spool = self._spool
        if spool is None:
            return SinkState(False, self._why)
        why = self._why or spool.trouble or None
        return SinkState(self._reached, why, spool.queued, spool.dropped, self._delivered)

    def close(self) -> None:
        """Deliver for a moment what waits, then end; see ``Sink``."""
        if self._spool is None or self._closing.is_set():
            return
        give_up_s = Moment.now().monotonic_s + LINGER_S
        while self._reached and self._spool.queued and Moment.now().monotonic_s < give_up_s:
            self._news.set()
            self._closing.wait(0.01)
        self._closing.set()
        self._news.set()
        self._thread.join(LEAVE_S)
        self._spool.close()  # what is still on its way was not confirmed, and goes again

    @property
    def spool(self) -> Spool:
        """What waits; for the sender's own thread."""
        assert self._spool is not None
        return self._spool

    def confirmed(self, numbers: Sequence[int]) -> None:
        """These were delivered."""
        self.spool.done(numbers)
        self._delivered += len(numbers)

    def _run(self) -> None:
        delay_s = FIRST_DELAY_S
        while not self._closing.is_set():
            why, worked = self._attempt(self.connect), False
            if why is None:
                self.spool.rewind()  # what was on its way when the connection broke goes again
                why, worked = self._work()
            self._attempt(self.disconnect)
            if why is not None:
                self._why, self._reached = why, False
                delay_s = FIRST_DELAY_S if worked else delay_s
                self._settle_while(delay_s)
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _work(self) -> tuple[str | None, bool]:
        """Deliver until the connection is over or the sink closes: why, and whether it ever did."""
        settled_s, worked, before = Moment.now().monotonic_s, False, self._delivered
        while not self._closing.is_set():
            self._news.clear()
            if (why := self._attempt(self.deliver)) is not None:
                return why, worked
            self._why, self._reached = None, True
            worked |= self._delivered > before or not self.spool.queued
            self._news.wait(LOOK_S)
            if Moment.now().monotonic_s - settled_s > SETTLE_S:
                self.spool.settle()
                settled_s = Moment.now().monotonic_s
        return None, worked

    def _settle_while(self, delay_s: float) -> None:
        give_up_s = Moment.now().monotonic_s + delay_s
        while not self._closing.is_set():
            self.spool.settle()
            left_s = give_up_s - Moment.now().monotonic_s
            if left_s <= 0:
                return
            self._closing.wait(min(left_s, SETTLE_S))

    @staticmethod
    def _attempt(step: object) -> str | None:
        """What a step says is wrong; an error is a reason too, whatever a library raises."""
        try:
            said = step()  # type: ignore[operator]
            return said if isinstance(said, str) else None
        except EdgeadError as error:
            return str(error)
        except Exception as error:
            return in_words(error)
