"""Lines on stdout: each in one write, none cut in half."""

from __future__ import annotations

import contextlib
import io
import select
import threading
from collections.abc import Callable
from typing import BinaryIO

from edgead.files import os_sentence
from edgead.live.log import Say

READER_S = 0.5
"""How often an output that waits for the reader of its lines looks whether it should stop."""


class Output:
    """Writes lines to ``out``: waits for a slow reader, goes on when a disk is full.

    Several threads may write: each line stays whole.

    ``lost``: lines that found no room; ``trouble``: why, of the latest.
    """

    def __init__(self, out: BinaryIO, say: Say) -> None:
        self.lost, self.trouble = 0, ""
        self._say = say
        self._out = getattr(out, "raw", out)  # what is written is written: no buffer to fill up
        self._begun = b""  # what a full disk left of a line
        self._room = _room(out)
        self._lock = threading.Lock()

    def write(self, data: bytes, stopping: Callable[[], object]) -> None:
        """Write a line; one that was begun is finished before it.

        Raises:
            OSError: the reader is gone.
        """
        with self._lock:
            self._write(data, stopping)

    def _write(self, data: bytes, stopping: Callable[[], object]) -> None:
        for piece in filter(None, (self._begun, data)):
            left = memoryview(piece)
            while left:
                self._wait_for_room(stopping)
                try:
                    left = left[self._out.write(left) or 0 :]
                except ConnectionError:  # BrokenPipeError is one
                    raise
                except OSError as error:
                    self._begun = (
                        bytes(left) if piece is not data or left.nbytes < len(data) else b""
                    )
                    self._note(os_sentence(error), lost=piece is not data or not self._begun)
                    return
            self._begun = b""
        self._note("", lost=False)

    def _note(self, trouble: str, *, lost: bool) -> None:
        self.lost += lost
        if trouble:
            text = f"a line cannot be written to stdout: {trouble}; verdicts go on"
            self._say("failed", text, "stdout")
        elif self.trouble:
            self._say("fine", "lines are written again", "stdout")
        self.trouble = trouble

    def _wait_for_room(self, stopping: Callable[[], object]) -> None:
        """Until a full pipe was read: here a second signal finds nothing half written."""
        what = "the last line waits for the reader of stdout; a second signal drops it"
        while self._room is not None and not self._room.poll(1e3 * READER_S):
            if stopping() and what:
                self._say("stop", what)
                what = ""


def _room(out: BinaryIO) -> select.poll | None:
    """What tells whether ``out`` takes a line at once; None for a buffer in memory."""
    with contextlib.suppress(io.UnsupportedOperation):
        descriptor = out.fileno()
        if hasattr(select, "poll"):  # Windows has none
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            return room
    return None
