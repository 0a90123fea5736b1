"""Ctrl-C and kill: the first asks to stop, the second acts at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Stopping = Callable[[], int]
"""The number of the signal that asked to stop; 0 as long as none came."""


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Note SIGINT and SIGTERM while the block runs. For the main thread.

    The block asks whether one came and ends in its own time. A second signal raises
    KeyboardInterrupt or SystemExit wherever the main thread is.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        # Nothing that takes a lock: the handler may have interrupted its holder.
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
