"""libedgead beside Python: start, memory, and what a call costs beyond its stages.

    make c-library
    python benchmarks/c_library.py NAME.edgead… [--turns N] [--check] [--docs] [--json FILE]

For each bundle, in turns in one run, so that whatever else the machine does meets both alike:
- start: from the start of a process to its first verdict, which comes through a pipe. Python is
  the least that does it (``Detector(...).score(...)``), C is ``edgead-score``, which writes when it
  has closed the detector;
- peak RSS of both processes;
- overhead: a call of ``edgead_session_score`` less its three stages, from Python through ctypes,
  which is part of it.
The image is the bundle's first golden frame. One thread. With --check, exit code 4 says that a
bound was passed: a start of 0.5 times Python's, 160 MB, 50 µs, 2 MB of the stripped library.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

# No package is imported here: a process that is started counts the memory of the one it was forked
# from as its own peak.
ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "c"
BOUNDS = {"start_ratio": 0.5, "rss_mb": 160.0, "overhead_us": 50.0, "stripped_mb": 2.0}

PYTHON = """
import sys
from edgead import Detector
from edgead.images import read_image
detector = Detector(sys.argv[1], device="cpu", threads=1)
print(detector.score(read_image(sys.argv[2])).is_anomalous, flush=True)
"""


def main() -> int:
    """Parse, measure, print; see the module's docstring for the exit code."""
    args = _arguments()
    program = BUILT / "edgead-score"
    if not program.exists():
        print(f"c_library: there is no {program}: make c-library", file=sys.stderr)
        return 1
    stripped = stripped_mb()
    entries = [measure(path, program, args) for path in args.bundles]
    found = {"cores": os.cpu_count(), "load": os.getloadavg(), "stripped_mb": stripped}
    found |= {"bundles": entries}
    _print(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if args.docs:
        write_table(found)
    worst = {key: max(entry[key] for entry in entries) for key in BOUNDS if key != "stripped_mb"}
    worst["stripped_mb"] = stripped
    return 4 if args.check and any(worst[key] > bound for key, bound in BOUNDS.items()) else 0


def measure(bundle: Path, program: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What one bundle has: medians, ratios and the samples that they come from."""
    asked = [str(bundle), str(bundle / "golden" / "0.png")]
    commands = {
        "python": [sys.executable, "-c", PYTHON, *asked],
        "c": [str(program), *asked, "--json", "--threads", "1"],
    }
    starts: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(-1, args.turns):  # the first brings the files into memory
        for name in sorted(commands, reverse=bool(turn % 2)):
            start_ms, rss_mb = start(commands[name])
            if turn >= 0:
                starts[name].append(start_ms)
                peaks[name].append(rss_mb)
    overhead = overhead_us(bundle, args.frames)
    return {
        "bundle": bundle.name,
        "method": json.loads((bundle / "manifest.json").read_bytes())["method"],
        "turns": args.turns,
        "start_ms": statistics.median(starts["c"]),
        "python_start_ms": statistics.median(starts["python"]),
        "start_ratio": statistics.median(starts["c"]) / statistics.median(starts["python"]),
        "rss_mb": max(peaks["c"]),
        "python_rss_mb": max(peaks["python"]),
        "overhead_us": statistics.median(overhead),
        "samples": {"start_ms": starts, "rss_mb": peaks, "overhead_us": overhead},
    }


def start(command: list[str]) -> tuple[float, float]:
    """(ms until the first byte that a program prints, its peak RSS in MB)."""
    started = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.read(1)
    spent = 1e3 * (perf_counter() - started)
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not first or process.returncode:
        raise SystemExit(f"c_library: {command[0]} failed with exit code {process.returncode}")
    return spent, usage.ru_maxrss * 1024 / 1e6


def overhead_us(bundle: Path, frames: int) -> list[float]:
    """Of each call: its time less that of its stages, in microseconds; in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--calls", str(frames), str(bundle)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[float] = json.loads(done.stdout)
    return found


def time_calls(bundle: Path, frames: int) -> list[float]:
    """``overhead_us``, in this process."""
    sys.path.insert(0, str(ROOT / "tests" / "library"))
    import numpy as np
    from c_structs import Verdict  # type: ignore[import-not-found]
    from conftest import Library, frame_of  # type: ignore[import-not-found]

    library = Library(BUILT / "lib" / "libedgead.so")
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    frame, verdict = frame_of(pixels, "BGR"), Verdict(ctypes.sizeof(Verdict))
    score, found = library.c.edgead_session_score, []
    with library.serving(bundle) as session:
        for number in range(-10, frames):
            started = perf_counter()
            status = score(session.handle, ctypes.byref(frame), ctypes.byref(verdict))
            spent = 1e3 * (perf_counter() - started)
            if status != 0:
                raise SystemExit(f"c_library: {library.last_error()}")
            if number >= 0:
                found.append(1e3 * (spent - verdict.total_ms))
    return found


def stripped_mb() -> float:
    """MB of libedgead and its library for OpenVINO without symbols; OpenVINO is not counted."""
    sys.path.insert(0, str(ROOT / "csrc"))
    from build_library import bytes_stripped  # type: ignore[import-not-found]

    return int(bytes_stripped(BUILT)) / 1e6


def _print(found: dict[str, Any]) -> None:
    print(f"stripped library  {found['stripped_mb']:.2f} MB (bound {BOUNDS['stripped_mb']:g})")
    for entry in found["bundles"]:
        print(f"{entry['bundle']}, {entry['method']}, {entry['turns']} turns")
        print(
            f"  start           {entry['start_ms']:.0f} ms, Python {entry['python_start_ms']:.0f}: "
            f"{entry['start_ratio']:.2f} (bound {BOUNDS['start_ratio']:g})"
        )
        print(
            f"  peak RSS        {entry['rss_mb']:.0f} MB, Python {entry['python_rss_mb']:.0f} "
            f"(bound {BOUNDS['rss_mb']:g})"
        )
        print(f"  overhead        {entry['overhead_us']:.1f} µs (bound {BOUNDS['overhead_us']:g})")


def write_table(found: dict[str, Any]) -> None:
    """The table of docs/notes/c-library.md."""
    from docs_table import NOTES, markdown, write_section

    header = ("bundle", "start ms", "Python's", "ratio", "peak RSS MB", "Python's", "overhead µs")
    rows = [
        (
            entry["bundle"],
            *(f"{entry[key]:.0f}" for key in ("start_ms", "python_start_ms")),
            f"{entry['start_ratio']:.2f}",
            *(f"{entry[key]:.0f}" for key in ("rss_mb", "python_rss_mb")),
            f"{entry['overhead_us']:.0f}",
        )
        for entry in found["bundles"]
    ]
    bounds = ("bound", "", "", *(f"{BOUNDS[key]:g}" for key in ("start_ratio", "rss_mb")), "")
    rows.append((*bounds, f"{BOUNDS['overhead_us']:g}"))
    said = f"\n{found['stripped_mb']:.2f} MB stripped, without OpenVINO (bound 2). "
    said += f"{found['cores']} cores, load {found['load'][1]:.1f} over five minutes.\n"
    write_section(NOTES / "c-library.md", "c-library", markdown(header, rows) + said)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="NAME.edgead")
    parser.add_argument("--turns", type=int, default=15, help="of both (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=200, help="calls (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--docs", action="store_true", help="write the table of the notes")
    parser.add_argument("--check", action="store_true", help="exit with 4 over a bound")
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    if "--calls" in sys.argv:
        asked = _arguments()
        print(json.dumps(time_calls(asked.bundles[0], asked.calls)))
        sys.exit()
    sys.exit(main())
