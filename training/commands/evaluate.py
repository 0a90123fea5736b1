"""Measure a bundle on a labelled test set: AUROC, AP, F1, pixel figures, false rejects, a report.

DATA has a test set; docs/data.md shows the layouts. That of MVTec AD: test/good, test/<defect> and,
where there are masks, ground_truth/<defect>/<stem>_mask.png.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.bundle.storage import check_outside
from edgead.calibration import wilson_interval
from edgead.cli.console import Console, percent, print_json, progress_line, table
from edgead.cli.options import add, add_bit_depth, add_engine, add_false_reject_rate, target_file
from edgead.errors import InputError
from edgead.files import write_file
from edgead.monitoring.depth import UsedBits
from edgead.records.lines import to_json

from ..data import GOOD, check_halves, check_images, open_dataset, parts_of
from ..evaluation.beside import Beside, evaluate_beside
from ..evaluation.bootstrap import Interval
from ..evaluation.evaluate import CATEGORY_KEYS, Evaluation, evaluate
from ..evaluation.report import FIGURES, write_report
from ..evaluation.spread import FRAME_SIZE
from .train import add_data_arguments

if TYPE_CHECKING:
    from edgead.detector import Detector

EXAMPLE = """\
  edgead evaluate bottle.edgead DATA --report report --json metrics.json
  edgead evaluate bottle.edgead DATA --beside other.edgead --report report"""
GALLERY = 60  # pictures in the report; about 3 MB

ROWS = (*FIGURES, ("frame_auroc", "frame AUROC, scores normalised per video"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "bundle NAME.edgead", "the bundle to measure")
    add(parser, "data DATA", "folder with a test set")
    add_data_arguments(parser)
    add(
        parser,
        "--group REGEX|FILE",
        "which test images show one part, for the intervals: the first group in an image's name is "
        "the part, or a list .csv or .json of images and their parts says it",
    )
    add_false_reject_rate(parser)
    add_bit_depth(parser)
    add_engine(parser)
    text = "write the figures to FILE; without FILE, print one JSON object and nothing else"
    add(parser, "--json FILE", text, nargs="?", const="-")
    add(parser, "--report DIR", "write DIR/index.html, one page to show")
    add(
        parser,
        "--beside OTHER.edgead",
        "measure another bundle on the same images, and show both side by side",
    )


def run(args: argparse.Namespace) -> int:
    console = Console(json_on_stdout=args.json == "-")
    if args.report is not None and Path(args.report).exists() and not Path(args.report).is_dir():
        raise InputError(f"--report {args.report} is a file; give a folder (it may be a new one)")
    if args.report is not None:
        check_outside(args.report, "--report")
    if args.json not in (None, "-"):
        target_file(args.json, "--json")
    dataset = open_dataset(
        args.data, purpose="evaluate", layout=args.layout, category=args.category
    )
    if args.group is not None:  # refused before it takes long
        check_halves(dataset, args.group)
        parts_of(dataset.test, args.group)
    used = UsedBits(args.bit_depth)
    check_images(dataset.test, progress_line("checking"), used=used)  # before it takes long
    names = [args.bundle] if args.beside is None else [args.bundle, args.beside]
    detectors = [_open(args, name, used, console) for name in names]
    console.say(f"read   {args.data}: {dataset.summary()}")
    for line in dataset.notes():
        console.say(f"note   {line}")
    pictures = GALLERY if args.report else 0
    found: Evaluation | Beside
    if args.beside is None:
        show = progress_line("scoring")
        found = evaluate(detectors[0], dataset, show, gallery=pictures, group=args.group)
    else:
        found = evaluate_beside(
            names, detectors, dataset, progress_line, pictures=pictures, group=args.group
        )
    _print_figures(console, found)
    _write(console, found, args, dict(dataset.left_out))
    console.next(_next_command(args))
    return 0


def _open(args: argparse.Namespace, bundle: str, used: UsedBits, console: Console) -> Detector:
    from edgead.detector import Detector

    detector = Detector(
        bundle, device=args.device, false_reject_rate=args.false_reject_rate,
        bit_depth=args.bit_depth, threads=args.threads, precision=args.precision,
    )  # fmt: skip
    used.bit_depth = detector.bit_depth  # the bundle's, where --bit-depth does not say it
    engine = detector.info()
    console.say(f"read   {bundle}, {engine['precision']} on {engine['device']}")
    if concern := used.concern_of_serving(detector.bundle):
        console.warn(concern)
    return detector


def _print_figures(console: Console, found: Evaluation | Beside) -> None:
    """A table of figures, with a column for each bundle, then what is to be said of them."""
    if isinstance(found, Evaluation):
        tables = [table(list(_figures(found).items())), *_more_tables(found)]
        notes, warnings = found.notes, _warnings(found)
    else:
        first, second = map(_figures, found.evaluations)
        ahead = _ahead(found)
        rows = [("", *found.names, "difference")]
        rows += [(key, first[key], second[key], ahead.get(key, "")) for key in first]
        tables = [table(rows), table(_who_is_right(found), right=[1])]
        for name, evaluation in zip(found.names, found.evaluations, strict=True):
            tables += [[name, *lines] for lines in _more_tables(evaluation)]
        notes, warnings = found.said(lambda each: each.notes), found.said(_warnings)
    for lines in tables:
        for line in ["", *lines]:
            console.say(line)
    console.say()
    for note in notes:
        console.say(f"note   {note}")
    for warning in warnings:
        console.warn(warning)


def _who_is_right(found: Beside) -> list[tuple[str, str]]:
    """How many images each of the two bundles judges rightly."""
    return [(said, str(len(found.groups()[group]))) for group, said in found.words().items()]


def _figures(evaluation: Evaluation) -> dict[str, str]:
    """What the table says of one bundle."""
    figures, count, spans = evaluation.metrics, evaluation.count, evaluation.intervals()
    rows = {
        name: _four(figures[key], " (no masks or one class only)") + _span(spans.get(key))
        for key, name in ROWS
        if _is_shown(key, evaluation)
    }
    rows["false rejects promised"] = percent(float(figures["false_reject_promised"] or 0))
    rejected, caught = count("rejected"), count("caught")
    if good := rejected + count("passed"):
        low, high = (100 * end for end in wilson_interval(rejected, good))
        reached = f"{percent(rejected / good)} ({rejected} of {good}; {low:.1f} to {high:.1f} %)"
        if evaluation.overlap is not None and (known := evaluation.overlap.good):
            reached += f", {known} of them no test: see the warning"
        rows["false rejects reached"] = reached
        if evaluation.within_chance is not None:
            low, high = evaluation.within_chance
            rows["false rejects expected"] = f"{low} to {high} of {good}, 19 times of 20"
    if defective := caught + count("missed"):
        share = percent(caught / defective)
        rows["defects caught"] = f"{share} ({caught} of {defective})"
    rows["median time per frame"] = f"{evaluation.latency_ms['median']:.2f} ms"
    return rows


def _is_shown(key: str, evaluation: Evaluation) -> bool:
    """Whether the table has a line for a figure: that of videos and those of masks, if any."""
    if key == "frame_auroc":
        return bool(evaluation.timelines)
    return evaluation.metrics[key] is not None or not key.startswith(FRAME_SIZE)


def _ahead(found: Beside) -> dict[str, str]:
    """By how much the first of two bundles is ahead, by the names of ROWS."""
    named = dict(ROWS)
    return {
        named[key]: f"{difference:+.4f}{_span(span, '+')}"
        for key, (difference, span) in found.differences().items()
    }


def _more_tables(evaluation: Evaluation) -> list[list[str]]:
    """By category and by kind of defect, where there are several."""
    return _category_table(evaluation) + _kind_table(evaluation)


def _kind_table(evaluation: Evaluation) -> list[list[str]]:
    """A table with a line for each kind of defect; none unless there are several."""
    defects = [kind for kind in evaluation.kinds if kind.label != GOOD]
    if len(defects) < 2:
        return []
    head = ("kind", "images", "caught", "image AUROC", "AUPRO at 0.3", "at 0.05, frame size")
    rows = [head] + [
        (
            kind.label,
            str(kind.n),
            percent(kind.anomalous / kind.n),
            _four(kind.auroc) + _span(kind.auroc_interval),
            _four(kind.pixels["aupro"]),
            _four(kind.pixels["aupro_0_05"]),
        )
        for kind in defects
    ]
    return [table(rows, right=(1, 2, 4, 5))]


def _category_table(evaluation: Evaluation) -> list[list[str]]:
    """A table with a line for each category and one for their mean; none without categories."""
    if not evaluation.categories:
        return []
    found = [
        (each.name, str(each.n), [getattr(each, key) for key in CATEGORY_KEYS])
        for each in evaluation.categories
    ]
    found.append(("mean", "", list(evaluation.category_means().values())))
    head = ("category", "images", "image AUROC", "pixel AUROC", "AUPRO at 0.3", "false rejects")
    rows = [head] + [
        (name, n, *map(_four, areas), "-" if rate is None else percent(rate))
        for name, n, (*areas, rate) in found
    ]
    return [table(rows, right=range(1, 6))]


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    figures: dict[str, Any] = dict(evaluation.metrics)
    if evaluation.categories:
        figures["categories"] = {
            c.name: {key: getattr(c, key) for key in CATEGORY_KEYS} | {"n_test": c.n}
            for c in evaluation.categories
        }
        figures["categories_mean"] = evaluation.category_means()
    figures["kinds"] = {
        kind.label: {
            "n": kind.n,
            "anomalous": kind.anomalous,
            "image_auroc": kind.auroc,
            "image_auroc_interval": kind.auroc_interval,
            **{FRAME_SIZE + key: value for key, value in kind.pixels.items()},
        }
        for kind in evaluation.kinds
        if kind.label != GOOD
    }
    figures["intervals"] = evaluation.intervals()
    if evaluation.overlap is not None:
        figures["overlap"] = evaluation.overlap.to_json()
    return figures | {"warnings": list(_warnings(evaluation))}


def _warnings(evaluation: Evaluation) -> tuple[str, ...]:
    return () if evaluation.overlap is None else evaluation.overlap.warnings


def _four(value: float | None, reason: str = "") -> str:
    return f"-{reason}" if value is None else f"{value:.4f}"


def _span(ends: Interval | None, sign: str = "") -> str:
    return "" if ends is None else f" ({ends[0]:{sign}.4f} to {ends[1]:{sign}.4f})"


def _write(
    console: Console,
    found: Evaluation | Beside,
    args: argparse.Namespace,
    left_out: dict[str, int],
) -> None:
    if isinstance(found, Evaluation):
        figures = _as_json(found)
    else:
        figures, other = map(_as_json, found.evaluations)
        right = {group: len(pairs) for group, pairs in found.groups().items()}
        ahead = {
            key: {"value": value, "interval": span}
            for key, (value, span) in found.differences().items()
        }
        other |= {"right": right, "difference": ahead}
        figures |= {"beside": {"bundle": found.names[1], **other}}
    figures |= {"left_out": left_out}
    if args.report is not None:
        console.say(f"wrote  {write_report(found, args.report)}")
    if args.json == "-":
        print_json(figures)
    elif args.json is not None:
        write_file(args.json, to_json(figures, indent=2) + b"\n")
        console.say(f"wrote  {args.json}")


def _next_command(args: argparse.Namespace) -> str:
    """The next command, on the same device and with the same rate."""
    words = ["score", args.bundle, "IMAGE", "--heatmap", "heatmaps"]
    if args.report is None:
        words = ["evaluate", args.bundle, args.data, "--report", "report"]
    rate = args.false_reject_rate
    again = {"false-reject-rate": None if rate is None else f"{rate:g}"}
    if args.report is None:
        again |= {key: getattr(args, key) for key in ("group", "beside", "layout", "category")}
    again["device"] = None if args.device == "auto" else args.device
    again |= {"precision": args.precision, "threads": args.threads}
    for name, value in again.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(["edgead", *words])
