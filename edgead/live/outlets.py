"""The sinks of a line.toml, each behind an outlet that stays when the sink is replaced."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from edgead.live.line_file import LineFile, SinkTable
from edgead.live.log import Say
from edgead.live.sinks.interface import Sink, SinkState, load
from edgead.records.lines import Line

MOST_HELD = 10_000
"""Lines that wait while a sink is replaced; more can only come when it does not open again."""
Fresh = dict[str, tuple[SinkTable, Sink]]


class Outlet:
    """Passes lines on to a sink, and the health of the cameras when that changes.

    Lines are kept while the sink is replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sink: Sink | None = None
        self._held: deque[Line] = deque(maxlen=MOST_HELD)
        self._health: dict[str, list[str]] = {}  # of each camera, the latest
        self._why: str | None = None
        self._dropped = 0

    def send(self, record: Line) -> None:
        """Take a line."""
        health = [*record.get("health", ()), *filter(None, [record.get("drift")])]
        if "error" in record:
            health.append(record["error"])
        with self._lock:
            if self._sink is None:
                self._held.append(record)
            else:
                self._sink.send(record)
            self._report(record["camera"], health)

    def lost(self, camera: str, why: str | None) -> None:
        """Take that a camera gives no frames, or with None that it does again."""
        with self._lock:
            self._report(camera, [why] if why is not None else [])

    def use(self, sink: Sink | None) -> None:
        """Pass on to ``sink`` from now on, first what was kept; None: keep."""
        with self._lock:
            self._sink, self._why, self._dropped = sink, None, 0
            if sink is not None:
                for camera, health in self._health.items():
                    sink.report(camera, health)
                while self._held:
                    sink.send(self._held.popleft())

    def tick(self, name: str, say: Say) -> None:
        """Say what changed since the last call: a receiver lost or back, lines given up."""
        with self._lock:
            state = self._sink.state() if self._sink is not None else None
        if state is None:
            return
        if state.why is not None and state.why != self._why:
            say("lost", f"sink {name}: {state.why}", f"sink {name}")
        elif state.why is None and self._why is not None:
            say("back", f"sink {name}; {state.queued} lines wait", f"sink {name}")
        self._why = state.why
        if (more := state.dropped - self._dropped) > 0:
            text = f"sink {name}: {more} lines were given up: too many wait"
            say("failed", text, f"sink {name} full")
            self._dropped = state.dropped

    def _report(self, camera: str, health: list[str]) -> None:
        if health != self._health.get(camera):
            self._health[camera] = health
            if self._sink is not None:
                self._sink.report(camera, health)


class Outlets:
    """Opens, replaces and closes the sinks of a line.toml."""

    def __init__(self) -> None:
        self.sinks: Fresh = {}
        self._outlets: dict[str, Outlet] = {}

    def fresh(self, file: LineFile) -> Fresh:
        """The sinks of ``file`` that are not open with the same settings; nothing is opened.

        Raises:
            EdgeadError: a setting is wrong, or a package is missing.
        """
        found: Fresh = {}
        for table in file.sinks:
            if table.name not in self.sinks or self.sinks[table.name][0] != table:
                found[table.name] = (table, load_sink(file, table))
        return found

    def take(self, file: LineFile, fresh: Fresh) -> None:
        """Close what ``file`` no longer names, then open what is ``fresh`` in its place.

        Raises:
            EdgeadError: one that cannot be opened; the others are.
        """
        named = {table.name for table in file.sinks}
        for name in [name for name in self.sinks if name in fresh or name not in named]:
            self._outlets[name].use(None)  # lines wait: the next one may need its port or spool
            self.sinks.pop(name)[1].close()
        for name in [name for name in self._outlets if name not in named]:
            del self._outlets[name]
        failure: Exception | None = None
        for name, (table, sink) in fresh.items():
            outlet = self._outlets.setdefault(name, Outlet())
            try:
                file.within(("sink", name), sink.open)
            except Exception as error:
                failure = error
                continue
            self.sinks[name] = (table, sink)
            outlet.use(sink)
        if failure is not None:
            raise failure

    def tick(self, say: Say) -> None:
        """Say how the sinks fare, where that changed; to be called now and then."""
        for name, outlet in list(self._outlets.items()):
            outlet.tick(name, say)

    def states(self) -> dict[str, SinkState]:
        """How each sink fares, by name."""
        return {name: sink.state() for name, (_, sink) in list(self.sinks.items())}

    def of(self, names: Iterable[str]) -> list[Outlet]:
        """The outlets of the sinks that a camera names."""
        return [self._outlets.setdefault(name, Outlet()) for name in names]

    def close(self) -> None:
        """Close all sinks, at the same time; what waits for delivery stays in their spools."""
        threads = []
        for name, (_, sink) in self.sinks.items():
            self._outlets[name].use(None)
            threads.append(threading.Thread(target=sink.close))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self.sinks.clear()


def load_sink(file: LineFile, table: SinkTable) -> Sink:
    """The sink of a table; nothing is opened yet.

    Raises:
        EdgeadError: a setting is wrong, or a package is missing; with its line.
    """
    folder = file.path.parent  # paths count from there
    return file.within(("sink", table.name), lambda: load(table.name, table.settings, folder))
