"""edgead train: learn from images of good parts."""

from __future__ import annotations

import argparse
import io
import json
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.cli.console import Console, print_json
from edgead.errors import EdgeadError, TrainingError

if TYPE_CHECKING:
    from ..run_record import TrainingOptions

_METHODS = ("agpnet", "arnet", "redi", "ssae")  # named here too, so that --help needs no torch
_PASSED_ON = ("preset", "layout", "category", "group", "shots", "textures", "device")
EXAMPLE = "  edgead train redi photos/ --out runs/cell --minutes 10"


_OPTIONS: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("--seed", "S", int, "default 0"),
    ("--calibration", "F", float,
     "share of the good images held out to set the threshold (default 0.2)"),
    ("--preset", "NAME", str,
     "edge (default; small and fast), paper (sizes of the publication) or, for redi and agpnet, "
     "loose (edge, for parts that lie anywhere amid background); --set goes over it"),
    ("--shots", "K", int, "learn from K good images (of every category), to see what few will do"),
    ("--group", "REGEX", str,
     "keep images of one part together: the first group in an image's name is the part"),
    ("--textures", "DIR", Path,
     "for ssae: pictures of other things that fill synthetic defects (default: made up)"),
    ("--tile", "PIXELS", int, "learn from square tiles of the images, and let the bundle see "
     "frames in tiles: for defects much smaller than the frame"),
    ("--tile-overlap", "PIXELS", int,
     "of neighbouring tiles, at least (default: an eighth of the tile)"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("method", metavar="METHOD", help=f"one of: {', '.join(_METHODS)}")
    parser.add_argument(
        "data", metavar="DATA", type=Path,
        help="folder of good images, or a data set; docs/data.md has the layouts",
    )  # fmt: skip
    parser.add_argument("--out", metavar="RUN", type=Path, required=True, help="folder of the run")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--minutes", type=float, metavar="M", help="train at most M minutes")
    bound.add_argument("--steps", type=int, metavar="N", help="train N steps in all")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a setting of the method, such as size=[256,256]; docs/methods.md lists them",
    )  # fmt: skip
    for name, metavar, kind, text in _OPTIONS:
        parser.add_argument(name, metavar=metavar, type=kind, help=text)
    add_data_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in RUN")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where to train; auto (the default) is cuda where torch finds a GPU",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """What train and evaluate have in common about DATA."""
    parser.add_argument(
        "--layout", metavar="NAME",
        help="layout of DATA, where it is not recognised: visa, mvtec3d, ksdd2, frames, "
        "oneclass, mvtec, sorted or folder (all images are of good parts)",
    )  # fmt: skip
    parser.add_argument(
        "--category", metavar="NAME",
        help="one category of DATA (default: all together); of folders of classes, or with names "
        "that do not say it, the one that is good",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Train; returns 0, or 128 + the signal that stopped it."""
    from ..processes import is_first

    if is_first():
        return _train(args)
    try:  # what this one has to say, the first process says too
        with redirect_stdout(io.StringIO()):
            return _train(args)
    except EdgeadError as error:
        return error.exit_code


def _train(args: argparse.Namespace) -> int:
    from ..fit import Interrupted
    from ..processes import launcher
    from ..progress import Reporter, cleared, progress, training_bar
    from ..run import train

    console = Console(json_on_stdout=args.json)
    options = _options(args)
    try:
        with cleared():
            reporter = Reporter(console.say, progress, training_bar())
            result = train(options, resume=args.resume, reporter=reporter)
    except Interrupted as stop:
        console.say(f"{stop}; what is done so far is kept in {args.out}")
        words = ["train", args.method, str(args.data), "--out", str(args.out), "--resume"]
        words += [] if args.device == "auto" else ["--device", args.device]
        console.next(shlex.join([*launcher(), *words]))
        return stop.exit_code
    provenance = result.provenance
    console.say(f"done   {provenance['steps']} steps in {provenance['train_seconds']:.0f} s")
    console.say(f"wrote  {args.out}")
    console.next(shlex.join(["edgead", "export", str(args.out), "--out", f"{result.name}.edgead"]))
    if args.json:
        print_json({"run": str(args.out), **provenance, "left_out": dict(result.left_out)})
    return 0


def _options(args: argparse.Namespace) -> TrainingOptions:
    from edgead.tiling import Tiling

    from ..fit import Bounds
    from ..run_record import TrainingOptions

    tiling = None
    if args.tile is not None:
        overlap = args.tile // 8 if args.tile_overlap is None else args.tile_overlap
        tiling = Tiling((args.tile, args.tile), overlap)
    elif args.tile_overlap is not None:
        raise TrainingError("--tile-overlap without --tile: give the size of the tiles too")
    return TrainingOptions(
        args.method, args.data, args.out, dict(map(read_setting, args.settings)), args.seed,
        Bounds(args.steps, args.minutes), args.calibration, tiling=tiling,
        **{key: getattr(args, key) for key in _PASSED_ON},
    )  # fmt: skip


def read_setting(pair: str) -> tuple[str, Any]:
    """KEY=VALUE to both; the value is JSON, or else a plain word. Raises: TrainingError."""
    key, equals, text = pair.partition("=")
    if not key or not equals:
        raise TrainingError(f"--set {pair} cannot be read; write --set KEY=VALUE")
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text
