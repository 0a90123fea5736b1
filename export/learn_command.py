"""Learn from images of good parts in seconds, without training: a qualified bundle at once.

A frozen network turns the images into features, and what good parts look like is kept in the
bundle. Neither torch nor a GPU is needed, so a device can learn where its camera is. The network
is a backbone file, or is taken from another bundle that was learnt; without either, it is lite0,
which is made once, with the extra train, and kept in the user's cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgead_training.data import Dataset, Parts, open_dataset
from edgead_training.data.grouping import name_of
from edgead_training.data.splitting import check_rate_of_parts
from edgead_training.run_division import divided

from edgead.bundle.known_images import contents_of
from edgead.bundle.storage import MANIFEST, Draft, check_out, open_bundle
from edgead.calibration import (
    chosen_false_reject_rate,
    default_false_reject_rate,
    images_needed,
)
from edgead.cli.console import Console, percent, progress_line
from edgead.cli.options import (
    DEVICE,
    add,
    add_bit_depth,
    add_card,
    add_false_reject_rate,
    add_tiles,
    file_path,
    number,
    tiling,
    told_for_card,
    whole,
)
from edgead.errors import InputError, MissingExtraError
from edgead.files import os_sentence, user_cache
from edgead.images import ORIENTATION
from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.defects import check_not_good, defects_in
from edgead.learning.features import most_images
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import METHOD, MODEL, LearnOptions, empty_draft, learnt_draft, opened
from edgead.learning.variants import MakeGraph

from .learn_line import add_to, forget_last
from .learn_page import Page, check_report
from .learn_steps import Said, bar, compared, finish, good_images, settled

EXAMPLE = """\
  edgead learn good/ --out part.edgead
  edgead learn good/ --out part.edgead --report report --trim
  edgead learn good/ --out other.edgead --like part.edgead
  edgead learn part.edgead --add rejected/ --calibrate sample/ --out part.edgead
  edgead learn part.edgead --forget --out part.edgead"""

DEFAULT, MADE = "lite0", ("lite0", "lite1", "lite2")  # named here too, so that torch is not loaded
SHARE = 0.2  # of the good images that set the threshold, as for train
SIDE, MEMORY = 256, 4096

FROM_A_FOLDER = (
    "backbone", "like", "size", "calibration", "layout", "category", "bit_depth", "seed",
    "trim", "tile", "tile_overlap", "placement", "data_licence", "card", "all_images", "ray",
)  # fmt: skip
"""Options of learning from a folder, which a bundle that was learnt has decided already."""
PACKAGES = {"float16": ("onnx", "onnxruntime"), "int8": ("onnx", "onnxruntime")}
"""What makes the graph of the network in a precision."""
PEAKS = 8  # images whose values may not come near the end of float16


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead learn``."""
    add(parser, "data DATA", "folder of images of good parts, or a data set; docs/data.md has the "
        "layouts. With --add and --forget: the bundle", file_path)
    add(parser, "--out NAME.edgead", "the bundle to write", file_path, required=True)
    network = parser.add_mutually_exclusive_group()
    add(network, "--backbone NETWORK", f"{', '.join(MADE)}, from this user's cache, or a file "
        f"FILE.onnx, as edgead backbone writes it (default: {DEFAULT})", file_path)
    add(network, "--like NAME.edgead", "take the network of another bundle that was learnt",
        file_path)
    add(parser, "--size PIXELS", f"side of the square that frames are brought to (default: {SIDE})",
        whole)
    add_tiles(parser)
    add(parser, "--memory N", "features of good parts that are kept, at most (default: "
        f"{MEMORY}; with --add, as before)", whole)
    add(parser, "--placement NAME", "how the part lies before the camera: aligned, loose, filling "
        "the frame, or unknown: a memory alone (default: found)")
    parser.add_argument("--precision", action="append", choices=("float32", *PACKAGES), default=[],
        help="add a graph in float16, for GPUs, or in int8, which edgead score --precision int8 "
        "serves; may be given twice. With --add: which of the bundle's graphs are kept besides "
        "float32 (default: all)")
    add(parser, "--calibration F", "share of the good images held out to set the threshold "
        f"(default: {SHARE:g})", number)
    add(parser, "--all-images", "learn means, covariances and memory of every image "
        "(default: of as many as are held in memory, evenly chosen)")
    add(parser, "--ray ADDRESS", "with --all-images: on the Ray cluster at ADDRESS (default: of "
        "RAY_ADDRESS, else started here)", nargs="?", const=True)
    add_false_reject_rate(parser)
    add(parser, "--group REGEX|FILE", "keep images of one part together: the first group in an "
        "image's name is the part, or a list .csv or .json of images and their parts says it")
    add(parser, "--layout NAME", "layout of DATA, where it is not recognised, as for train")
    add(parser, "--category NAME", "one category of DATA, as for train")
    add_bit_depth(parser, "16")
    add(parser, "--seed S", "of the division and of what is kept (default: 0)", whole)
    add(parser, "--device DEVICE", "auto, cpu or cuda[:N]: gives the features, and reproduces the "
        f"golden frames (default: {DEVICE})")
    add(parser, "--threads N", "threads of the engine", whole)
    add(parser, "--trim", "leave out good images that are out of line with the others")
    add(parser, "--defects DIR", "images of known defects: how many are caught is said, and the "
        "threshold stays as it is", file_path)
    add(parser, "--report DIR", "write DIR/index.html: the good images that are least like the "
        "others, what was added, known defects")
    line = parser.add_mutually_exclusive_group()
    add(line, "--add IMAGE", "folders or images of good parts that were rejected: DATA is a bundle "
        "of edgead learn, and learns them too", nargs="+")
    add(line, "--forget", "write the bundle as it was before the last --add")
    add(parser, "--calibrate DIR", "with --add: a random sample of all good parts, which sets the "
        "threshold", file_path)
    add(parser, "--force", "with --add: learn from images that score far above all good ones")
    add_card(parser)
    add(parser, "--json", "one JSON object on stdout")
# fmt: on


def run(args: argparse.Namespace) -> int:
    """Learn, and say what was read, written and comes next; returns the exit code.

    Raises:
        EdgeadError: as ``learn_folder``, ``add_to`` and ``forget_last``.
    """
    console = Console(json_on_stdout=args.json)
    _check_options(args)
    if args.forget:
        return forget_last(args, console)
    check_report(args.report)
    return add_to(args, console) if args.add is not None else learn_folder(args, console)


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together. Raises: InputError."""
    mode = "--forget" if args.forget else "--add" if args.add is not None else ""
    without = [("calibrate", "--add"), ("force", "--add")]
    given = [(name, cause) for name, cause in without if mode != "--add" and getattr(args, name)]
    if given:
        raise InputError(f"--{given[0][0]} goes with {given[0][1]} only; leave it out")
    decided = FROM_A_FOLDER if mode else ()
    if mode == "--forget":
        decided += (
            *("precision", "memory", "false_reject_rate", "defects", "report", "threads"),
            *("device", "group"),
        )
    for name in decided:
        value = getattr(args, name)
        if value is not None and value is not False and value != []:  # 0 was given as well
            raise InputError(
                f"--{name.replace('_', '-')} does not go with {mode}: the bundle has decided it; "
                "leave it out"
            )
    if args.ray and not args.all_images:
        raise InputError("--ray without --all-images: it is for statistics of all images; add it")
    if args.calibration is not None and not 0 < args.calibration < 1:
        raise InputError(f"--calibration {args.calibration} is not a share; give 0 < F < 1")


def learn_folder(args: argparse.Namespace, console: Console) -> int:
    """Learn from a folder of good images.

    Raises:
        EdgeadError: as ``open_dataset``, ``divide``, ``read_backbone`` and ``learn``.
    """
    started, out = time.monotonic(), check_out(args.out)
    side = SIDE if args.size is None else args.size
    share = SHARE if args.calibration is None else args.calibration
    options = LearnOptions(
        size=(side, side),
        memory=MEMORY if args.memory is None else args.memory,
        tiling=tiling(args),
        false_reject_rate=args.false_reject_rate,
        bit_depth=args.bit_depth,
        threads=args.threads,
        seed=args.seed or 0,
        placement=args.placement,
        device=settled(args, console),
    )
    if os.path.isfile(args.data / MANIFEST):  # False where it may not be looked
        raise InputError(
            f"{args.data} is a bundle; give a folder of good images, or say what it learns with "
            "--add IMAGES, or --forget"
        )
    card = told_for_card(args)
    dataset = open_dataset(args.data, layout=args.layout, category=args.category)
    console.say(f"read   {args.data}: {dataset.summary()}")
    for line in dataset.notes():
        console.say(f"note   {line}")
    defects = defects_in(args.defects, args.bit_depth) if args.defects else []
    backbone = _backbone(args, console)
    opened(empty_draft(out, backbone, options), backbone, options)  # before minutes of reading
    graphs = {name: _graph(args, name, backbone) for name in args.precision if name in PACKAGES}
    chosen = {"group": args.group, "shots": None}
    found = divided(dataset, options.seed, share, chosen, bar, args.bit_depth)
    said = Said(console, Page(out.stem), list(found.warnings))
    check_not_good(defects, contents_of(*(map(bytes.fromhex, part) for part in found.digests)))
    parts, about = compared(args, found, backbone, options, said)
    _tell_split(*map(len, parts), backbone, options, said, every=args.all_images)
    shows = {} if args.group is None else found.shows
    if shows:
        _tell_parts(args, shows, parts, said)
    known = {sample.name: digest for part, digests in zip(found.parts, found.digests, strict=True)
             for sample, digest in zip(part, digests, strict=True)}  # fmt: skip
    digests = ([bytes.fromhex(known[sample.name]) for sample in part] for part in parts)
    images, calibration = (good_images(part, args.bit_depth, shows) for part in parts)
    draft = learnt_draft(
        images, calibration, backbone, out, options,
        graphs=graphs,
        provenance={**ORIENTATION, "data": _about(dataset, args), **contents_of(*digests),
                    **about.provenance, **card},
        progress=progress_line,
        held=about.held,
        refine=_of_all(args, images, options),
    )  # fmt: skip
    return finish(args, said, draft, defects, {
        "images": len(parts[0]), "left_out": dict(dataset.left_out), **about.told,
    }, started, options.device)  # fmt: skip


def _of_all(
    args: argparse.Namespace, images: list[GoodImage], options: LearnOptions
) -> Callable[[Draft], Draft] | None:
    """How what was learnt becomes that of all images, where it was asked for."""
    if not args.all_images:
        return None
    from edgead.scale.learning import refiner

    return refiner(images, options, ray=args.ray or False, progress=progress_line)


def _tell_split(
    n: int,
    calibration: int,
    backbone: Backbone,
    options: LearnOptions,
    said: Said,
    *,
    every: bool,
) -> None:
    """Say how many images are learnt from, with a warning where features of fewer are held."""
    said.console.say(f"split  {n} to learn from, {calibration} to calibrate with")
    features, (height, width) = backbone.facts.features, options.size
    most = most_images(features.channels, (height // features.stride, width // features.stride))
    if options.tiling is None and n > most and not every:
        said.warn(
            f"only {most} of {n} images are learnt from, evenly chosen: features of more, at "
            f"{height} x {width}, are not held in memory; --all-images learns from all"
            + ("; a smaller --size takes more" if height > SIDE else "")
        )


def _tell_parts(
    args: argparse.Namespace, shows: Mapping[str, str], parts: Parts, said: Said
) -> None:
    """Say how many parts are learnt from and calibrated with, and what they can promise.

    Raises: CalibrationError for a rate that so few parts cannot promise.
    """
    learnt, held_out = (len({shows[sample.name] for sample in part}) for part in parts)
    check_rate_of_parts(args.false_reject_rate, held_out)
    said.console.say(
        f"parts  {learnt} to learn from, {held_out} to calibrate with, by --group {args.group}"
    )
    if held_out == len(parts[1]):
        return
    rate = chosen_false_reject_rate(args.false_reject_rate, held_out, "parts")
    line = (
        "note   images of one part resemble each other and count as one when the threshold is set: "
        f"{percent(rate)} is promised for images of new parts"
    )
    usual = default_false_reject_rate(learnt + held_out)
    if args.false_reject_rate is None and usual < rate:
        line += f"; {percent(usual)} takes {images_needed(usual)} parts to calibrate with"
    said.console.say(line)


def _about(dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(args, key) for key in ("category", "bit_depth")}
    given["group"] = None if args.group is None else name_of(args.group)
    about = {"name": args.data.resolve().name, "layout": dataset.layout}
    return about | {key: value for key, value in given.items() if value is not None}


def _backbone(args: argparse.Namespace, console: Console) -> Backbone:
    """The network that was asked for, or the default one, made where it is not there yet."""
    name = DEFAULT if args.backbone is None else str(args.backbone)
    if name not in MADE:
        return read_backbone(args.backbone)
    if args.like is not None:
        bundle = open_bundle(args.like)
        if bundle.manifest.method != METHOD or MODEL not in bundle.manifest.files:
            raise InputError(
                f"--like {args.like}: its network was trained, not learnt with (method "
                f"{bundle.manifest.method}); give a bundle of edgead learn, or --backbone FILE.onnx"
            )
        return read_backbone(bundle.path_of(MODEL))
    path = user_cache("backbones", "the backbones") / f"{name}.onnx"
    if not path.is_file():
        console.say(f"make   {name} in {path.parent}, the first time only")
        _make(path)
    return read_backbone(path)


def _graph(args: argparse.Namespace, precision: str, backbone: Backbone) -> MakeGraph:
    """How the network is made in another precision: that of ``--like``, or a new graph.

    Raises:
        MissingExtraError: packages are not installed, and ``--like`` has no such graph.
    """
    if args.like is not None:
        bundle = open_bundle(args.like)
        if name := bundle.manifest.models.get(precision):
            return lambda _: bundle.read(name)
    absent = [name for name in PACKAGES[precision] if find_spec(name) is None]
    if absent:
        raise MissingExtraError(
            f"--precision {precision} needs {' and '.join(absent)}, not installed here: pip "
            f"install {' '.join(absent)}, or take the network of a bundle that has a graph in "
            f"{precision} with --like"
        )
    if precision == "int8":
        from .int8.features import int8_of

        return lambda ranges: int8_of(backbone.model, ranges)
    from .half_graph import halved

    return lambda ranges: halved(backbone.model, ranges[:PEAKS])


def _make(path: Path) -> None:
    """In a process of its own: this one stays without torch."""
    command = [sys.executable, "-m", "edgead", "backbone", path.stem, "--out", str(path)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_backbone(path.stem, os_sentence(error)) from error
    made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if made.returncode:
        lines = made.stderr.strip().splitlines() or ["it gave no reason"]
        raise _no_backbone(path.stem, lines[-1].removeprefix("edgead: "))


def _no_backbone(name: str, reason: str) -> MissingExtraError:
    return MissingExtraError(
        f"the backbone {name} is not in this user's cache and cannot be made here ({reason}); "
        "give one that was made elsewhere with --backbone FILE.onnx, or a bundle of edgead learn "
        "with --like"
    )
