"""The processor that this process runs on."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import suppress
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def others_run() -> bool:
    """Whether another thread of this process runs or is about to; False where it is not known."""
    own = threading.get_native_id()
    for task in Path("/proc/self/task").glob("[0-9]*"):
        with suppress(OSError):  # of a thread that has ended
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "R" and int(task.name) != own:
                return True
    return False


def processor_name() -> str:
    """The CPU's model as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
