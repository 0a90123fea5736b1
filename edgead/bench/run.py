"""One run of edgead-bench: check, open, measure, write, judge."""

from __future__ import annotations

import math
import shlex
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from platform import platform, python_version
from time import perf_counter

from edgead.bench import compare, results, text, trust
from edgead.bench.closed_loop import END_TO_END, Frame, closed_loop
from edgead.bench.inputs import Input, bit_depth_of, kinds_of, read_input
from edgead.bench.monitor import MachineReading, Monitor
from edgead.bench.native import Native, Programs
from edgead.bench.open_loop import OpenLoop
from edgead.bench.results import BenchResult
from edgead.bench.subjects import InPython, Subject
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cli.console import Console, count, print_json
from edgead.cli.options import COLOR, target_file
from edgead.cli.signals import Stopping, stopping
from edgead.cpu.processor import cores, processor_name
from edgead.detector import Detector
from edgead.errors import InputError, MissingExtraError
from edgead.files import write_file
from edgead.installation import __version__, cure, missing
from edgead.monitoring.percentiles import percentile
from edgead.records.lines import to_json

MOST_FRAMES = 10_000_000  # of an open loop; four numbers of each are held in memory
OVER_BUDGET, SLOWER = 4, 5  # exit codes


def run(args: Namespace) -> int:
    """Measure; see the command's docstring for the exit code."""
    console = Console(json_on_stdout=args.json == "-")
    _check(args)
    old = compare.read_old(Path(args.compare)) if args.compare else None
    bundles = [open_bundle(name) for name in args.bundles]
    bit_depth = bit_depth_of(bundles, args)
    given = read_input(args.images, bundles[0], bit_depth)
    with ExitStack() as stack:
        subjects = _open(bundles, args, bit_depth, given.frames, stack)
        _say_what(console, subjects, given, args)
        measured = [_describe(subject, given, args) for subject in subjects]
        interval_s = max(1.0, (args.minutes or 0) * 60 / 120)
        processes = [subject.process for subject in subjects if subject.process is not None]
        with Monitor(interval_s, processes=processes) as monitor, stopping() as came:
            _measure(measured, subjects, given, args, came)
            stop = came()
    kept_mb = sum(one.kept_bytes for one in measured) / 1e6
    common = [*trust.of_frames(given.frames), *trust.of_machine(monitor.readings, kept_mb)]
    for one in measured:
        one.warnings += [_part(one, args)] if stop else []
    _judge(measured, common, args)
    if old is not None:
        now = measured[0].to_json()
        measured[0].differences = list(compare.differences(now, old))
        measured[0].changes = list(compare.changes(now, old, args.percentile))
    text.tell(console, measured, monitor.readings)
    _write(console, args, measured, monitor.readings)
    if stop:
        console.say("stop   the numbers are those of a part of the run; budget and time not judged")
        return 128 + stop
    code = _check_budget(console, args, measured)
    if code == 0 and any(change.verdict == "slower" for change in measured[0].changes):
        code = SLOWER
    console.next(_next_command(args))
    return code


def _next_command(args: Namespace) -> str:
    """The question that this run leaves open, on the same devices and at the same cadence."""
    words = shlex.join(["edgead-bench", *args.bundles])
    kept = {
        "--device": args.device or [],
        "--precision": args.precision or [],
        "--threads": args.threads or [],
        "--color": [args.color] if args.color != COLOR else [],
        "--bit-depth": [args.bit_depth] if args.bit_depth is not None else [],
        "--hz": [f"{args.hz:g}"] if args.hz is not None else [],
        "--native": [] if args.native is None else [args.native],
    }
    settings = "".join(f" {shlex.join([o, str(v)])}" for o, values in kept.items() for v in values)
    if not args.images:
        return f"{words} --images FOLDER{settings}"
    images = shlex.join(args.images[:3]) + (" …" if len(args.images) > 3 else "")
    more = "--hz 30" if args.hz is None else "--minutes 10"
    return f"{words} --images {images}{settings} {more}"


def _check(args: Namespace) -> None:
    """Refuse at the entry point what could only fail, or mean nothing, after minutes."""
    for option, least in (("repeats", 1), ("warm_up", 0), ("cold_starts", 0)):
        value, name = getattr(args, option), option.replace("_", "-")
        if value < least:
            raise InputError(f"--{name} {value}: expected a whole number of at least {least}")
    camera = "for a camera of 30 frames per second"
    for option, number, example in (
        ("--hz", args.hz, f"30 {camera}"),
        ("--minutes", args.minutes, "10 for ten minutes"),
        ("--budget-ms", args.budget_ms, f"33 {camera}"),
    ):
        if number is not None and not 0 < number < math.inf:
            raise InputError(f"{option} {number:g}: expected a number above 0, as {example}")
    if args.html is not None and (absent := missing("bench")):
        raise MissingExtraError(
            f"--html needs {', '.join(absent)}, which is not installed: {cure('bench')}"
        )
    if args.native is not None and {*(args.device or ())} - {"auto", "cpu"}:
        raise InputError("--native with --device cuda: libedgead is measured on the CPU")
    if not 0 < args.percentile <= 100:
        raise InputError(
            f"--percentile {args.percentile:g}: expected a number above 0, at most 100, as 99"
        )
    if args.hz is not None:
        timed = args.minutes is not None
        frames = args.minutes * 60 * args.hz if timed else args.repeats
        if not 1 <= frames <= MOST_FRAMES:
            length = f"--minutes {args.minutes:g}" if timed else f"--repeats {args.repeats}"
            raise InputError(
                f"{length} at --hz {args.hz:g} is {frames:.3g} frames: "
                f"expected at least one and at most {MOST_FRAMES}; change one of them"
            )
    for option in ("json", "csv", "html"):
        path = getattr(args, option)
        if path is not None and path != "-":
            target_file(path, f"--{option}")


def _open(
    bundles: Sequence[Bundle],
    args: Namespace,
    bit_depth: int | None,
    frames: Sequence[Frame],
    stack: ExitStack,
) -> list[Subject]:
    """One, qualified, for every bundle, device, precision and number of threads; natives last."""
    programs = None if args.native is None else Programs(args.native)
    devices: list[str] = args.device or ["auto"]
    precisions: list[str | None] = args.precision or [None]
    numbers: list[int | None] = args.threads or [None]
    subjects: list[Subject] = []
    for bundle, device, precision, threads in product(bundles, devices, precisions, numbers):
        label = str(bundle.path)
        label += f" on {device}" if len(devices) > 1 else ""
        label += f" in {precision}" if len(precisions) > 1 else ""
        label += f", {count(threads or 0, 'thread')}" if len(numbers) > 1 else ""
        asked = {"device": device, "color": args.color, "threads": threads, "precision": precision}
        asked |= {} if bit_depth is None else {"bit_depth": bit_depth}
        subjects.append(InPython(label, bundle, asked, Detector(bundle, **asked), frames))
    if programs is not None:
        natives = (Native(one, programs, frames) for one in subjects[:])
        subjects += [stack.enter_context(native) for native in natives]
    return subjects


def _say_what(console: Console, subjects: Sequence[Subject], given: Input, args: Namespace) -> None:
    for subject in subjects:
        info = subject.info()
        console.say(
            f"read   {subject.label}: {info['device']}, {info['precision']}, "
            f"{info['version']}, qualified"
        )
    kinds = ", ".join(kinds_of(given.frames))
    console.say(f"read   {count(len(given.frames), 'frame')} ({kinds}): {given.source}")
    if args.hz is not None:
        number = _open_frames(args)
        console.say(
            f"plan   open loop of {count(number, 'frame')} in {number / args.hz:.1f} s, each bundle"
        )
    console.say(f"warm   {count(args.warm_up, 'call')} of each bundle before the first sample")


def _describe(subject: Subject, given: Input, args: Namespace) -> BenchResult:
    """What is measured, with its cold starts and the memory of its open loop."""
    bundle, asked = subject.bundle, subject.asked
    identity = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgead": __version__,
        "bundle": str(bundle.path),
        "name": bundle.manifest.name,
        "method": bundle.manifest.method,
        **subject.info(),
        "processor": processor_name(),
        "cores": cores(),
        "system": platform(),
        "python": python_version(),
    }
    settings = {
        "device": asked["device"],
        "threads": asked["threads"],
        "color": args.color,
        **({"bit_depth": asked["bit_depth"]} if "bit_depth" in asked else {}),
        "repeats": None if args.minutes else args.repeats,
        "minutes": args.minutes,
        "hz": args.hz,
        "warm_up": args.warm_up,
        "percentile": args.percentile,
        "budget_ms": args.budget_ms,
        "images": given.source,
        "frames": kinds_of(given.frames),
    }
    starts_ms = [subject.cold_start_ms(given.first) for _ in range(args.cold_starts)]
    loop = None if args.hz is None else OpenLoop(args.hz, _open_frames(args))
    return BenchResult(subject.label, identity, settings, {}, loop, starts_ms)


def _measure(
    measured: Sequence[BenchResult],
    subjects: Sequence[Subject],
    given: Input,
    args: Namespace,
    came: Stopping,
) -> None:
    """Warm up, then the closed loop in turns, then each one's open loop; or what a signal leaves.

    A signal ends it after the call in work. One turn of the closed loop is always made.
    """
    frames, calls = given.frames, [subject.score for subject in subjects]
    closed_loop(calls, frames, lambda turn: turn < args.warm_up and not came())
    for one, subject in zip(measured, subjects, strict=True):
        one.warnings += subject.doubts(frames[0])
    # A sustained run that is an open loop keeps --repeats.
    timed = args.minutes is not None and args.hz is None
    end_s = perf_counter() + 60 * args.minutes if timed else math.inf
    turns = math.inf if timed else args.repeats

    def goes_on(turn: int) -> bool:
        return turn == 0 or (turn < turns and perf_counter() < end_s and not came())

    series = closed_loop(calls, frames, goes_on)
    for one, found in zip(measured, series, strict=True):
        one.series = found
    results.add_ratios(measured)
    for one, subject in zip(measured, subjects, strict=True):
        if one.open_loop is not None:
            subject.open_loop(one.open_loop, came)
            one.open_loop = one.open_loop if one.open_loop.count else None
        one.rss_mb = subject.rss_mb()


def _open_frames(args: Namespace) -> int:
    """Frames that arrive in an open loop."""
    return round(args.minutes * 60 * args.hz) if args.minutes else int(args.repeats)


def _judge(measured: Sequence[BenchResult], common: Sequence[str], args: Namespace) -> None:
    """Add to each one what speaks against its numbers, ``common`` last."""
    for one in measured:
        judged: dict[str, Sequence[float]] = {**one.scopes}
        if one.open_loop is not None:
            judged["open_loop"] = one.open_loop.latency_ms
        for name, samples in judged.items():
            one.warnings += trust.of_samples(name, samples, args.percentile)
        one.warnings += common


def _part(one: BenchResult, args: Namespace) -> str:
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


def _check_budget(console: Console, args: Namespace, measured: Sequence[BenchResult]) -> int:
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
        verdict = console.paint("within", "green")
        if found > args.budget_ms:
            code, verdict = OVER_BUDGET, console.paint("over", "red")
        value = "a dropped frame" if math.isinf(found) else f"{found:.3g} ms"
        console.say(
            f"budget {verdict}: p{args.percentile:g} {scope} is {value}, allowed "
            f"{args.budget_ms:g} ms ({one.label})"
        )
    return code


def _write(
    console: Console,
    args: Namespace,
    measured: Sequence[BenchResult],
    readings: Sequence[MachineReading],
) -> None:
    whole = results.report(measured, readings)

    def write(path: str, data: bytes) -> None:
        write_file(path, data)
        console.say(f"wrote  {path}")

    if args.json == "-":
        print_json(whole)
    elif args.json is not None:
        write(args.json, to_json(whole) + b"\n")
    if args.csv is not None:
        write(args.csv, results.to_csv(measured))
    if args.html is not None:
        from edgead.bench.page import page  # needs the extra "bench"

        write(args.html, page(measured, readings))
