"""What the processes ``edgead`` and ``edgead-bench`` begin with, before anything takes time."""

from __future__ import annotations

from edgead.cli.signals import as_process


def edgead() -> int:
    """Run ``edgead`` with the arguments of the process and return its exit code."""

    def work() -> int:
        from edgead.cli.main import main

        return main()

    return as_process(work)


def bench() -> int:
    """Run ``edgead-bench`` with the arguments of the process and return its exit code."""

    def work() -> int:
        from edgead.bench.command import main

        return main()

    return as_process(work)
