"""``edgead score --out``: a data set of any size, rows in Parquet."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict

from edgead.bundle.storage import check_outside
from edgead.cli.console import Console, count, print_json, progress_line
from edgead.cli.options import detector_settings, detector_words
from edgead.errors import InputError
from edgead.images import sentence
from edgead.scale.dataset import score_dataset


def run_dataset(args: argparse.Namespace) -> int:
    """Score one folder or URL into Parquet; exit code 1 where a row has an error."""
    console = Console(json_on_stdout=args.json)
    if len(args.images) != 1:
        raise InputError(f"--out with {len(args.images)} places: give one folder of images")
    for option in ("heatmap", "digests", "exit_code"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise InputError(
                f"--{name} with --out, which writes rows alone: leave one of the two out"
            )
    (images,) = args.images
    if "://" not in args.out:
        check_outside(args.out, "--out")
    settings = detector_settings(args)
    del settings["digests"]
    found = score_dataset(
        args.engine,
        images,
        args.out,
        ray=args.ray or False,
        actors=args.actors,
        retry_errors=args.retry_errors,
        progress=progress_line("scored"),
        **settings,
    )
    if found.left_out:
        console.say(f"note   {sentence(found.left_out)}")
    console.say(f"scored {count(found.scored, 'image')}, {found.images - found.scored} before")
    console.say(f"found  {found.anomalous} anomalous of {count(found.images, 'image')}")
    if found.failed:
        console.say(f"failed {count(found.failed, 'image')}: the column error says why")
    console.say(f"wrote  {found.out}/*.parquet, a row for each image")
    if args.json:
        print_json(asdict(found))
    options = detector_words(args)
    if found.failed:
        words = ["edgead", "score", args.engine, images, "--out", args.out, *options]
        console.next(shlex.join([*words, *_ray_words(args), "--retry-errors"]))
    elif found.worst is not None and "://" not in images:
        words = ["edgead", "score", args.engine, f"{images.rstrip('/')}/{found.worst}", *options]
        console.next(shlex.join([*words, "--heatmap", "heatmaps"]))
    else:
        console.next(f"look at {found.out}")
    return 1 if found.failed else 0


def _ray_words(args: argparse.Namespace) -> list[str]:
    """The options of the cluster that were given."""
    words = [] if args.ray is None else ["--ray"] if args.ray is True else ["--ray", args.ray]
    return words if args.actors is None else [*words, "--actors", str(args.actors)]
