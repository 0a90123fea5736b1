"""The machine while something is measured: memory, CPU time, other processes, heat, clocks.

Everything is read from files below ``root``, as Linux has them; what is not there is None or
empty. The Jetson's files are read as NVIDIA documents them; that was never run on a Jetson.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

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

    def to_json(self) -> dict[str, Any]:
        """One element of ``machine`` in the JSON file."""
        return asdict(self)


def read_machine(root: Path, at_s: float, cpu_s: float, process: str = "self") -> MachineReading:
    """Look at the files below ``root`` ("/" but in tests). Changes nothing.

    ``process``: whose memory it is, a number or "self".
    """
    busy, passed, steal = _processor_times(_text(root / "proc/stat"))
    load = (_text(root / "proc/loadavg") or "").split()
    return MachineReading(
        at_s=at_s,
        cpu_s=cpu_s,
        rss_mb=_rss_mb(_text(root / "proc" / process / "status")),
        machine_busy_s=busy,
        machine_s=passed,
        steal_s=steal,
        load=float(load[0]) if load else None,
        celsius=_temperatures(root),
        mhz=_clocks(root),
        power_mode=_power_mode(_text(root / "var/lib/nvpmodel/status")),
    )


class Monitor:
    """Reads the machine in a thread of its own while a ``with`` block runs."""

    def __init__(self, interval_s: float, root: Path = Path("/")) -> None:
        self.readings: list[MachineReading] = []
        self._interval_s = interval_s
        self._root = root
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Monitor:
        self._started = time.perf_counter()
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        while not self._done.wait(self._interval_s):
            self._read()

    def _read(self) -> None:
        passed = time.perf_counter() - self._started
        self.readings.append(read_machine(self._root, passed, time.process_time()))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not there, or a sensor that is switched off
        return None


def _rss_mb(status: str | None) -> float | None:
    for line in (status or "").splitlines():
        key, _, value = line.partition(":")
        if key == "VmRSS":
            return int(value.split()[0]) * 1024 / 1e6
    return None


def _processor_times(stat: str | None) -> tuple[float | None, float | None, float | None]:
    """(busy, passed, stolen) seconds from the line ``cpu user nice system idle iowait irq …``."""
    words = (stat or "").split("\n", 1)[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None, None, None
    # guest and guest_nice, which may follow, are counted in user and nice already.
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    busy = user + nice + system + irq + softirq
    return busy / TICKS, (busy + idle + iowait + steal) / TICKS, steal / TICKS


def _temperatures(root: Path) -> dict[str, float]:
    """Degrees Celsius by the type of the zone; zones of one type are numbered by their folder."""
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _number(zone / "temp")
        if value is not None:
            name = (_text(zone / "type") or zone.name).strip()
            found[f"{name} {zone.name}" if name in found else name] = value / 1e3
    return found


def _clocks(root: Path) -> dict[str, float]:
    """Megahertz of each core ("cpu0", from kilohertz) and of a Jetson's GPU (from hertz)."""
    found: dict[str, float] = {}
    for core in sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*")):
        value = _number(core / "cpufreq/scaling_cur_freq")
        if value is not None:
            found[core.name] = value / 1e3
    for pattern in GPU_CLOCKS:
        for path in sorted(root.glob(pattern)):
            value = _number(path)
            if value is not None:
                found[path.parent.name] = value / 1e6
    return found


def _number(path: Path) -> float | None:
    try:
        return float((_text(path) or "").strip())
    except ValueError:
        return None


def _power_mode(status: str | None) -> str | None:
    """The number in ``pmode:0002``, as NVIDIA's nvpmodel leaves it."""
    for word in (status or "").split():
        key, _, value = word.partition(":")
        if key == "pmode":
            return value
    return None
