"""What every sink is, and how the one of a kind is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgead.errors import MissingExtraError
from edgead.installation import cure, extra_of
from edgead.live import plugins
from edgead.live.sinks.table import SettingsError, nearest
from edgead.records.lines import Line

GROUP = "edgead.sinks"
"""Entry points of this group, in any installed package, are further kinds of sinks."""
KINDS = {
    "jsonl": "edgead.live.sinks.jsonl:JSONLinesSink",
    "modbus": "edgead.live.sinks.modbus:ModbusSink",
    "mqtt": "edgead.live.sinks.mqtt:MQTTSink",
    "opcua": "edgead.live.sinks.opcua:OPCUASink",
    "webhook": "edgead.live.sinks.webhook:WebhookSink",
}


@dataclass(frozen=True)
class SinkState:
    """How a sink fares.

    Args:
        reachable: whether the receiver can be reached, as far as is known now.
        why: what is wrong, with the cure; None when all is well.
        queued: records that wait to be delivered.
        dropped: records that were given up since the start, because too many waited.
        delivered: records that the receiver confirmed since the start; a server counts what it
            offered.
    """

    reachable: bool
    why: str | None
    queued: int = 0
    dropped: int = 0
    delivered: int = 0


class Sink(Protocol):
    """Takes the records of all cameras; everything else happens in threads of its own."""

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any], folder: Path) -> Sink:
        """The sink of the table ``[sink.NAME]``; opens and connects nothing.

        Args:
            name: of the table, for messages.
            settings: what the table holds, without ``kind``.
            folder: from which paths in it count.

        Raises:
            SettingsError: a key that is missing, unknown or wrong; ``key`` names it.
        """

    def check(self) -> str | None:
        """Whether the receiver can be reached: None, or why not. Leaves nothing behind."""

    def open(self) -> None:
        """Begin; a receiver that is away is no error, the sink tries again.

        Raises:
            EdgeadError: what will not cure itself: a port or spool in use, an unreadable file.
        """

    def send(self, record: Line) -> None:
        """Take a record; returns at once, never raises, whatever the receiver or disk does."""

    def report(self, camera: str, health: Sequence[str]) -> None:
        """Take what is wrong with ``camera`` from now on, as sentences; none when all is well."""

    def state(self) -> SinkState:
        """How it fares; may be asked from any thread."""

    def close(self) -> None:
        """Deliver for a moment what waits, then end; what is left stays in the spool."""


def load(name: str, settings: Mapping[str, Any], folder: Path = Path()) -> Sink:
    """The sink of the table ``[sink.NAME]``.

    Args:
        name: of the table.
        settings: what it holds, ``kind`` among it.
        folder: from which paths in it count, that of line.toml.

    Raises:
        SettingsError: no kind, one that is not known, or a wrong key.
        MissingExtraError: the packages of this kind are not installed.
        InputError: somebody else's kind cannot be loaded.
    """
    more = dict(settings)
    kind = more.pop("kind", None)
    known = plugins.names(GROUP, KINDS)
    if not isinstance(kind, str) or kind not in known:
        given = "is missing" if kind is None else f"= {kind!r}{nearest(str(kind), known)}"
        raise SettingsError(f"sink.{name}", "kind", f"{given}: expected one of {', '.join(known)}")
    try:
        made = plugins.load(GROUP, KINDS, kind)
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        raise MissingExtraError(
            f"[sink.{name}] needs the package {error.name}, which is not installed: {cure(extra)}"
        ) from error
    assert made is not None  # or its name would not be known
    sink: Sink = made.from_settings(name, more, folder)
    return sink
