"""The sinks of a line.toml, each behind an outlet that stays when the sink is replaced."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from edgead.live.line_file import LineFile, SinkTable
from edgead.records.lines import Line

MOST_HELD = 10_000
"""Lines that wait while a sink is replaced; more can only come when it does not open again."""
Fresh = dict[str, tuple[SinkTable, Any]]


class Outlet:
    """Passes lines on to a sink, and keeps them while it is replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sink: Any = None
        self._held: deque[Line] = deque(maxlen=MOST_HELD)

    def send(self, record: Line) -> None:
        """Take a line."""
        with self._lock:
            if self._sink is None:
                self._held.append(record)
            else:
                self._sink.send(record)

    def use(self, sink: Any) -> None:
        """Pass on to ``sink`` from now on, first what was kept; None: keep."""
        with self._lock:
            self._sink = sink
            while sink is not None and self._held:
                sink.send(self._held.popleft())


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

    def of(self, names: Iterable[str]) -> list[Outlet]:
        """The outlets of the sinks that a camera names."""
        return [self._outlets.setdefault(name, Outlet()) for name in names]

    def close(self) -> None:
        """Close all sinks; what waits for delivery stays in their spools."""
        for name, (_, sink) in self.sinks.items():
            self._outlets[name].use(None)
            sink.close()
        self.sinks.clear()


def load_sink(file: LineFile, table: SinkTable) -> Any:
    """The sink of a table; nothing is opened yet.

    Raises:
        EdgeadError: a setting is wrong, or a package is missing; with its line.
    """
    interface = import_module("edgead.live.sinks.interface")  # loaded when there is one
    return file.within(("sink", table.name), lambda: interface.load(table.name, table.settings))
