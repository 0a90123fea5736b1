"""What follows where the process that serves is lost: the CPU answers, another is made ready."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from edgead.engine.interface import Engine, Qualified
from edgead.errors import DeviceLostError, InputError
from edgead.serving.warm_start import WarmStart

MOST_LOSSES, WITHIN_S = 5, 600.0
"""More in that time, and no other process is started: the frames themselves may be the cause."""


class Recovery:
    """Of a Detector that is isolated and may be served by the CPU meanwhile.

    Args:
        open_cpu: opens and qualifies the CPU's engine.
        open_again: the same of the isolated one, unless what it is given returns True.
        take: gets an engine, and returns whether it serves now.
    """

    def __init__(
        self,
        open_cpu: Callable[[], Qualified],
        open_again: Callable[[Callable[[], bool]], Qualified],
        take: Callable[[Qualified], bool],
    ) -> None:
        self._open_cpu, self._open_again, self._take = open_cpu, open_again, take
        self._lock = threading.Lock()
        self._losses: list[float] = []
        self._count, self._last = 0, ""

    @property
    def state(self) -> str:
        """How often a process was lost, and why the last time."""
        return f"{self._count} lost, the last time: {self._last}" if self._count else "none lost"

    def stand_in(self, serves: Callable[[], bool], error: DeviceLostError) -> WarmStart | None:
        """Let the CPU serve in place of an engine that was lost, unless another one does.

        Args:
            serves: whether the lost engine is still the one that serves.

        Returns:
            The start of another process; None where another thread has begun it, or it was lost
            too often.
        """
        with self._lock:
            if not serves():
                return None
            now = monotonic()
            self._losses = [*(at for at in self._losses if now - at < WITHIN_S), now]
            self._count, self._last = self._count + 1, _loss(error)
            if not self._take(self._open_cpu()):
                return None
            if len(self._losses) > MOST_LOSSES:
                self._last += f"; more than {MOST_LOSSES} in {WITHIN_S / 60:.0f} minutes: the CPU "
                self._last += "goes on alone, make a new Detector to try again"
                return None
            return WarmStart(self._open_again, self._take)


def check_answer_within(seconds: float) -> None:
    """Raise InputError for a time that nothing can be waited for."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0.1 <= seconds <= 86400:
        raise InputError(
            f"answer_within_s={seconds!r}: expected seconds from 0.1 to 86400, how long an "
            "isolated process may take for a frame"
        )


def for_next_frame(error: DeviceLostError) -> DeviceLostError:
    """The same loss of a Detector that goes on with the next frame."""
    return DeviceLostError(
        f"{_loss(error)}; another process is started for the next frame, and has to reproduce the "
        "golden frames"
    )


def _loss(error: DeviceLostError) -> str:
    """What was lost, without the cure."""
    return str(error).partition("; make a new")[0]


def isolation(engine: Engine | None, recovery: Recovery | None) -> str:
    """Which process serves with ``engine``, and those that were lost, where that is known."""
    pid = getattr(engine, "pid", None)
    serves = "this process serves" if pid is None else f"process {pid} serves"
    return serves if recovery is None else f"{serves}; {recovery.state}"
