"""What a machine with an NVIDIA GPU makes of edgead, in one JSON file to send back.

    python benchmarks/gpu_check.py NAME.edgead [--images DIR] [--json FILE]

Says what the machine is, builds the plans of the bundle, qualifies them on its golden frames, runs
the tests of the CUDA kernels on the device (tests/gpu) and times the GPU beside the CPU. Each step
is a process of its own, so that a crash or a hang in one is a line of the file and the next one
still runs. Nothing is sent anywhere. Exit code 0 when every step went well, else 2.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

from edgead import __version__
from edgead.bundle.storage import open_bundle
from edgead.cli.main import guard
from edgead.files import write_file

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 1800  # seconds of a step; a build on a small Jetson takes minutes
MOST_TEXT = 4000  # characters kept of what a step printed

# What tells about the device and is not on every machine; its absence is not a failure.
PROBES = {
    "nvidia-smi": ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit,"
                   "clocks.max.sm,compute_mode", "--format=csv"],
    "nvcc": ["nvcc", "--version"],
    "nvpmodel": ["nvpmodel", "-q"],
    "jetson": ["cat", "/etc/nv_tegra_release"],
}  # fmt: skip


@dataclass
class Step:
    """One step: what was run, how it ended, what it found.

    ``ok``: None where it does not apply. ``found``: JSON of the command, where it has any.
    ``said``: the end of what it printed when it failed.
    """

    name: str
    command: str
    ok: bool | None
    seconds: float
    found: Any = None
    said: str = ""


@dataclass
class Report:
    """The file. ``steps`` in the order in which they ran."""

    edgead: str
    created: str
    machine: dict[str, str]
    bundle: dict[str, str]
    steps: list[Step] = field(default_factory=list)


def main() -> int:
    """Run every step, write the file after each; see the module's page for the exit code."""
    args = _arguments()
    bundle = open_bundle(args.bundle)
    manifest = bundle.manifest
    report = Report(
        __version__,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        {"system": platform.platform(), "python": platform.python_version(), **_probes()},
        {"name": manifest.name, "method": manifest.method, "sha256": bundle.sha256},
    )
    for step in _steps(args, tuple(manifest.models)):
        report.steps.append(step())
        _tell(report.steps[-1])
        write_file(args.json, (json.dumps(asdict(report), indent=2) + "\n").encode())
    failed = [step.name for step in report.steps if step.ok is False]
    print(f"wrote  {args.json}: send this file back")
    print(f"result {'failed: ' + ', '.join(failed) if failed else 'every step went well'}")
    return 2 if failed else 0


def _steps(args: argparse.Namespace, models: Sequence[str]) -> list[Callable[[], Step]]:
    bundle, images = str(args.bundle), [] if args.images is None else ["--images", str(args.images)]
    bench = ["--device", "cuda", "--device", "cpu", "--hz", "30", *images]
    reduced = [name for name in models if name != "float32"] or ["float32"]

    def edgead(name: str, *words: str) -> Callable[[], Step]:
        return lambda: run(name, [sys.executable, "-m", "edgead", *words])

    return [
        edgead("doctor", "doctor", "--json"),
        kernel_tests,
        *(
            edgead(f"build {name}", "build", bundle, "--precision", name, "--json")
            for name in reduced
        ),
        *(
            edgead(
                f"qualify {name}", "verify", bundle, "--device", "cuda", "--precision", name,
                "--json",
            )
            for name in reduced
        ),
        lambda: run(
            "benchmark",
            [sys.executable, "-m", "edgead.bench", bundle, *bench, "--json", "-"],
        ),
    ]  # fmt: skip


def run(name: str, command: Sequence[str], timeout: float = LONGEST) -> Step:
    """Run ``command``; its standard output, JSON or a line of JSON each, is what it found."""
    begun = perf_counter()
    shown = " ".join(["python", *command[1:]])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return Step(name, shown, False, timeout, said=f"stopped after {timeout:.0f} s")
    seconds = round(perf_counter() - begun, 1)
    if done.returncode < 0:
        said = f"killed by signal {-done.returncode}; {done.stderr}"
        return Step(name, shown, False, seconds, said=said[-MOST_TEXT:])
    said = "" if done.returncode == 0 else (done.stderr or done.stdout)
    return Step(
        name, shown, done.returncode == 0, seconds, _json_of(done.stdout), said[-MOST_TEXT:]
    )


def kernel_tests() -> Step:
    """The tests of tests/gpu, counted; skipped ones mean that there was no device to run on."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        words = [sys.executable, "-m", "pytest", "-q", "tests/gpu", f"--junitxml={results}"]
        step = run("kernels", words)
        step.command = "python -m pytest -q tests/gpu"
        if not results.is_file():
            step.ok = False
            return step
        suite = next(ElementTree.parse(results).iter("testsuite"))
    step.found = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    reasons = {str(each.get("message", "")) for each in suite.iter("skipped")}
    if step.found["skipped"]:
        step.ok, step.said = False, "; ".join(sorted(reasons))[:MOST_TEXT]
    return step


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()] or None
    except ValueError:
        return None


def _probes() -> dict[str, str]:
    """What the PROBES print, on machines that have them; the board's name on a Jetson."""
    found = {}
    for name, command in PROBES.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found[name] = re.sub(r"[^\x20-\x7e\n]", "", done.stdout).strip()
    model = Path("/proc/device-tree/model")
    if model.is_file():
        found["board"] = model.read_text(errors="replace").rstrip("\0")
    return found


def _tell(step: Step) -> None:
    state = {True: "ok", False: "failed", None: "left out"}[step.ok]
    print(f"{step.name:<18} {state:<8} {step.seconds:7.1f} s", flush=True)
    for line in step.said.strip().splitlines()[-3:] if step.ok is False else ():
        print(f"{'':<19}{line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, metavar="NAME.edgead")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="frames to time (default: golden)"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("gpu-check.json"), metavar="FILE",
        help="where to write (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args()
    args.bundle, args.json = args.bundle.absolute(), args.json.absolute()
    args.images = None if args.images is None else args.images.absolute()
    return args


if __name__ == "__main__":
    sys.exit(guard(main))
