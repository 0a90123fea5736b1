"""What a hardened machine forbids this process, and which setting does it."""

from __future__ import annotations

from edgead import _cpu
from edgead.errors import DeviceError


def code_refused(library: str = "OpenVINO") -> str | None:
    """Why this process may not make code at run time, with the cure; None where it may.

    OpenVINO compiles its kernels for the graph and the processor when a bundle is opened, and
    PyTorch does so on the CPU: memory is written, then made executable. No setting does without.
    """
    return _cpu.code_refused(library) or None


def restricted(said: str) -> str:
    """``said``, by a library that failed, or the restriction of this process that explains it."""
    return code_refused() or _cpu.restricted(said)


def check_addresses(threads: int) -> None:
    """Refuse a process with too few addresses left for OpenVINO: it would wait for ever for a
    thread that cannot start.

    Args:
        threads: that OpenVINO may start, at least 1.

    Raises:
        DeviceError: the limit of this process leaves less than OpenVINO needs to start.
    """
    problem = _cpu.problem_of_addresses(threads)
    if problem:
        raise DeviceError(problem)
