"""The machine while something is measured: memory, CPU time, other processes, heat, clocks.

Everything is read from files below ``root``, as Linux has them; what is not there is None or
empty. The Jetson's files are read as NVIDIA documents them; that was never run on a Jetson.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = 100  # of /proc/stat per second: USER_HZ, which is 100 on every Linux that edgead serves
# Orin is 17000000.ga10b on JetPack 5 and 17000000.gpu on 6; Xavier gv11b, TX2 gp10b, Nano gpu.
GPU_CLOCKS = tuple(
    f"sys/class/devfreq/{name}/cur_freq" for name in ("*gpu*", "*ga10b", "*gv11b", "*gp10b")
)


@dataclass(frozen=True)
class MachineReading:
    """The machine at one moment.

    ``at_s`` since the start; ``rss_mb`` memory of this process, ``cpu_s`` its CPU time;
    ``machine_busy_s``, ``machine_s``, ``steal_s``: CPU time that was used, passed, and was taken by
    the hypervisor, summed over the cores; ``celsius`` by thermal zone; ``mhz`` by clock;
    ``power_mode`` of a Jetson.
    """

    at_s: float
    cpu_s: float
    rss_mb: float | None = None
    machine_busy_s: float | None = None
    machine_s: float | None = None
    steal_s: float | None = None
    load: float | None = None
    celsius: dict[str, float] = field(default_factory=dict)
    mhz: dict[str, float] = field(default_factory=dict)
    power_mode: str | None = None


def read_machine(root: Path, at_s: float, cpu_s: float, process: str = "self") -> MachineReading:
    """Look at the files below ``root``. Changes nothing.

    Args:
        root: "/" but in tests
        at_s, cpu_s: of the MachineReading
        process: whose memory it is, a number or "self"
    """
    busy_s, machine_s, steal_s = _processor_times(_text(root / "proc/stat"))
    rss = re.search(r"^VmRSS:\s*(\d+)", _text(root / "proc" / process / "status"), re.MULTILINE)
    load = _text(root / "proc/loadavg").split()
    mode = re.search(r"\bpmode:(\S+)", _text(root / "var/lib/nvpmodel/status"))
    cores = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    gpus = [path for pattern in GPU_CLOCKS for path in root.glob(pattern)]
    core_mhz = {path.parents[1].name: value / 1e3 for path, value in _numbers(cores)}  # from kHz
    gpu_mhz = {path.parent.name: value / 1e6 for path, value in _numbers(gpus)}  # from Hz
    return MachineReading(
        at_s=at_s,
        cpu_s=cpu_s,
        rss_mb=int(rss[1]) * 1024 / 1e6 if rss else None,
        machine_busy_s=busy_s,
        machine_s=machine_s,
        steal_s=steal_s,
        load=float(load[0]) if load else None,
        celsius=_temperatures(root),
        mhz=core_mhz | gpu_mhz,
        power_mode=mode[1] if mode else None,
    )


class Monitor:
    """Reads the machine in a thread of its own while a ``with`` block runs.

    Args:
        interval_s: between two readings
        root: "/" but in tests
        processes: others whose CPU time counts as that of this one
    """

    def __init__(
        self, interval_s: float, root: Path = Path("/"), processes: Sequence[int] = ()
    ) -> None:
        self.readings: list[MachineReading] = []
        self._interval_s = interval_s
        self._root, self._processes = root, processes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Monitor:
        self._started = time.perf_counter()
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        while not self._done.wait(self._interval_s):
            self._read()

    def _read(self) -> None:
        passed = time.perf_counter() - self._started
        cpu_s = time.process_time() + sum(_cpu_s(self._root, one) for one in self._processes)
        self.readings.append(read_machine(self._root, passed, cpu_s))


def _cpu_s(root: Path, process: int) -> float:
    """CPU time of another process, all its threads; 0 when it has ended."""
    words = _text(root / "proc" / str(process) / "stat").rpartition(")")[2].split()
    return sum(int(ticks) for ticks in words[11:13]) / TICKS  # utime, stime


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not there, or a sensor that is switched off
        return ""


def _numbers(paths: Iterable[Path]) -> Iterable[tuple[Path, float]]:
    """The files that hold a number, sorted, each with its number."""
    for path in sorted(paths):
        try:
            yield path, float(_text(path))
        except ValueError:
            continue


def _processor_times(stat: str) -> tuple[float | None, float | None, float | None]:
    """(busy, passed, stolen) seconds from the line ``cpu user nice system idle iowait irq …``."""
    words = stat.split("\n", 1)[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None, None, None
    # guest and guest_nice, which may follow, are counted in user and nice already.
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    busy = user + nice + system + irq + softirq
    return busy / TICKS, (busy + idle + iowait + steal) / TICKS, steal / TICKS


def _temperatures(root: Path) -> dict[str, float]:
    """Degrees Celsius by the type of the zone; zones of one type are numbered by their folder."""
    found: dict[str, float] = {}
    for path, value in _numbers(root.glob("sys/class/thermal/thermal_zone*/temp")):
        zone = path.parent
        name = _text(zone / "type").strip() or zone.name
        found[f"{name} {zone.name}" if name in found else name] = value / 1e3
    return found
