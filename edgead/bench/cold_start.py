"""Cold start: from the start of a process, ``first_verdict``, to its first verdict."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from edgead.errors import DeviceError

LONGEST_S = 600.0
"""Of a cold start; a slow one takes seconds, the files of an engine being there already."""


def cold_start(arguments: Sequence[str], *, python: str = sys.executable) -> float:
    """Milliseconds until a fresh ``first_verdict`` with ``arguments`` printed its verdict.

    Counts the interpreter, the imports, opening and qualifying the bundle, reading one image and
    scoring it. The files are in the system's cache, since the bundle was opened before.

    Errors: DeviceError when that process fails, or gives no verdict within LONGEST_S.
    """
    command = [python, "-m", "edgead.bench.first_verdict", *arguments]
    # No pipe: nobody reads it before the verdict, and a full pipe would stop the process.
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        started = perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process:
            assert process.stdout is not None  # asked for above
            with _patience(process) as late:
                line = process.stdout.readline()
                spent = 1e3 * (perf_counter() - started)
                process.communicate()
        complaints.seek(0)
        last = (complaints.read().strip().splitlines() or ["it said nothing"])[-1]
    if late.is_set():
        what = "did not end after its verdict" if line.startswith("verdict") else "gave no verdict"
        raise DeviceError(
            f"the process of the cold start {what} within {LONGEST_S:g} s and was killed: "
            f"{last}; --cold-starts 0 leaves it out"
        )
    if process.returncode != 0 or not line.startswith("verdict"):
        raise DeviceError(
            f"the process of the cold start failed with exit code {process.returncode}: {last}; "
            f"--cold-starts 0 leaves it out"
        )
    return spent


@contextmanager
def _patience(process: subprocess.Popen[str]) -> Iterator[threading.Event]:
    """Kill ``process`` after LONGEST_S; the event says whether that was done."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(LONGEST_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
