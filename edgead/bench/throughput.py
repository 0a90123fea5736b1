"""``edgead-bench --throughput``: frames per second of one machine, in the ways it can be loaded.

Every way runs for a while in each of several rounds, in turns, so that what the machine does
meanwhile meets all of them.
"""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from platform import platform
from time import perf_counter
from typing import Any

import numpy as np

from edgead.bench import queueing, trust
from edgead.bench.inputs import bit_depth_of, kinds_of, read_input
from edgead.bench.monitor import Monitor
from edgead.bench.samples import summary
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cli.console import Console, count, print_json, table
from edgead.cli.options import target_file
from edgead.cpu.processor import cores, processor_name
from edgead.detector import Detector
from edgead.errors import InputError
from edgead.files import write_file
from edgead.installation import __version__
from edgead.monitoring.percentiles import percentile
from edgead.records.lines import to_json

SCHEMA, ROUNDS, SECONDS = 1, 3, 10.0  # seconds of each way, over all rounds
RATES_HZ = (5.0, 10.0, 30.0)  # of cameras, unless one is given

Call = Callable[[Any], object]


@dataclass
class Way:
    """One way to load the machine, and what was measured.

    Args:
        name: for people.
        calls: score a frame; each is called by a thread of its own.
        detectors: that these calls share.
        threads: of each Detector; None: the engine's choice.
        batch: frames of one call.
        latency_ms: of each call.
        rounds: frames per second in each round.
    """

    name: str
    calls: list[Call]
    detectors: int
    threads: int | None
    batch: int = 1
    latency_ms: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    @property
    def frames_per_s(self) -> float:
        """The median of the rounds."""
        return float(np.median(self.rounds))

    def to_json(self) -> dict[str, Any]:
        """One element of ``ways``."""
        return {
            "name": self.name,
            "detectors": self.detectors,
            "callers": len(self.calls),
            "threads": self.threads,
            "batch": self.batch,
            "frames_per_s": self.frames_per_s,
            "rounds": self.rounds,
            "latency": summary(self.latency_ms),
        }


def run(args: Namespace) -> int:
    """Measure and tell; exit code 0."""
    console = Console(json_on_stdout=args.json == "-")
    _check(args)
    bundle = open_bundle(args.bundles[0])
    given = read_input(args.images, bundle, bit_depth_of([bundle], args))
    with ExitStack() as stack, Monitor(1.0) as monitor:
        ways = _ways(bundle, args, stack)
        console.say(f"read   {count(len(given.frames), 'frame')}: {given.source}")
        seconds = SECONDS if args.minutes is None else 60 * args.minutes
        console.say(f"plan   {count(len(ways), 'way')}, {seconds:g} s each, in {ROUNDS} rounds")
        for way in ways:
            for call in way.calls:
                call(given.frames[0])  # memory and threads are there then
        for _ in range(ROUNDS):
            for way in ways:
                saturate(way, given.frames, seconds / ROUNDS)
    _tell(console, ways)
    fits = cameras_of(ways, RATES_HZ if args.hz is None else (args.hz,))
    for one in fits:
        console.say(
            f"about  {count(one['cameras'], 'camera')} of {one['hz']:g} frames/s by {one['way']}: "
            f"simulated from these times, at most {100 * queueing.MOST_DROPPED:g} % dropped"
        )
    doubts = [*trust.of_frames(given.frames), *trust.of_machine(monitor.readings)]
    for line in doubts:
        console.say(f"{console.paint('doubt', 'yellow')}  {line}")
    found = {
        "schema_version": SCHEMA,
        "identity": {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "edgead": __version__,
            "bundle": str(bundle.path),
            "bundle_sha256": bundle.sha256,
            "processor": processor_name(),
            "cores": cores(),
            "system": platform(),
            "frames": kinds_of(given.frames),
        },
        "ways": [way.to_json() for way in ways],
        "cameras_simulated": fits,
        "warnings": doubts,
    }
    if args.json == "-":
        print_json(found)
    elif args.json is not None:
        write_file(args.json, to_json(found))
        console.say(f"wrote  {args.json}")
    console.next(f"edgead-bench {args.bundles[0]} --hz {fits[-1]['hz']:g}")
    return 0


def _check(args: Namespace) -> None:
    """Refuse what means nothing here."""
    if len(args.bundles) > 1:
        raise InputError(f"--throughput with {len(args.bundles)} bundles: give one")
    for option in ("csv", "html", "compare", "budget_ms", "native"):
        if getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise InputError(f"--{name} with --throughput: it is about latency; leave one out")
    for option in ("minutes", "hz"):
        value = getattr(args, option)
        if value is not None and value <= 0:
            raise InputError(f"--{option} {value:g}: expected a number above 0")
    for option in ("detectors", "callers", "batch"):
        if any(value < 1 for value in getattr(args, option) or ()):
            raise InputError(f"--{option}: expected whole numbers of at least 1")
    if args.json not in (None, "-"):
        target_file(args.json, "--json")


def _ways(bundle: Bundle, args: Namespace, stack: ExitStack) -> list[Way]:
    """One Detector; several callers of it; several Detectors; the graph alone in batches."""
    asked: dict[str, Any] = {"color": args.color, "device": (args.device or ["auto"])[0]}
    asked["precision"] = (args.precision or [None])[0]
    asked["bit_depth"] = args.bit_depth
    threads: int | None = (args.threads or [None])[0]
    several = max(2, cores())

    def opened(threads: int | None) -> Detector:
        return stack.enter_context(Detector(bundle, threads=threads, **asked))

    first = opened(threads)
    ways = [Way("one Detector", [first.score], 1, threads)]
    for callers in args.callers or [several]:
        ways.append(Way(f"it, called by {callers} threads", [first.score] * callers, 1, threads))
    on_cpu = first.info()["device"].startswith("CPU")
    for number in args.detectors or [several]:
        each = threads or (max(1, cores() // number) if on_cpu else None)
        calls: list[Call] = [opened(each).score for _ in range(number)]
        ways.append(Way(f"{number} Detectors", calls, number, each))
    if on_cpu and first.info()["precision"] == "float32":
        for batch in args.batch or [4]:
            call = _in_batches(bundle, batch)
            ways.append(Way(f"the graph alone, batch of {batch}", [call], 0, None, batch))
    return ways


def _in_batches(bundle: Bundle, batch: int) -> Call:
    """The graph with a batch axis, which no Detector uses: what that would bring."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(bundle.read(bundle.manifest.model_of("float32")))
    shape = [batch, *bundle.manifest.tensors()[bundle.manifest.input_name][1:]]
    model.reshape(shape)
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def call(_: Any) -> object:
        return request.infer({0: images})

    return call


def saturate(way: Way, frames: Sequence[Any], seconds: float) -> None:
    """Let each caller score one frame after the other for so long; notes times and the rate."""
    ready = threading.Barrier(len(way.calls) + 1)
    spent: list[list[float]] = [[] for _ in way.calls]
    failed: list[BaseException] = []

    def work(index: int) -> None:
        ready.wait()
        try:
            while True:
                before = perf_counter()
                way.calls[index](frames[len(spent[index]) % len(frames)])
                now = perf_counter()
                spent[index].append(1e3 * (now - before))
                if now - started >= seconds:
                    return
        except Exception as error:  # raised where the command can say it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(way.calls))]
    started = perf_counter()
    for thread in threads:
        thread.start()
    ready.wait()
    started = perf_counter()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    taken = perf_counter() - started
    way.rounds.append(way.batch * sum(map(len, spent)) / taken)
    way.latency_ms += [ms for one in spent for ms in one]


def cameras_of(ways: Sequence[Way], rates_hz: Sequence[float]) -> list[dict[str, Any]]:
    """For each rate the cameras that the best way of Detectors carries, by the queueing model."""
    able = [way for way in ways if way.detectors == len(way.calls)]
    found = []
    for hz in rates_hz:
        fits = [queueing.most_cameras(way.latency_ms, way.detectors, hz) for way in able]
        best = int(np.argmax(fits))
        found.append({"hz": hz, "cameras": fits[best], "way": able[best].name})
    return found


def _tell(console: Console, ways: Sequence[Way]) -> None:
    head = ("way", "threads", "frames/s", "x", "p50 ms", "p99 ms")
    rows, base = [head], ways[0].frames_per_s
    for way in ways:
        p50, p99 = (percentile(way.latency_ms, p) for p in (50, 99))
        times = (f"{way.frames_per_s:.1f}", f"{way.frames_per_s / base:.2f}")
        rows.append((way.name, str(way.threads or "-"), *times, f"{p50:.2f}", f"{p99:.2f}"))
    console.say()
    for line in table(rows, right=range(1, 6)):
        console.say(line)
    console.say()
