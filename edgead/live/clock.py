"""The system's clock, which may be set while a camera is watched."""

from __future__ import annotations

from collections.abc import Callable

from edgead.live.log import Say
from edgead.live.source import Moment

JUMP_S = 1.0
"""What a clock that is steered gently does not reach between two looks."""


class Clock:
    """Says when the system's clock was set: ``captured`` follows it, latencies do not.

    Args:
        say: for what belongs in the log.
        now: this moment, by both clocks.
    """

    def __init__(self, say: Say, now: Callable[[], Moment] = Moment.now) -> None:
        self._say, self._now = say, now
        self._offset_s = self._offset()

    def tick(self) -> None:
        """Look; to be called now and then."""
        offset_s = self._offset()
        jump_s = offset_s - self._offset_s
        self._offset_s = offset_s  # a slow drift adds up to no jump
        if abs(jump_s) >= JUMP_S:
            text = (
                f"the system's clock was set by {jump_s:+.1f} s: captured and schedules follow it, "
                "latencies and ids do not"
            )
            self._say("clock", text, "clock")

    def _offset(self) -> float:
        moment = self._now()
        return moment.wall_s - moment.monotonic_s
