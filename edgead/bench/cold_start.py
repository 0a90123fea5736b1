"""Cold start: from the start of a process to its first verdict."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from time import perf_counter

from edgead.errors import DeviceError

LONGEST_S = 600.0  # of a cold start; a slow one takes seconds, since an engine's files are there


def cold_start(command: Sequence[str], *, begins: str = "verdict") -> float:
    """Milliseconds until ``command`` printed its verdict.

    Counts all that it loads, opening and qualifying the bundle, reading one image and scoring it.
    The files are in the system's cache, since the bundle was opened before.

    Args:
        command: prints a verdict and ends, such as ``first_verdict``
        begins: the beginning of the verdict's line

    Raises:
        DeviceError: that process fails, or gives no verdict within LONGEST_S.
    """
    # No pipe for stderr: it is read after the verdict only, and a full pipe would stop the process.
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        started = perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process:
            assert process.stdout is not None  # asked for above
            timer = threading.Timer(LONGEST_S, process.kill)
            timer.daemon = True
            timer.start()
            line = process.stdout.readline()
            spent_s = perf_counter() - started
            process.communicate()
            timer.cancel()
            late = perf_counter() - started >= LONGEST_S
        complaints.seek(0)
        last = (complaints.read().strip().splitlines() or ["it said nothing"])[-1]
    if line.startswith(begins) and process.returncode == 0:
        return 1e3 * spent_s
    what = f"failed with exit code {process.returncode}"
    if late:
        what = "did not end after its verdict" if line.startswith(begins) else "gave no verdict"
        what += f" within {LONGEST_S:g} s and was killed"
    raise DeviceError(
        f"the process of the cold start {what}: {last}; --cold-starts 0 leaves it out"
    )
