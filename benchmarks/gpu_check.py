"""What a machine with an NVIDIA GPU makes of edgead, in one JSON file to send back.

    python benchmarks/gpu_check.py NAME.edgead [--images DIR] [--json FILE] [--minutes N] [--fresh]

Says what the machine is, builds the plans of the bundle, qualifies them on its golden frames, runs
the tests of the CUDA kernels on the device (tests/gpu), times the kernels beside what the device's
memory allows (gpu_roofline.py), counts the bytes that they move where Nsight Compute is installed,
times the GPU beside the CPU, and each plan in trtexec where that is installed. Each step is a
process of its own, so that a crash or a hang in one is a line of the file and the next one still
runs. All have --minutes together. Called again, it keeps what went well, as long as edgead, the
bundle and the machine are the same, and goes on with the rest. Nothing is sent anywhere. Exit code
0 when every step went well, else 2; without a GPU a sentence says what is missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from edgead import __version__
from edgead.bundle.storage import open_bundle
from edgead.cli.main import guard
from edgead.errors import DeviceError
from edgead.files import write_file

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_environment import environment, missing, said

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 900  # seconds of a step; a build on a small Jetson takes minutes
LEAST = 5  # seconds that have to be left for a step to begin
TRTEXEC = ("trtexec", "/usr/src/tensorrt/bin/trtexec")  # on PATH; where JetPack has it
NCU = ("ncu", "/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/ncu")
MOVED = ("dram__bytes_read.sum", "dram__bytes_write.sum")
UNITS = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
MOST_TEXT = 4000  # characters kept of what a step printed

# What tells about the device and is not on every machine; its absence is not a failure.
PROBES = {
    "nvidia-smi": ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit,"
                   "clocks.sm,clocks.mem,clocks.max.sm,compute_mode", "--format=csv"],
    "nvcc": ["nvcc", "--version"],
    "nvpmodel": ["nvpmodel", "-q"],
    "clocks": ["jetson_clocks", "--show"],  # of a Jetson, for root
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
    environment: dict[str, str]
    machine: dict[str, str]
    bundle: dict[str, str]
    steps: list[Step] = field(default_factory=list)


def main() -> int:
    """Run every step, write the file after each; see the module's page for the exit code."""
    args = _arguments()
    bundle = open_bundle(args.bundle)
    if (sentence := missing()) is not None:
        raise DeviceError(sentence)
    manifest = bundle.manifest
    report = Report(
        __version__,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment(),
        {"system": platform.platform(), "python": platform.python_version(), **_probes()},
        {"name": manifest.name, "method": manifest.method, "sha256": bundle.sha256},
    )
    kept = {} if args.fresh else _kept(args.json, report)
    end = monotonic() + 60 * args.minutes
    steps = _steps(args, tuple(manifest.models), report)
    for number, (name, step) in enumerate(steps):
        left = end - monotonic()
        if name in kept:
            found = kept[name]
        elif left < LEAST:
            found = Step(name, "", False, 0.0, said="no time was left: call it again to go on")
        else:
            found = step(min(LONGEST, left))
        report.steps.append(found)
        _tell(found)
        # With what went well before and comes later: an interruption loses none of it.
        later = [kept[each] for each, _ in steps[number + 1 :] if each in kept]
        written = {**asdict(report), "steps": [asdict(each) for each in (*report.steps, *later)]}
        write_file(args.json, (json.dumps(written, indent=2) + "\n").encode())
    failed = [step.name for step in report.steps if step.ok is False]
    print(f"wrote  {args.json}: send this file back")
    print(f"result {'failed: ' + ', '.join(failed) if failed else 'every step went well'}")
    return 2 if failed else 0


def _kept(path: Path, report: Report) -> dict[str, Step]:
    """By name, what went well in a file of the same edgead, bundle and environment."""
    try:
        before = json.loads(path.read_text())
        same = all(before[key] == getattr(report, key) for key in ("edgead", "bundle"))
        if not same or before["environment"] != report.environment:
            return {}
        steps = [Step(**step) for step in before["steps"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {step.name: step for step in steps if step.ok}


Run = Callable[[float], Step]  # within so many seconds


def _steps(
    args: argparse.Namespace, models: Sequence[str], report: Report
) -> list[tuple[str, Run]]:
    bundle, images = str(args.bundle), [] if args.images is None else ["--images", str(args.images)]
    bench = ["--device", "cuda", "--device", "cpu", "--hz", "30", *images]
    reduced = [name for name in models if name != "float32"] or ["float32"]
    trtexec = next(filter(None, map(shutil.which, TRTEXEC)), None)

    def python(name: str, module: str, *words: str) -> tuple[str, Run]:
        command = [sys.executable, "-m", module, *words]
        return name, lambda seconds: run(name, command, seconds)

    def bare(name: str) -> tuple[str, Run]:
        return f"trtexec {name}", lambda seconds: trtexec_step(name, trtexec, report, seconds)

    roofline = [sys.executable, str(ROOT / "benchmarks" / "gpu_roofline.py")]
    of = [(name, ("--precision", name, "--json")) for name in reduced]
    return [
        python("doctor", "edgead", "doctor", "--json"),
        ("kernels", kernel_tests),
        ("roofline", lambda seconds: run("roofline", roofline, seconds)),
        ("traffic", lambda seconds: traffic_step([*roofline, "--once"], seconds)),
        *(python(f"build {name}", "edgead", "build", bundle, *how) for name, how in of),
        *(
            python(f"qualify {name}", "edgead", "verify", bundle, "--device", "cuda", *how)
            for name, how in of
        ),
        python("benchmark", "edgead.bench", bundle, *bench, "--json", "-"),
        *(bare(name) for name in reduced),
    ]


def traffic_step(command: Sequence[str], timeout: float) -> Step:
    """The bytes that each kernel moves between caches and device memory, as the device counts."""
    ncu = next(filter(None, map(shutil.which, NCU)), None)
    if ncu is None:
        return Step("traffic", "", None, 0.0, said="Nsight Compute (ncu) is not installed")
    words = ["--csv", "--metrics", ",".join(MOVED)]
    step = run("traffic", [ncu, *words, *command], timeout, keep=True)
    step.command = " ".join(["ncu", *words, "python", *command[1:]])
    if step.ok:
        step.found = moved_bytes(step.said)
        step.ok = bool(step.found)
        step.said = "" if step.ok else step.said
    return step


def moved_bytes(text: str) -> dict[str, float]:
    """Bytes by kernel from the table of ncu: a line for each launch and metric."""
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found: dict[str, float] = {}
    for row in csv.DictReader(lines[begin:]):
        unit = UNITS.get(row["Metric Unit"])
        if row["Metric Name"] in MOVED and unit is not None:
            value = unit * float(row["Metric Value"].replace(",", ""))
            found[row["Kernel Name"]] = found.get(row["Kernel Name"], 0.0) + value
    return found


def trtexec_step(name: str, trtexec: str | None, report: Report, seconds: float) -> Step:
    """The plan that was built, in NVIDIA's own program: times without edgead around it."""
    step = Step(f"trtexec {name}", "", None, 0.0, said="trtexec is not installed")
    built = next((s.found for s in report.steps if s.name == f"build {name}" and s.ok), None)
    if trtexec is None or built is None:
        if trtexec is not None:
            step.ok, step.said = False, "there is no plan: the build did not go well"
        return step
    begun = perf_counter()
    words = ["--useCudaGraph", "--useSpinWait", "--warmUp=1000", "--duration=5"]
    found = run(step.name, [trtexec, f"--loadEngine={built['plan']}", *words], seconds, keep=True)
    found.command = " ".join(["trtexec", "--loadEngine=PLAN", *words])
    if found.ok:
        found.found = trtexec_times(found.said)
        found.ok = "gpu_compute_ms" in found.found
        found.said = "" if found.ok else found.said
    found.seconds = round(perf_counter() - begun, 1)
    return found


def trtexec_times(text: str) -> dict[str, dict[str, float]]:
    """Milliseconds of a frame from the summary: minimum, median and so on by name."""
    found = {}
    for key, label in (("latency_ms", "Latency"), ("gpu_compute_ms", "GPU Compute Time")):
        line = re.search(rf"\] {label}: (min = .*)", text)
        if line:
            pairs = re.findall(r"([\w%()]+) = ([\d.]+) ms", line[1])
            found[key] = {name: float(value) for name, value in pairs}
    return found


def run(name: str, command: Sequence[str], timeout: float = LONGEST, *, keep: bool = False) -> Step:
    """Run ``command``; its standard output, JSON or a line of JSON each, is what it found.

    ``keep``: what it printed stays in ``said`` when it went well, too.
    """
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
    if keep and done.returncode == 0:
        said = done.stdout
    return Step(
        name, shown, done.returncode == 0, seconds, _json_of(done.stdout), said[-MOST_TEXT:]
    )


def kernel_tests(timeout: float = LONGEST) -> Step:
    """The tests of tests/gpu, counted; skipped ones mean that there was no device to run on."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        words = [sys.executable, "-m", "pytest", "-q", "tests/gpu", f"--junitxml={results}"]
        step = run("kernels", words, timeout)
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
    found = {name: text for name, command in PROBES.items() if (text := said(command))}
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
    parser.add_argument(
        "--minutes", type=float, default=20, metavar="N",
        help="for all steps together (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="keep nothing of an earlier file")
    args = parser.parse_args()
    args.bundle, args.json = args.bundle.absolute(), args.json.absolute()
    args.images = None if args.images is None else args.images.absolute()
    return args


if __name__ == "__main__":
    sys.exit(guard(main))
