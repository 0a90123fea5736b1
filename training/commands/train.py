"""edgead train: learn from images of good parts."""

from __future__ import annotations

import argparse
import io
import json
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from edgead.cli.console import Console, print_json
from edgead.cli.options import add, add_bit_depth, add_tiles, file_path, number, tiling, whole, word
from edgead.errors import EdgeadError, TrainingError, shortened

if TYPE_CHECKING:
    from ..features.choice import BackboneChoice
    from ..run_record import TrainingOptions

_METHODS = ("agpnet", "arnet", "redi", "ssae")  # named here too, so that --help needs no torch
_PASSED_ON = (
    "preset",
    "layout",
    "category",
    "group",
    "shots",
    "bit_depth",
    "textures",
    "device",
    "precision",
)
EXAMPLE = "  edgead train redi photos/ --out runs/cell --minutes 10"


_OPTIONS: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("--seed S", whole, "default 0"),
    ("--calibration F", number,
     "share of the good images held out to set the threshold (default 0.2)"),
    ("--preset NAME", word,
     "edge (default; small and fast) or paper (sizes of the publication); --set goes over it"),
    ("--shots K", whole,
     "learn from K good images (of every category), to see what few will do"),
    ("--group REGEX|FILE", word,
     "keep images of one part together: the first group in an image's name is the part, or a list "
     ".csv or .json of images and their parts says it"),
    ("--textures DIR", file_path,
     "for ssae: pictures of other things that fill synthetic defects (default: made up)"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add(parser, "method METHOD", f"one of: {', '.join(_METHODS)}")
    text = "folder of good images, or a data set; docs/data.md has the layouts"
    add(parser, "data DATA", text, file_path)
    add(parser, "--out RUN", "folder of the run", file_path, required=True)
    bound = parser.add_mutually_exclusive_group()
    add(bound, "--minutes M", "train at most M minutes", number)
    add(bound, "--steps N", "train N steps in all", whole)
    text = "a setting of the method, such as size=[256,256]; docs/methods.md lists them"
    add(parser, "--set KEY=VALUE", text, action="append", default=[], dest="settings")
    for words, kind, text in _OPTIONS:
        add(parser, words, text, kind)
    add_backbone(parser)
    add_tiles(parser)
    add_data_arguments(parser)
    add_bit_depth(parser, "16")
    add(parser, "--resume", "go on from the checkpoint in RUN")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where to train; auto (the default) is cuda where torch finds a GPU",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"),
        help="of products and convolutions while training (default: bfloat16 on a CPU with "
        "instructions for it, else float32)",
    )  # fmt: skip
    add(parser, "--json", "one JSON object on stdout")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """What train and evaluate have in common about DATA."""
    text = (
        "layout of DATA, where it is not recognised: visa, mvtec3d, ksdd2, frames, oneclass, "
        "mvtec, sorted or folder (all images are of good parts)"
    )
    add(parser, "--layout NAME", text)
    text = (
        "one category of DATA (default: all together); of folders of classes, or with names that "
        "do not say it, the one that is good"
    )
    add(parser, "--category NAME", text)


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """What redi and agpnet take their features from."""
    text = "for redi and agpnet: lite0 (default), lite1, lite2, timm:NAME, or FILE.onnx, which "
    text += "edgead backbone writes"
    add(parser, "--backbone NETWORK", text)
    text = (
        "of the backbone: a file of safetensors, random, or, for timm:NAME, download, which alone "
        "goes to the network"
    )
    add(parser, "--weights FILE", text)
    add(parser, "--mean R,G,B", "mean that the weights in FILE were trained with, where 1 is white")
    add(parser, "--std R,G,B", "standard deviation, likewise")
    add(parser, "--licence TEXT", "of the weights in FILE, where it does not say")


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
    if found := provenance.get("found"):
        console.say(f"found  {found}")
    console.say(f"done   {provenance['steps']} steps in {provenance['train_seconds']:.0f} s")
    console.say(f"wrote  {args.out}")
    console.next(shlex.join(["edgead", "export", str(args.out), "--out", f"{result.name}.edgead"]))
    if args.json:
        more = {"left_out": dict(result.left_out)}
        print_json({"run": str(args.out), "warnings": [], **provenance, **more})
    return 0


def _options(args: argparse.Namespace) -> TrainingOptions:
    from ..fit import Bounds
    from ..run_record import TrainingOptions

    return TrainingOptions(
        args.method, args.data, args.out, dict(map(read_setting, args.settings)), args.seed,
        Bounds(args.steps, args.minutes), args.calibration, tiling=tiling(args),
        backbone=_backbone(args),
        **{key: getattr(args, key) for key in _PASSED_ON},
    )  # fmt: skip


def _backbone(args: argparse.Namespace) -> BackboneChoice:
    from ..features.choice import BackboneChoice

    mean, std = (_triple(f"--{key}", getattr(args, key)) for key in ("mean", "std"))
    return BackboneChoice(args.backbone, args.weights, mean, std, args.licence)


def _triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        r, g, b = (number(part) for part in text.split(","))
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise TrainingError(
            f"{option} {shortened(text)}: expected three numbers, of R, G and B"
        ) from error
    return r, g, b


def read_setting(pair: str) -> tuple[str, Any]:
    """KEY=VALUE to both; the value is JSON, or else a plain word. Raises: TrainingError."""
    key, equals, text = pair.partition("=")
    if not key or not equals:
        raise TrainingError(f"--set {shortened(pair, 60)} cannot be read; write --set KEY=VALUE")
    try:
        return key, json.loads(text)
    except (ValueError, RecursionError):
        return key, text
