"""Build the TensorRT plan of a bundle, and keep it in this user's plan cache.

With TensorRT: on the GPU or Jetson that is to run it. With TensorRT-RTX (--flavour rtx): on any
machine, also one without a GPU. A plan that is in the cache already is not built again. Ctrl-C
stops a build; nothing half-written stays.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from edgead.bundle.storage import open_bundle
from edgead.cli.console import Console, count, print_json, table
from edgead.cli.options import add, whole
from edgead.cli.signals import stopping
from edgead.errors import CancelledError, DeviceError, InputError
from edgead.files import write_file
from edgead.nvidia import devices
from edgead.nvidia.plans.builder import PRECISIONS
from edgead.nvidia.plans.cache import PlanCache
from edgead.nvidia.plans.library import Library, find_library
from edgead.nvidia.plans.plan import BuildOptions, Plan
from edgead.nvidia.plans.store import own_plan

EXAMPLE = """\
  edgead build cell.edgead                                 on a Jetson or a desktop GPU
  edgead build cell.edgead --flavour rtx                   ahead of time, no GPU needed
  edgead build cell.edgead --flavour rtx --device sm_86,sm_89
  edgead build cell.edgead --dla 0                         on a Jetson's DLA
  edgead build --list                                      the plans that are there"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead build``."""
    add(parser, "engine NAME.edgead", "the bundle", nargs="?")
    text = "tensorrt or rtx (default: tensorrt where it is installed, else rtx)"
    add(parser, "--flavour FLAVOUR", text)
    add(
        parser,
        "--device DEVICE",
        "cuda:N, the GPU to build on and for; with rtx also compute capabilities, as in "
        "sm_86,sm_89 (default: the first GPU; with rtx and no GPU, all that it covers)",
    )
    text = "float32, float16 or int8 (default: %(default)s)"
    add(parser, "--precision PRECISION", text, default="float16")
    sizes = parser.add_mutually_exclusive_group()
    text, names = "images at once: least, tuned for, most (default: 1 1 1)", ("MIN", "OPT", "MAX")
    sizes.add_argument("--batch", metavar=names, nargs=3, type=whole, help=text)
    add(sizes, "--static-batch N", "always N images at once", whole)
    add(parser, "--workspace MIB", "bound of scratch memory", whole)
    add(parser, "--dla CORE", "a Jetson's DLA; what it cannot do runs on the GPU", whole)
    add(parser, "--rebuild", "build even where there is a plan")
    add(parser, "--out PLAN", "write a copy of the plan, plain")
    add(parser, "--keep-log", "keep every line of the log")
    add(parser, "--list", "list the plans in the cache instead")
    add(parser, "--prune N", "remove all but the N plans used last instead", whole)
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Build, list or prune."""
    console = Console(json_on_stdout=args.json)
    if args.list or args.prune is not None:
        return _manage(args, console)
    if args.engine is None:
        raise InputError("edgead build: which bundle? Give NAME.edgead, or --list")
    return _build(args, console)


def _build(args: argparse.Namespace, console: Console) -> int:
    static = args.static_batch
    batch = tuple(args.batch or (1, 1, 1)) if static is None else (static,) * 3
    options = BuildOptions(batch, args.workspace, args.dla)
    if args.precision not in PRECISIONS:
        raise InputError(f"--precision {args.precision}: expected one of {', '.join(PRECISIONS)}")
    bundle = open_bundle(args.engine)
    library = find_library(args.flavour)
    console.say(f"read   {args.engine}, {count(len(bundle.manifest.files), 'file')}, all intact")
    device, index = _device(args.device, library)
    on_gpu = contextlib.nullcontext() if index is None else devices.current_device(index)
    began = time.perf_counter()
    # An exception in the middle of TensorRT's C++ would not come out whole: the build ends between
    # two steps. TensorRT 8 does not ask: there the first signal counts when the build is done.
    with on_gpu, stopping() as came, _Progress(console) as progress:
        try:
            plan = own_plan(
                bundle,
                library,
                device=device,
                precision=args.precision,
                options=options,
                rebuild=args.rebuild,
                verbose_log=args.keep_log,
                progress=progress.show,
                cancelled=lambda: came() > 0,
            )
        except CancelledError as error:
            error.exit_code = 128 + came()
            raise
    seconds = time.perf_counter() - began
    if args.out is not None:
        write_file(args.out, plan.data)
    model = bundle.manifest.models[args.precision]
    console.say(f"with   {library}, for {plan.device}, {model}")
    _tell(console, plan, seconds)
    if args.out is not None:
        console.say(f"wrote  {args.out}, a copy; loading it requires trust_plan=True")
    if args.json:
        print_json(_json(plan, seconds, args.out))
    where = f" --device cuda:{index}"
    if index is None:
        console.say("       ahead of time: on the machine with the GPU, build it in the same way")
        where = ""
    console.next(f"edgead verify {shlex.quote(args.engine)}{where}")
    return 0


def _device(asked: str | None, library: Library) -> tuple[str, int | None]:
    """The device's name and the index of the GPU to build on, which is None ahead of time."""
    if asked is None:
        try:
            return devices.find_device(0), 0
        except DeviceError as error:
            if library.flavour == "rtx":
                return "", None
            raise DeviceError(
                f"{library} builds on the GPU that is to run the plan: {error}; or build ahead of "
                "time for desktop GPUs: --flavour rtx"
            ) from error
    gpu = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", asked)
    if gpu is not None:
        index = int(gpu[1] or 0)
        return devices.find_device(index), index
    words = asked.split(",")
    if library.flavour != "rtx" or not all(re.fullmatch(r"sm_[0-9]{1,4}", word) for word in words):
        ahead = ", or compute capabilities as in sm_86,sm_89" if library.flavour == "rtx" else ""
        raise InputError(f"--device {asked}: {library} wants cuda or cuda:N{ahead}")
    return " ".join(words), None


class _Progress:
    """The phase on one line that changes, on a terminal; elsewhere only that it waits."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)

    def show(self, phase: str, done: int, steps: int) -> None:
        """See ``edgead.nvidia.plans.progress.Progress``."""
        if phase == "wait":
            self._console.say("wait   another process is building the same plan")
        elif self._live:
            share = f" {done}/{steps}" if steps > 1 else ""
            print(f"\r\x1b[2K{phase}{share}", end="", file=sys.stderr, flush=True)


def _tell(console: Console, plan: Plan, seconds: float) -> None:
    about = plan.about
    console.say(f"asked  {plan.precision}")
    console.say(f"got    {_counts(about['census'])} tensors")
    console.say(f"       {_counts(about['products'])} convolutions and matrix products")
    layers = "the engine's layers were not looked at: that needs a GPU"
    if about["layers"] is not None:
        layers = (
            f"{_counts(about['layers'])} layers with weights in the engine; fused ones show none"
        )
    console.say(f"       {layers}")
    if plan.options is not None and plan.options.dla is not None:
        off = about["off_dla"]
        of = f" of {about['layers_in_all']}" if "layers_in_all" in about else ""
        names = f": {', '.join(off[:8])}{', …' if len(off) > 8 else ''}" if off else ""
        console.say(f"DLA    {count(len(off), 'layer')}{of} on the GPU instead{names}")
    how = "found, built before" if plan.cached else f"built in {seconds:.1f} s"
    console.say(f"plan   {plan.path} ({len(plan.data) / 1e6:.1f} MB), {how}")


def _json(plan: Plan, seconds: float, out: str | None) -> dict[str, Any]:
    about = plan.about
    log = plan.path.with_suffix(".log")
    return {
        "plan": str(plan.path),
        "flavour": plan.flavour,
        "version": plan.version,
        "seconds": round(seconds if plan.cached else float(about["seconds"]), 3),
        "census": about["census"],
        "asked_precision": plan.precision,
        "products": about["products"],
        "layers": about["layers"],
        "off_dla": about["off_dla"],
        "device": plan.device,
        "options": about["options"],
        "size": len(plan.data),
        "cached": plan.cached,
        "log": str(log) if log.exists() else None,
        "out": out,
    }


def _manage(args: argparse.Namespace, console: Console) -> int:
    """--list and --prune."""
    if args.prune is not None and args.prune < 0:
        raise InputError(f"--prune {args.prune}: expected how many plans to keep, 0 or more")
    cache = PlanCache()
    removed = [] if args.prune is None else cache.prune(most_plans=args.prune)
    entries = cache.entries()
    if args.json:
        print_json(
            {
                "directory": str(cache.directory),
                "plans": [{"plan": str(e.path), "size": e.size, **e.about} for e in entries],
                "removed": [str(entry.path) for entry in removed],
            }
        )
        return 0
    if args.prune is not None:
        console.say(f"removed {count(len(removed), 'plan')}")
    if entries:
        rows = [("bundle", "precision", "library", "device", "size", "last used", "plan")]
        for e in entries:
            bundle, precision, flavour, version, device = (
                str(e.about.get(key, ""))
                for key in ("bundle", "precision", "flavour", "version", "device")
            )
            size, used = f"{e.size / 1e6:.1f} MB", time.localtime(e.used)
            when, library = time.strftime("%Y-%m-%d %H:%M", used), f"{flavour} {version}"
            rows.append((bundle, precision, library, device, size, when, e.path.name))
        for line in table(rows, right=(4,)):
            console.say(line)
    console.say(f"{count(len(entries), 'plan')} in {cache.directory}")
    return 0


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {dtype}" for dtype, number in counted.items()) or "no"
