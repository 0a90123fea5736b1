"""Review recorded frames, learn from them, and export the records of a line.

FOLDER is the folder of records of edgead watch, which may be recording meanwhile.

  queue   list what waits for review: alarms, and the random sample of all frames
  review  mark a frame: its ID, then good or defective; needs --by
  learn   learn from what was reviewed for a --bundle, and judge it before and after on frames that
          are held out: the bundle stays as it is
  swap    put the bundle that was learnt in its place; back: bring the one before back
  export  a table of all verdicts (--csv, --parquet), or a data set of what was reviewed (--mvtec):
          good frames to train/good, defective ones to test/defective, and of the random sample the
          later half of the good ones to test/good
"""

from __future__ import annotations

import argparse

from edgead.cli import records_learn
from edgead.cli.console import Console, count, print_json, table
from edgead.cli.options import add, file_path, number, whole
from edgead.errors import InputError
from edgead.live.relearning.choice import PART_SECONDS
from edgead.records.export import export_csv, export_mvtec, export_parquet
from edgead.records.reviews import LABELS, Entry, Reviews

EXAMPLE = """\
  edgead records queue records/
  edgead records review records/ left-5f1d6e0a2b3c4d5e-17 good --by Ada
  edgead records learn records/ --bundle left.edgead --by Ada
  edgead records swap records/ --bundle left.edgead --by Ada
  edgead records export records/ --csv verdicts.csv
  edgead records export records/ --mvtec reviewed/ --camera left
  edgead learn reviewed/ --out left.edgead"""
TARGETS = ("csv", "parquet", "mvtec")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead records``."""
    actions = ["queue", "review", *records_learn.ACTIONS, "export"]
    parser.add_argument("action", choices=actions, help="what to do")
    add(parser, "folder FOLDER", "of the records", file_path)
    add(parser, "id ID", "of the frame to review", nargs="?")
    parser.add_argument("label", choices=LABELS, nargs="?", help="what the frame shows")
    add(parser, "--by NAME", "who reviews, learns or swaps")
    add(parser, "--note TEXT", "why")
    add(parser, "--limit N", "list at most so many (default: %(default)s)", whole, default=20)
    group = parser.add_mutually_exclusive_group()
    add(group, "--csv FILE", "write a row for each verdict", file_path)
    add(group, "--parquet FILE", "the same as Parquet (extra records)", file_path)
    add(group, "--mvtec DIR", "copy the marked frames into a new data set", file_path)
    text = "whose frames; learn and --mvtec need it where there are several"
    add(parser, "--camera NAME", text)
    add(parser, "--bundle NAME.edgead", "to learn for, or to replace")
    text = (
        "frames that follow each other within so many seconds show one part (default: %(default)g)"
    )
    add(parser, "--part-seconds S", text, number, default=PART_SECONDS)
    add(parser, "--false-reject-rate RATE", "of the camera (default: the bundle's)", number)
    add(parser, "--force", "learn frames too that score far above all others")
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; see the module's docstring."""
    _check(args)
    console = Console(json_on_stdout=args.json)
    if args.action in records_learn.ACTIONS:
        learnt = records_learn.run(args, console)
        if args.json:
            print_json(learnt)
        return 0
    reviews = Reviews(args.folder, writes=args.action == "review")
    try:
        found = {"queue": _queue, "review": _review, "export": _export}[args.action](
            args, reviews, console
        )
    finally:
        reviews.close()
    if args.json:
        print_json(found)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not belong to the action, and say what is missing."""
    is_review = args.action == "review"
    if is_review and (args.id is None or args.label is None or args.by is None):
        raise InputError(
            f"edgead records review: expected FOLDER ID {' or '.join(LABELS)} --by NAME; edgead "
            f"records queue {args.folder} lists the IDs"
        )
    if not is_review and args.id is not None:
        raise InputError(f"edgead records {args.action} {args.folder} takes no {args.id!r}")
    target = next((name for name in TARGETS if getattr(args, name) is not None), None)
    if args.action == "export" and target is None:
        raise InputError(
            "edgead records export: expected --csv FILE, --parquet FILE or --mvtec DIR"
        )
    if args.action != "export" and target is not None:
        raise InputError(f"--{target} beside {args.action}: it goes with edgead records export")


def _queue(args: argparse.Namespace, reviews: Reviews, console: Console) -> dict[str, object]:
    entries = reviews.waiting(args.camera, args.limit)
    rows = [
        (e.id, e.captured, f"{e.score:.4g}", "alarm" if e.is_anomalous else "sample", str(e.frame))
        for e in entries
    ]
    for line in table(rows) if rows else ["nothing waits for review"]:
        console.say(line)
    if entries:
        console.next(f"edgead records review {args.folder} {entries[0].id} good --by NAME")
    return {"waiting": [_told(entry) for entry in entries]}


def _review(args: argparse.Namespace, reviews: Reviews, console: Console) -> dict[str, object]:
    entry = reviews.mark(args.id, args.label, args.by, args.note or "")
    console.say(f"marked {entry.id}: {entry.label}, by {entry.reviewer}")
    console.next(f"edgead records queue {args.folder}")
    return {**_told(entry), "label": entry.label, "reviewer": entry.reviewer, "note": entry.note}


def _told(entry: Entry) -> dict[str, object]:
    keys = ("id", "camera", "captured", "score", "p_value", "is_anomalous", "is_sampled")
    return {**{key: getattr(entry, key) for key in keys}, "frame": str(entry.frame)}


def _export(args: argparse.Namespace, reviews: Reviews, console: Console) -> dict[str, object]:
    if args.mvtec is not None:
        counts = export_mvtec(reviews, args.mvtec, args.camera)
        target, found = args.mvtec, dict[str, object](images=counts)
        text = ", ".join(f"{number} in {name}" for name, number in counts.items())
    else:
        target = args.csv or args.parquet
        export = export_csv if args.csv is not None else export_parquet
        rows = export(reviews, target)
        found, text = {"rows": rows}, count(rows, "row")
    console.say(f"wrote  {target}: {text}")
    return {"out": str(target), **found}
