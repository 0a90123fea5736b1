"""Learn from images of good parts in seconds, without training: a qualified bundle at once.

A frozen network turns the images into features, and what good parts look like is kept in the
bundle. Neither torch nor a GPU is needed, so a device can learn where its camera is. The network
is a backbone file, or is taken from another bundle that was learnt; without either, it is lite0,
which is made once, with the extra train, and kept in the user's cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgead_training.data import Dataset, Sample, open_dataset
from edgead_training.data.splitting import part_of
from edgead_training.run_division import divided

from edgead.bundle.known_images import contents_of
from edgead.bundle.storage import Bundle, check_out, open_bundle
from edgead.cli.console import Console, count, percent, print_json, progress_line
from edgead.cli.options import (
    add,
    add_bit_depth,
    add_false_reject_rate,
    file_path,
    number,
    whole,
)
from edgead.errors import InputError, MissingExtraError
from edgead.files import user_cache
from edgead.images import ORIENTATION, read_image
from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import MODEL, LearnOptions, learn

EXAMPLE = """\
  edgead learn good/ --out part.edgead
  edgead learn good/ --out part.edgead --backbone lite0.onnx
  edgead learn good/ --out other.edgead --like part.edgead"""

DEFAULT = "lite0"
SHARE = 0.2  # of the good images that set the threshold, as for train
SIDE = 256


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead learn``."""
    add(parser, "data DATA", "folder of images of good parts, or a data set; docs/data.md has the "
        "layouts", file_path)
    add(parser, "--out NAME.edgead", "the bundle to write", file_path, required=True)
    network = parser.add_mutually_exclusive_group()
    add(network, "--backbone FILE.onnx", "the network, as edgead backbone writes it (default: "
        f"{DEFAULT}, from this user's cache)", file_path)
    add(network, "--like NAME.edgead", "take the network of another bundle that was learnt",
        file_path)
    add(parser, "--size PIXELS", f"side of the square that frames are brought to (default: {SIDE})",
        whole, default=SIDE)
    add(parser, "--memory N", "features of good parts that are kept, at most (default: 4096)",
        whole, default=4096)
    add(parser, "--lie NAME", "how the part lies before the camera: aligned, loose, or filling the "
        "frame (default: found from the images)")
    add(parser, "--calibration F", "share of the good images held out to set the threshold "
        f"(default: {SHARE:g})", number, default=SHARE)
    add_false_reject_rate(parser)
    add(parser, "--group REGEX", "keep images of one part together: the first group in an image's "
        "name is the part")
    add(parser, "--layout NAME", "layout of DATA, where it is not recognised, as for train")
    add(parser, "--category NAME", "one category of DATA, as for train")
    add_bit_depth(parser, "16")
    add(parser, "--seed S", "of the division and of what is kept (default: 0)", whole, default=0)
    add(parser, "--threads N", "threads of the engine", whole)
    add(parser, "--json", "one JSON object on stdout")
# fmt: on


def run(args: argparse.Namespace) -> int:
    """Learn, and say what was read, written and comes next; returns the exit code.

    Raises:
        EdgeadError: as ``open_dataset``, ``divide``, ``read_backbone`` and ``learn``.
    """
    started = time.monotonic()
    console, out = Console(json_on_stdout=args.json), check_out(args.out)
    if not 0 < args.calibration < 1:
        raise InputError(f"--calibration {args.calibration} is not a share; give 0 < F < 1")
    options = LearnOptions(
        size=(args.size, args.size),
        memory=args.memory,
        false_reject_rate=args.false_reject_rate,
        bit_depth=args.bit_depth,
        threads=args.threads,
        seed=args.seed,
        lie=args.lie,
    )
    dataset = open_dataset(args.data, layout=args.layout, category=args.category)
    console.say(f"read   {args.data}: {dataset.summary()}")
    for line in dataset.notes():
        console.say(f"note   {line}")
    backbone = _backbone(args, console)
    backbone.params(options.size)  # before minutes of reading
    chosen = {"group": args.group, "shots": None}
    found = divided(dataset, args.seed, args.calibration, chosen, _bar, args.bit_depth)
    images, calibration = found.parts
    for warning in found.warnings:
        console.warn(warning)
    console.say(f"split  {len(images)} to learn from, {len(calibration)} to calibrate with")
    digests = (map(bytes.fromhex, part) for part in found.digests)
    bundle = learn(
        *(_good_images(part, args) for part in (images, calibration)),
        backbone,
        out,
        options,
        provenance={**ORIENTATION, "data": _about(dataset, args), **contents_of(*digests)},
        progress=progress_line,
    )
    seconds = time.monotonic() - started
    told = {"warnings": list(found.warnings), "left_out": dict(dataset.left_out)}
    _tell(console, args, bundle, len(images), seconds, told)
    console.next(f"edgead score {args.out} IMAGES")
    return 0


def _tell(
    console: Console,
    args: argparse.Namespace,
    bundle: Bundle,
    learnt: int,
    seconds: float,
    told: dict[str, Any],
) -> None:
    """Say what was written; ``told``: what the JSON has besides."""
    manifest = bundle.manifest
    kept, calibration = manifest.provenance["learn"]["kept"], len(manifest.calibration.scores)
    rate = manifest.calibration.false_reject_rate
    lie = manifest.provenance["learn"]["lie"]
    console.say(f"found  {lie['name']}: {lie['means']}")
    console.say(
        f"wrote  {args.out} in {seconds:.1f} s: {count(kept, 'feature')} kept, "
        f"{count(calibration, 'calibration image')}, false-reject rate {percent(rate)}, "
        f"qualified on {count(len(manifest.golden), 'golden frame')}"
    )
    if args.json:
        print_json(
            {
                "bundle": str(bundle.path),
                "bundle_sha256": bundle.sha256,
                "seconds": round(seconds, 2),
                "images": learnt,
                "kept": kept,
                "calibration": calibration,
                "false_reject_rate": rate,
                "lie": lie["name"],
                **told,
            }
        )


def _good_images(samples: Iterable[Sample], args: argparse.Namespace) -> list[GoodImage]:
    return [
        GoodImage(
            sample.name,
            lambda path=sample.path: read_image(path, bit_depth=args.bit_depth),
            "" if args.group is None else " ".join(part_of(sample, args.group)),
        )
        for sample in samples
    ]


def _about(dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(args, key) for key in ("category", "group", "bit_depth")}
    about = {"name": args.data.resolve().name, "layout": dataset.layout}
    return about | {key: value for key, value in given.items() if value is not None}


def _backbone(args: argparse.Namespace, console: Console) -> Backbone:
    """The network that was asked for, or the default one, made where it is not there yet."""
    if args.backbone is not None:
        return read_backbone(args.backbone)
    if args.like is not None:
        bundle = open_bundle(args.like)
        if MODEL not in bundle.manifest.files or not bundle.manifest.memories:
            raise InputError(
                f"--like {args.like}: its network was trained, not learnt with (method "
                f"{bundle.manifest.method}); give a bundle of edgead learn, or --backbone FILE.onnx"
            )
        return read_backbone(bundle.path_of(MODEL))
    path = user_cache("backbones", "the backbones") / f"{DEFAULT}.onnx"
    if not path.is_file():
        console.say(f"make   {DEFAULT} in {path.parent}, the first time only")
        _make(path)
    return read_backbone(path)


def _make(path: Path) -> None:
    """In a process of its own: this one stays without torch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "edgead", "backbone", DEFAULT, "--out", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if made.returncode:
        lines = made.stderr.strip().splitlines() or ["it gave no reason"]
        raise MissingExtraError(
            f"the backbone {DEFAULT} is not in this user's cache and cannot be made here "
            f"({lines[-1].removeprefix('edgead: ')}); give one that was made elsewhere with "
            "--backbone FILE.onnx, or a bundle of edgead learn with --like"
        )


def _bar(items: Sequence[Any], title: str) -> Iterator[Any]:
    """Pass ``items`` on, with progress on stderr."""
    show = progress_line(title)
    for done, item in enumerate(items, 1):
        yield item
        show(done, len(items))
