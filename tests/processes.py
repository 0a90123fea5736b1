"""Processes that tests look for and stop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edgead import Detector


def pid_of(detector: Detector) -> int:
    """The process that serves an isolated Detector."""
    return int(detector.info()["isolated"].split()[1])


def is_there(pid: int) -> bool:
    """Whether the process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def stop(pid: int) -> None:
    """Stop the process, and wait until every thread stands: until then it may still answer."""
    os.kill(pid, signal.SIGSTOP)
    while {_state(task) for task in Path(f"/proc/{pid}/task").iterdir()} != {"T"}:
        time.sleep(0.001)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
