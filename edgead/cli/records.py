"""Export the records of a line: a table of all verdicts, or a data set of what was reviewed.

FOLDER is the folder of records of edgead watch, which may be recording meanwhile. --mvtec copies
the frames that were marked good or defective into a new folder in the layout that edgead learn and
edgead train open: good ones to train/good, defective ones to test/defective, and of the random
sample the later half of the good ones to test/good.
"""

from __future__ import annotations

import argparse

from edgead.cli.console import Console, count, print_json
from edgead.cli.options import add, file_path
from edgead.records.export import export_csv, export_mvtec, export_parquet
from edgead.records.reviews import Reviews

EXAMPLE = """\
  edgead records export records/ --csv verdicts.csv
  edgead records export records/ --mvtec reviewed/ --camera left
  edgead learn reviewed/ --out left.edgead"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead records``."""
    parser.add_argument("action", choices=["export"], help="what to do")
    add(parser, "folder FOLDER", "of the records", file_path)
    group = parser.add_mutually_exclusive_group(required=True)
    add(group, "--csv FILE", "write a row for each verdict", file_path)
    add(group, "--parquet FILE", "the same as Parquet (extra records)", file_path)
    add(group, "--mvtec DIR", "copy the marked frames into a new data set", file_path)
    add(parser, "--camera NAME", "whose frames, for --mvtec; needed where there are several")
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Export; see the module's docstring."""
    console = Console(json_on_stdout=args.json)
    reviews = Reviews(args.folder, writes=False)
    try:
        if args.mvtec is not None:
            counts = export_mvtec(reviews, args.mvtec, args.camera)
            target, found = args.mvtec, dict[str, object](images=counts)
            text = ", ".join(f"{number} in {name}" for name, number in counts.items())
        else:
            target = args.csv or args.parquet
            export = export_csv if args.csv is not None else export_parquet
            rows = export(reviews, target)
            found, text = {"rows": rows}, count(rows, "row")
    finally:
        reviews.close()
    console.say(f"wrote  {target}: {text}")
    if args.json:
        print_json({"out": str(target), **found})
    return 0
