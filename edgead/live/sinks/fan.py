"""The fan: hands the records of all cameras to their sinks, and says how the sinks fare."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.live.log import Say
from edgead.live.sinks.interface import Sink, SinkState, load
from edgead.records.lines import Line


class Fan:
    """All sinks of a process.

    Args:
        tables: the tables ``[sink.NAME]`` by their names.
        say: told when a receiver is lost, is back, or records were given up.
        folder: from which paths in the tables count.

    Raises:
        SettingsError: a table is wrong.
        MissingExtraError: the packages of a kind are not installed.
    """

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], say: Say, folder: Path = Path()
    ) -> None:
        self.sinks: dict[str, Sink] = {
            name: load(name, table, folder) for name, table in tables.items()
        }
        self._say = say
        self._whys: dict[str, str | None] = dict.fromkeys(self.sinks)
        self._dropped = dict.fromkeys(self.sinks, 0)

    def open(self) -> None:
        """Begin with every sink, or with none.

        Raises:
            EdgeadError: of the first sink that cannot begin; the others are closed again.
        """
        begun: list[Sink] = []
        try:
            for sink in self.sinks.values():
                sink.open()
                begun.append(sink)
        except BaseException:
            for sink in begun:
                sink.close()
            raise

    def outlet(self, camera: str, names: Sequence[str] | None = None) -> Outlet:
        """What takes the records of ``camera`` for the sinks of these names; None for all."""
        chosen = self.sinks if names is None else names
        return Outlet(camera, [self.sinks[name] for name in chosen])

    def tick(self) -> None:
        """Say what changed since the last call; to be called now and then."""
        for name, state in self.states().items():
            if state.why != self._whys[name]:
                if state.why is not None:
                    self._say("lost", f"sink {name}: {state.why}", f"sink {name}")
                else:
                    self._say("back", f"sink {name}; {state.queued} records wait", f"sink {name}")
                self._whys[name] = state.why
            if (more := state.dropped - self._dropped[name]) > 0:
                text = f"sink {name}: {more} records were given up: too many wait"
                self._say("failed", text, f"sink {name}")
                self._dropped[name] = state.dropped

    def states(self) -> dict[str, SinkState]:
        """How each sink fares, by name."""
        return {name: sink.state() for name, sink in self.sinks.items()}

    def close(self) -> None:
        """End all sinks, at the same time: each may take a moment."""
        threads = [threading.Thread(target=sink.close) for sink in self.sinks.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@dataclass(eq=False)
class Outlet:
    """The sinks of one camera: they get its records, and its health when that changes."""

    camera: str
    sinks: Sequence[Sink]

    def __post_init__(self) -> None:
        self._health: list[str] | None = None
        self._guard = threading.Lock()  # a lost signal is told by another thread

    def send(self, record: Line) -> None:
        """Hand on a record: a line with ``id`` and ``camera``.

        To be called before the line is printed: what was printed is then delivered, even after
        ``kill -9``.
        """
        for sink in self.sinks:
            sink.send(record)
        health = [*record.get("health", ()), *filter(None, [record.get("drift")])]
        if "error" in record:
            health.append(record["error"])
        self._report(health)

    def lost(self, why: str) -> None:
        """Tell that the camera gives no more frames; the next record tells that it is back."""
        self._report([why])

    def _report(self, health: list[str]) -> None:
        with self._guard:
            if health == self._health:
                return
            self._health = health
            for sink in self.sinks:
                sink.report(self.camera, health)
