"""One run of edgead-bench: check, open, measure, write, judge."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from platform import platform, python_version
from time import perf_counter

from edgead.bench import compare, results, text, trust
from edgead.bench.closed_loop import END_TO_END, Frame, closed_loop
from edgead.bench.cold_start import cold_start
from edgead.bench.monitor import Monitor
from edgead.bench.open_loop import OpenLoop, open_loop
from edgead.bench.results import BenchResult
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cli.console import Console, count, print_json
from edgead.cli.options import target_file
from edgead.cli.signals import Stopping, exit_code, stopping
from edgead.cpu.processor import cores, processor_name
from edgead.detector import Detector
from edgead.errors import InputError, MissingExtraError
from edgead.files import write_file
from edgead.images import decode_image, expand, read_image
from edgead.installation import __version__, cure, missing
from edgead.monitoring.percentiles import percentile

MOST_FRAMES = 10_000_000  # of an open loop; four numbers of each are held in memory
OVER_BUDGET, SLOWER = 4, 5  # exit codes
MOST_IMAGES = 100  # held in memory at once; the others of a folder are left out, and that is said


@dataclass
class Subject:
    """A bundle on a device, opened."""

    label: str
    detector: Detector
    device: str
    threads: int | None
    precision: str | None


@dataclass(frozen=True)
class Input:
    """The frames, and a path of the first one for a process of its own."""

    frames: list[Frame]
    first: Path
    source: str


def run(args: argparse.Namespace) -> int:
    """Measure; see the command's docstring for the exit code."""
    console = Console(json_on_stdout=args.json == "-")
    _check(args)
    old = compare.read_old(Path(args.compare)) if args.compare else None
    bundles = [open_bundle(name) for name in args.bundles]
    given = _read_input(args.images, bundles[0])
    subjects = _open(bundles, args)
    _say_what(console, subjects, given, args)
    measured = [_describe(subject, given, args) for subject in subjects]
    for one, subject in zip(measured, subjects, strict=True):
        one.cold_starts_ms = _cold_starts(subject, given, args)
    if args.hz is not None:
        for one in measured:  # before the memory is watched
            one.open_loop = OpenLoop(args.hz, _open_frames(args))
    interval_s = max(1.0, (args.minutes or 0) * 60 / 120)
    with Monitor(interval_s) as monitor, stopping() as came:
        _measure(measured, subjects, given, args, came)
        stop = came()
    _judge(measured, given, monitor, args, stopped=bool(stop))
    if old is not None:
        now = measured[0].to_json()
        measured[0].differences = list(compare.differences(now, old))
        measured[0].changes = list(compare.changes(now, old, args.percentile))
    text.tell(console, measured, monitor.readings)
    _write(console, args, measured, monitor)
    if stop:
        console.say("stop   the numbers are those of a part of the run; budget and time not judged")
        return exit_code(stop)
    code = _check_budget(console, args, measured)
    if code == 0 and any(change.verdict == "slower" for change in measured[0].changes):
        code = SLOWER
    console.next(_next_command(args))
    return code


def _next_command(args: argparse.Namespace) -> str:
    """The question that this run leaves open, on the same devices and at the same cadence."""
    words = shlex.join(["edgead-bench", *(str(name) for name in args.bundles)])
    kept = [("--device", device) for device in args.device or ()]
    kept += [("--precision", precision) for precision in args.precision or ()]
    kept += [("--threads", str(threads)) for threads in args.threads or ()]
    kept += [("--color", args.color)] if args.color != "bgr" else []
    kept += [("--hz", f"{args.hz:g}")] if args.hz is not None else []
    settings = "".join(f" {option} {shlex.quote(value)}" for option, value in kept)
    if not args.images:
        return f"{words} --images FOLDER{settings}"
    images = shlex.join(args.images[:3]) + (" …" if len(args.images) > 3 else "")
    return f"{words} --images {images}{settings} " + (
        "--hz 30" if args.hz is None else "--minutes 10"
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse at the door what could only fail, or mean nothing, after minutes."""
    for option, value, least in (
        ("--repeats", args.repeats, 1),
        ("--warm-up", args.warm_up, 0),
        ("--cold-starts", args.cold_starts, 0),
    ):
        if value < least:
            raise InputError(f"{option} {value}: expected a whole number of at least {least}")
    for option, number, example in (
        ("--hz", args.hz, "30 for a camera of 30 frames per second"),
        ("--minutes", args.minutes, "10 for ten minutes"),
        ("--budget-ms", args.budget_ms, "33 for a camera of 30 frames per second"),
    ):
        if number is not None and not 0 < number < math.inf:
            raise InputError(f"{option} {number:g}: expected a number above 0, as {example}")
    if args.html is not None and (absent := missing("bench")):
        raise MissingExtraError(
            f"--html needs {', '.join(absent)}, which is not installed: {cure('bench')}"
        )
    if not 0 < args.percentile <= 100:
        raise InputError(
            f"--percentile {args.percentile:g}: expected a number above 0, at most 100, as 99"
        )
    if args.hz is not None and args.minutes is not None:
        frames = args.minutes * 60 * args.hz
        if not 1 <= frames <= MOST_FRAMES:
            raise InputError(
                f"--minutes {args.minutes:g} at --hz {args.hz:g} is {frames:.3g} frames: "
                f"expected at least one and at most {MOST_FRAMES}; change one of them"
            )
    for option in ("json", "csv", "html"):
        path = getattr(args, option)
        if path is not None and path != "-":
            target_file(path, f"--{option}")


def _read_input(arguments: Sequence[str], bundle: Bundle) -> Input:
    """The images named, or the golden frames of ``bundle``; decoded, in memory."""
    if not arguments:
        names = [golden.image for golden in bundle.manifest.golden]
        frames = [decode_image(bundle.read(name), name) for name in names]
        return Input(frames, bundle.path_of(names[0]), f"golden frames of {bundle.path}")
    paths = expand(arguments)
    used = paths[:MOST_IMAGES]
    source = " ".join(arguments)
    if len(used) < len(paths):
        source += f", the first {len(used)} of {len(paths)}"
    return Input([read_image(path) for path in used], used[0], source)


def _open(bundles: Sequence[Bundle], args: argparse.Namespace) -> list[Subject]:
    """A qualified Detector for every bundle, device, precision and number of threads."""
    devices: list[str] = args.device or ["auto"]
    precisions: list[str | None] = args.precision or [None]
    numbers: list[int | None] = args.threads or [None]
    subjects = []
    for bundle, device, precision, threads in product(bundles, devices, precisions, numbers):
        label = str(bundle.path)
        if len(devices) > 1:
            label += f" on {device}"
        if len(precisions) > 1:
            label += f" in {precision}"
        if len(numbers) > 1:
            label += f", {count(threads or 0, 'thread')}"
        detector = Detector(
            bundle, device=device, color=args.color, threads=threads, precision=precision
        )
        subjects.append(Subject(label, detector, device, threads, precision))
    return subjects


def _say_what(
    console: Console, subjects: Sequence[Subject], given: Input, args: argparse.Namespace
) -> None:
    for subject in subjects:
        info = subject.detector.info()
        console.say(
            f"read   {subject.label}: {info['device']}, {info['precision']}, "
            f"{info['version']}, qualified"
        )
    kinds = ", ".join(_kinds(given.frames))
    console.say(f"read   {count(len(given.frames), 'frame')} ({kinds}): {given.source}")
    if args.hz is not None:
        number = _open_frames(args)
        console.say(
            f"plan   open loop of {count(number, 'frame')} in {number / args.hz:.1f} s, each bundle"
        )
    console.say(f"warm   {count(args.warm_up, 'call')} of each bundle before the first sample")


def _describe(subject: Subject, given: Input, args: argparse.Namespace) -> BenchResult:
    bundle = subject.detector.bundle
    identity = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgead": __version__,
        "bundle": str(bundle.path),
        "name": bundle.manifest.name,
        "method": bundle.manifest.method,
        **subject.detector.info(),
        "processor": processor_name(),
        "cores": cores(),
        "system": platform(),
        "python": python_version(),
    }
    settings = {
        "device": subject.device,
        "threads": subject.threads,
        "color": args.color,
        "repeats": None if args.minutes else args.repeats,
        "minutes": args.minutes,
        "hz": args.hz,
        "warm_up": args.warm_up,
        "percentile": args.percentile,
        "budget_ms": args.budget_ms,
        "images": given.source,
        "frames": _kinds(given.frames),
    }
    return BenchResult(subject.label, identity, settings, {})


def _kinds(frames: Sequence[Frame]) -> list[str]:
    """Type and shape of the frames, each once, as "uint8 480 x 640 x 3"."""
    return sorted({f"{frame.dtype} {' x '.join(map(str, frame.shape))}" for frame in frames})


def _cold_starts(subject: Subject, given: Input, args: argparse.Namespace) -> list[float]:
    threads = "engine" if subject.threads is None else str(subject.threads)
    path = str(subject.detector.bundle.path)
    precision = subject.precision or "device"
    words = [path, str(given.first), subject.device, args.color, threads, precision]
    return [cold_start(words) for _ in range(args.cold_starts)]


def _measure(
    measured: Sequence[BenchResult],
    subjects: Sequence[Subject],
    given: Input,
    args: argparse.Namespace,
    came: Stopping,
) -> None:
    """Warm up, then the closed loop in turns, then each one's open loop; or what a signal leaves.

    A signal ends it after the call in work. One turn of the closed loop is always made.
    """
    calls = [subject.detector.score for subject in subjects]

    def warming(turn: int) -> bool:
        return turn < args.warm_up and not came()

    closed_loop(calls, given.frames, warming)
    bound = _bound(args)

    def goes_on(turn: int) -> bool:
        return turn == 0 or (bound(turn) and not came())

    series = closed_loop(calls, given.frames, goes_on)
    for one, found in zip(measured, series, strict=True):
        one.series = found
    results.add_ratios(measured)
    for one, subject in zip(measured, subjects, strict=True):
        if one.open_loop is not None:
            _serve_open_loop(subject.detector, given.frames, one.open_loop, came)
            one.open_loop = one.open_loop if one.open_loop.count else None


def _bound(args: argparse.Namespace) -> Callable[[int], bool]:
    """Whether another turn follows. A sustained run that is an open loop keeps ``--repeats``."""
    if args.minutes is None or args.hz is not None:
        return lambda turn: turn < args.repeats
    end = perf_counter() + 60 * args.minutes
    return lambda _: perf_counter() < end


def _open_frames(args: argparse.Namespace) -> int:
    """Frames that arrive in an open loop."""
    return round(args.minutes * 60 * args.hz) if args.minutes else int(args.repeats)


def _serve_open_loop(
    detector: Detector, frames: Sequence[Frame], loop: OpenLoop, came: Stopping
) -> None:
    def serve(index: int) -> None:
        detector.score(frames[index % len(frames)])

    open_loop(serve, loop, stopped=came)


def _judge(
    measured: Sequence[BenchResult],
    given: Input,
    monitor: Monitor,
    args: argparse.Namespace,
    *,
    stopped: bool,
) -> None:
    """Add to each one what speaks against its numbers."""
    kept = sum(one.kept_bytes for one in measured)
    common = [*trust.of_frames(given.frames), *trust.of_machine(monitor.readings, kept / 1e6)]
    for one in measured:
        if stopped:
            one.warnings.append(_part(one, args))
        for name, samples in one.scopes.items():
            one.warnings += trust.of_samples(name, samples, args.percentile)
        if one.open_loop is not None:
            latency = list(one.open_loop.latency_ms)
            one.warnings += trust.of_samples("open_loop", latency, args.percentile)
        one.warnings += common


def _part(one: BenchResult, args: argparse.Namespace) -> str:
    """What a run that was stopped has of what was asked for."""
    turns = len(one.series[END_TO_END])
    if args.minutes is None or args.hz is not None:
        text = f"{turns} of {count(args.repeats, 'turn')} of the closed loop"
    else:
        text = f"{count(turns, 'turn')} of the closed loop, not {args.minutes:g} minutes of it"
    if args.hz is not None:
        arrived = one.open_loop.count if one.open_loop else 0
        text += f", {arrived} of {count(_open_frames(args), 'frame')} of the open loop"
    return f"stopped: a signal ended the run; it has {text}: measure again for the whole"


def _check_budget(
    console: Console, args: argparse.Namespace, measured: Sequence[BenchResult]
) -> int:
    """Say for each one whether it keeps the budget; the exit code."""
    if args.budget_ms is None:
        return 0
    code = 0
    for one in measured:
        if one.open_loop is not None:
            scope, found = "open loop", one.open_loop.percentile_ms(args.percentile)
        else:
            samples = one.scopes[END_TO_END]
            scope, found = "end to end", percentile(samples, args.percentile)
        over = found > args.budget_ms
        verdict = console.paint("over", "red") if over else console.paint("within", "green")
        value = "a dropped frame" if math.isinf(found) else f"{found:.3g} ms"
        console.say(
            f"budget {verdict}: p{args.percentile:g} {scope} is {value}, allowed "
            f"{args.budget_ms:g} ms ({one.label})"
        )
        code = OVER_BUDGET if over else code
    return code


def _write(
    console: Console, args: argparse.Namespace, measured: Sequence[BenchResult], monitor: Monitor
) -> None:
    machine = {
        "readings": [reading.to_json() for reading in monitor.readings],
        "rss_growth_mb": trust.rss_growth_mb(monitor.readings),
    }
    whole = results.report(measured, machine)
    if args.json == "-":
        print_json(whole)
    if args.json not in (None, "-"):
        write_file(args.json, results.to_json_text(whole))
        console.say(f"wrote  {args.json}")
    if args.csv is not None:
        write_file(args.csv, results.to_csv(measured))
        console.say(f"wrote  {args.csv}")
    if args.html is not None:
        from edgead.bench.page import page  # needs the extra "bench"

        write_file(args.html, page(measured, monitor.readings))
        console.say(f"wrote  {args.html}")
