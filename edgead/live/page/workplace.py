"""What the page works on: the cameras that are watched, their sinks and their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgead.live.board import Board
from edgead.live.camera_settings import USUAL
from edgead.live.log import Say
from edgead.live.sinks.interface import SinkState


@dataclass(frozen=True)
class Workplace:
    """What all routes work on.

    Args:
        boards: the one of the page; or those of several cameras by their names, which may change.
        say: for what belongs in the log.
        sinks: how the sinks fare.
        records: folder of the records; None where none are kept.
    """

    boards: Board | Mapping[str, Board]
    say: Say
    sinks: Callable[[], Mapping[str, SinkState]] = dict
    records: Path | None = None

    def named(self) -> dict[str, Board]:
        """The boards by the cameras' names."""
        return {USUAL: self.boards} if isinstance(self.boards, Board) else dict(self.boards)

    def board(self, name: str | None) -> Board | None:
        """Of a camera; a page with one camera needs no ``name``."""
        if isinstance(self.boards, Board):
            return self.boards
        return self.boards.get(name or "")
