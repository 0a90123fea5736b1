"""What a hardened machine forbids this process, and which setting does it."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

from edgead.errors import DeviceError
from edgead.files import address_limit, scarcity

OPENVINO_BYTES = 192 << 20
"""Addresses of OpenVINO's plugin, its frontend and the reserve of its allocator, as measured."""
THREAD_BYTES = 16 << 20
"""Addresses of a thread: 8 MB of stack, and what it keeps of its own."""

_LIMITED = (
    "this process may use {:.0f} MB of addresses: raise that limit (ulimit -v, LimitAS= of a "
    "systemd unit)"
)
_GET_MDWE = 66  # prctl, of Linux 6.3 and newer
_CURES = {
    "systemd": "MemoryDenyWriteExecute=no in the [Service] of its systemd unit",
    "selinux": "SELinux forbids it: allow its domain execmem; ausearch -m avc names the domain",
    "other": "find what forbids it: MemoryDenyWriteExecute= of a systemd unit, a seccomp filter, "
    "SELinux's execmem",
}


def code_refused(library: str = "OpenVINO") -> str | None:
    """Why this process may not make code at run time, with the cure; None where it may.

    OpenVINO compiles its kernels for the graph and the processor when a bundle is opened, and
    PyTorch does so on the CPU: memory is written, then made executable. No setting does without.
    """
    if not sys.platform.startswith("linux") or _can_make_code():
        return None
    return (
        f"this process may not make memory executable, and {library} compiles its kernels into "
        f"memory: {_CURES[_forbidden_by()]}"
    )


def restricted(said: str) -> str:
    """``said``, by a library that failed, or the restriction of this process that explains it."""
    refused = code_refused()
    if refused is not None:
        return refused
    scarce = scarcity(RuntimeError(said))
    if scarce is not None:
        return f"{said}: {scarce}"
    limit = address_limit()
    return said if limit is None else f"{said}; {_LIMITED.format(limit / 1e6)}"


def check_addresses(threads: int) -> None:
    """Refuse a process with too few addresses left for OpenVINO: it would wait for ever for a
    thread that cannot start.

    Args:
        threads: that OpenVINO may start, at least 1.

    Raises:
        DeviceError: the limit of this process leaves less than OpenVINO needs to start.
    """
    limit = address_limit()
    if limit is None:
        return
    needed = OPENVINO_BYTES + threads * THREAD_BYTES
    try:
        mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"OpenVINO needs {needed / 1e6:.0f} MB of addresses more to start; "
            f"{_LIMITED.format(limit / 1e6)}"
        ) from error


def _can_make_code() -> bool:
    """Do as a compiler does: fill a page of memory, then ask to execute it."""
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, ValueError):
        return True  # another trouble, which is told as it is
    page = ctypes.c_char.from_buffer(memory)
    try:
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        code = protect(ctypes.addressof(page), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        return bool(code == 0)
    finally:
        del page
        memory.close()


def _forbidden_by() -> str:
    """A key of ``_CURES``."""
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl") and library.prctl(_GET_MDWE, 0, 0, 0, 0) > 0:
        return "systemd"
    if "INVOCATION_ID" in os.environ and _says("/proc/self/status", "Seccomp:\t2"):
        return "systemd"
    return "selinux" if _says("/sys/fs/selinux/enforce", "1") else "other"


def _says(path: str, text: str) -> bool:
    try:
        return text in Path(path).read_text(errors="replace")
    except OSError:
        return False
