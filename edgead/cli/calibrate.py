"""Calibrate a bundle again with good images of the camera that serves; needs no training code.

Scores every image directly inside DIR with the bundle's own engine and writes a new bundle with
these scores as its calibration; model and golden frames stay. The images must be of good parts,
must not have been trained on, and must come the way the frames will come. Exit code 1 when an
image cannot be used (all are named) or the images are too few for the false-reject rate: nothing
is written then.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgead.bundle.storage import Bundle, check_out, open_bundle
from edgead.calibration import best_false_reject_rate
from edgead.cli.console import Console, count, percent, print_json, table
from edgead.cli.options import (
    add,
    add_bit_depth,
    add_color,
    add_device,
    add_false_reject_rate,
    file_path,
)
from edgead.detector import Detector
from edgead.editing.recalibration import (
    NOT_TOLD,
    Choice,
    check_number,
    choose,
    concerns,
    recalibrate,
    record,
)
from edgead.errors import InputError
from edgead.images import images_of, sentence
from edgead.signing.trust import note_unsigned

EXAMPLE = """\
  edgead calibrate cell.edgead good/                       writes cell-calibrated.edgead
  edgead calibrate cell.edgead good/ --out line3.edgead    under another name
  edgead calibrate cell.edgead good/ --in-place            in place of the old one, in one step"""

BINS, WIDEST = 10, 24  # of the histogram: bins, characters of a bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead calibrate``."""
    add(parser, "engine NAME.edgead", "the bundle")
    add(parser, "folder DIR", "folder of images of good parts")
    where = parser.add_mutually_exclusive_group()
    text = "the new bundle (default: NAME-calibrated.edgead, beside the old one)"
    add(where, "--out NEW.edgead", text, file_path)
    add(where, "--in-place", "replace the old bundle")
    add_false_reject_rate(parser)
    text = "count images that nearly repeat others too: each shows another part"
    add(parser, "--count-all", text)
    add_color(parser)
    add_bit_depth(parser)
    add_device(parser)  # in its own precision: what the others are held against
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Score the images, write the new bundle, say how old and new scores compare."""
    console = Console(json_on_stdout=args.json)
    old = open_bundle(args.engine)
    out = check_out(_target(args, old))
    found = images_of(args.folder)
    paths = found.images
    check_number(old, len(paths), args.false_reject_rate)
    progress = _progress if sys.stderr.isatty() else None
    choice = choose(old, paths, progress, near=not args.count_all, bit_depth=args.bit_depth)
    rate = check_number(old, len(choice.paths), args.false_reject_rate)
    detector = Detector(
        old,
        device=args.device,
        color=args.color,
        bit_depth=args.bit_depth,
        threads=args.threads,
    )
    info = detector.info()
    console.say(
        f"read   {args.engine} and {count(len(paths), 'image')} in {args.folder}; "
        f"{info['device']}, {info['precision']}, qualified"
    )
    if found.left_out:
        console.say(f"note   {sentence(found.left_out)}")
    say_choice(console, choice)
    recording = record(detector, choice, progress)
    for line in note_unsigned(old, out):
        console.say(line)
    bundle = recalibrate(detector, recording, out, rate)
    ties = old.manifest.calibration_of(info["precision"]).ties.score
    warnings = concerns(old.manifest.calibration.scores, recording, ties)
    if args.json:
        n = len(recording.scores)
        report = {
            "path": str(bundle.path),
            "bundle_sha256": bundle.sha256,
            "calibration_images": n,
            "images_sha256": recording.sha256,
            "false_reject_rate": bundle.manifest.calibration.false_reject_rate,
            "best_false_reject_rate": best_false_reject_rate(n),
            "threshold": {"old": _threshold(old), "new": _threshold(bundle)},
            "learnt_images_told": choice.learnt_told,
            "warnings": [*choice.warnings, *warnings],
            "left_out": dict(found.left_out),
        }
        print_json(report)
    _tell(console, bundle, old, warnings)
    return 0


def say_choice(console: Console, choice: Choice) -> None:
    """Say what is to be said of the images before they are scored."""
    if not choice.learnt_told:
        console.say(f"note   {NOT_TOLD}")
    for warning in choice.warnings:
        console.warn(warning)


def _target(args: argparse.Namespace, old: Bundle) -> Path:
    """Where the new bundle goes; InputError for the old bundle without ``--in-place``."""
    if args.in_place:
        return old.path
    out: Path = args.out or old.path.with_name(f"{old.path.stem}-calibrated.edgead")
    if out.resolve() == old.path.resolve():
        raise InputError(
            f"--out {out} is the bundle that is calibrated: choose another name, or use "
            "--in-place to replace it"
        )
    return out


def _progress(done: int, total: int) -> None:
    """A counter on stderr, on one line that vanishes at the end."""
    text = f"\rscore  {done}/{total}" if done < total else "\r\x1b[K"
    print(text, end="", file=sys.stderr, flush=True)


def _threshold(bundle: Bundle) -> float:
    rate = bundle.manifest.calibration.false_reject_rate
    return bundle.manifest.limit("float32", rate)


def _tell(console: Console, bundle: Bundle, old: Bundle, warnings: Sequence[str]) -> None:
    both = [one.manifest.calibration for one in (old, bundle)]
    for line in histogram(both[0].scores, both[1].scores):
        console.say(line)
    for name, one, measured in zip(("old", "new"), (old, bundle), both, strict=True):
        n = len(measured.scores)
        console.say(
            f"{name}    {count(n, 'image')}, anomalous above {_threshold(one):.5g} for "
            f"{percent(measured.false_reject_rate)}; the lowest rate {n} can promise: "
            f"1/{n + 1} = {percent(best_false_reject_rate(n))}"
        )
    for warning in warnings:
        console.warn(warning)
    console.say(f"wrote  {bundle.path}, digest {bundle.sha256[:12]}")
    console.next(f"edgead score {shlex.quote(str(bundle.path))} IMAGE --heatmap heatmaps")


def histogram(old: Sequence[float], new: Sequence[float]) -> list[str]:
    """A line for each bin of old and new scores; each side's longest bar fills its width.

    Bins are of one width, or of one ratio where the highest score is over ten times the lowest. A
    bin holds its lower edge, the last one its upper edge too.
    """
    low, high = min(*old, *new), max(*old, *new)
    if 0 < 10 * low < high:
        edges = np.geomspace(low, high, BINS + 1)
        edges[0], edges[-1] = low, high  # rounding must not lose the lowest and the highest
    else:
        edges = np.histogram_bin_edges([*old, *new], BINS)
    counts = [np.histogram(scores, edges)[0].tolist() for scores in (old, new)]
    rows: list[Sequence[str]] = [("score from", "to", "old", "", "new", "")]
    for index in range(BINS):
        row = [f"{edges[index]:.4g}", f"{edges[index + 1]:.4g}"]
        for side in counts:
            bar = "#" * -(-side[index] * WIDEST // max(side))  # one image is at least one mark
            row += [str(side[index]), bar.ljust(WIDEST)]
        rows.append(row)
    return table(rows, right=(0, 1, 2, 4))
