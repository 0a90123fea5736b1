"""What the processes ``edgead`` and ``edgead-bench`` begin with, before anything takes time."""

from __future__ import annotations

import sys
from importlib import import_module

from edgead.cli.signals import as_process
from edgead.installation import KERNELS


def edgead() -> int:
    """Run ``edgead`` with the arguments of the process and return its exit code."""
    return as_process(lambda: _run("edgead.cli.main"))


def bench() -> int:
    """Run ``edgead-bench`` with the arguments of the process and return its exit code."""
    return as_process(lambda: _run("edgead.bench.command"))


def _run(module: str) -> int:
    """Its ``main``; without the compiled kernels no command is there, not even ``doctor``."""
    try:
        main = import_module(module).main
    except ImportError as error:
        if error.name != KERNELS:
            raise
        print(f"edgead: {error}", file=sys.stderr)
        return 2
    return int(main())
