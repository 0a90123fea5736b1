"""The processor that this process runs on, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

SYSTEM = Path("/")


def cores() -> int:
    """Threads that may compute at once: the cores of the affinity mask, or the CPU quota if less.

    A quota is rounded down, to 1 at least: more threads than it pays for use it up before its
    period (0.1 s) ends, and then all of them stand still for the rest of it, amid a frame.
    """
    quota = cpu_quota()
    return affinity() if quota is None else max(1, min(affinity(), math.floor(quota)))


def affinity() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        try:
            return len(os.sched_getaffinity(0))
        except OSError:  # a filter of system calls
            pass
    return os.cpu_count() or 1


def cpu_quota(system: Path = SYSTEM) -> float | None:
    """Cores' worth of time that the control groups of this process grant; None without a bound.

    The least of its own group and all above it that can be seen, in version 1 (cpu.cfs_quota_us)
    and 2 (cpu.max), as Docker, Kubernetes and systemd set it.

    Args:
        system: the root of the file system.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, proc_pid_cgroup(5).
    """
    return min(_granted(system, "cpu", _quota_of), default=None)


def free_memory(system: Path = SYSTEM) -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    The least of what the system has available, and of what the control groups of this process
    grant, as for ``cpu_quota`` (memory.max, memory.limit_in_bytes), less what they use; pages of
    files that can be dropped count as free.

    Args:
        system: the root of the file system.
    """
    found = _granted(system, "memory", _memory_of)
    with suppress(OSError, ValueError):
        (line,) = re.findall(r"^MemAvailable: *([0-9]+) kB$", _read(system / "proc/meminfo"), re.M)
        found.append(1024 * int(line))
    return max(0, int(min(found))) if found else None


def _granted(system: Path, controller: str, of: Callable[[Path], float | None]) -> list[float]:
    """What the control groups of this process, and all above them that can be seen, grant."""
    try:
        groups = _read(system / "proc/self/cgroup")
        mounts = _read(system / "proc/self/mountinfo")
    except OSError:  # not Linux, or no /proc
        return []
    found = [
        of(system / each.relative_to("/"))
        for folder, top in _group_folders(groups, mounts, controller)
        for each in (folder, *folder.parents)
        if each == top or top in each.parents
    ]
    return [granted for granted in found if granted is not None]


def _group_folders(
    groups: str, mounts: str, controller: str = "cpu"
) -> Iterator[tuple[Path, Path]]:
    """(folder of a group of this process that bounds what ``controller`` says, where its hierarchy
    is mounted)."""
    paths: dict[str, str] = {}  # by the type of the file system
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif controller in controllers.split(","):
            paths["cgroup"] = path
    places: dict[str, list[tuple[str, Path]]] = {"cgroup": [], "cgroup2": []}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mounted, kind = before.split(" "), after.split(" ")
        if len(mounted) < 5 or len(kind) < 3 or kind[0] not in paths:
            continue
        if not mounted[4].startswith("/"):  # out of reach
            continue
        if kind[0] == "cgroup2" or controller in kind[2].split(","):
            places[kind[0]].append((_unescaped(mounted[3]), Path(_unescaped(mounted[4]))))
    for name, path in paths.items():
        inside = [
            (top / Path(path).relative_to(root), top)
            for root, top in places[name]
            if Path(path).is_relative_to(root) and ".." not in path
        ]
        # A container may see its own group as the root, under the name that the host gave it.
        yield from inside or [(top, top) for _, top in places[name]]


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)


def _quota_of(folder: Path) -> float | None:
    """What one group grants; None for all there is."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join(_read(folder / name) for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError, OverflowError):  # not this version, or "max"
            continue
    return None


def _memory_of(folder: Path) -> int | None:
    """What one group still grants; None for all there is."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            left = int(_read(folder / limit)) - int(_read(folder / used))
            stat = re.findall(rf"^{dropped} ([0-9]+)$", _read(folder / "memory.stat"), re.M)
            return left + sum(map(int, stat))
        except (OSError, ValueError):  # not this version, or "max"
            continue
    return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def others_run() -> bool:
    """Whether another thread of this process runs or is about to; False where it is not known."""
    own, tasks = str(threading.get_native_id()), Path("/proc/self/task")
    try:
        others = [tasks / name for name in os.listdir(tasks) if name != own]
    except OSError:  # another system, or no memory for it
        return False
    for task in others:
        with suppress(OSError):  # of a thread that has ended
            if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def processor_name() -> str:
    """The CPU's model as the system names it."""
    try:
        for line in _read(Path("/proc/cpuinfo")).splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
