"""What edgead watch costs on a folder with many old files, and how late its verdicts come.

    python benchmarks/watched_folder.py BUNDLE IMAGE --files 50000

Prints the share of a core while nothing comes and while images come, and the time from the rename
of an image into the folder to its line. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("image", type=Path)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="while nothing comes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    place = folder / "incoming"
    place.mkdir()
    for number in range(args.files):
        (place / f"old{number:06d}.png").touch()
    command = [sys.executable, "-m", "edgead", "watch", str(place), "--bundle", args.bundle]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--every-frame"], **pipes) as process:
        while b"already" not in process.stderr.readline():
            pass
        time.sleep(1)
        before = spent(process.pid)
        time.sleep(args.seconds)
        idle = share(process.pid, before)
        before, latencies_ms = spent(process.pid), []
        for number in range(40):
            (folder / "part").write_bytes(args.image.read_bytes())
            (folder / "part").rename(place / f"new{number}{args.image.suffix}")
            renamed_s = time.perf_counter()
            process.stdout.readline()
            latencies_ms.append(1e3 * (time.perf_counter() - renamed_s))
            time.sleep(0.21 + 0.013 * (number % 7))  # at another phase of the looks each time
        busy = share(process.pid, before)
        process.terminate()
    latencies_ms.sort()
    print(
        f"{args.files} old files: {idle:.1f} % of a core while nothing comes, {busy:.1f} % while "
        f"images come; latency p50 {latencies_ms[20]:.0f} ms, largest {latencies_ms[-1]:.0f} ms"
    )


def spent(process: int) -> tuple[float, float]:
    """Seconds of CPU time of ``process``, and when."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), time.perf_counter()


def share(process: int, before: tuple[float, float]) -> float:
    """Per cent of a core since ``before``."""
    now = spent(process)
    return 100 * (now[0] - before[0]) / (now[1] - before[1])


if __name__ == "__main__":
    main()
