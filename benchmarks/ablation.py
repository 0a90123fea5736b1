"""What each choice of a method is worth: one setting changed at a time, the rest as it is.

    python benchmarks/ablation.py DATA [--methods METHOD …] [--steps N] [--seeds S …]
    python benchmarks/ablation.py --table             write the tables into docs/notes/ablation.md

Every cell is trained for the same number of steps, far fewer than a product takes, at half the
input size (BASE), and measured as methods.py does; figures are written after every cell and nothing
is made twice. A row is added by an element of GRID.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import runs
from docs_table import NOTES, markdown, mean_and_spread, write_section
from edgead_training.methods import METHODS
from edgead_training.run_record import full_settings
from entries import Entry, Results, read_entries

from edgead.cli.main import guard

RESULTS = Path(__file__).parent / "results" / "ablation.json"
WORK = Path("runs/ablation")
PAGE = NOTES / "ablation.md"
PLACE = ("method", "preset", "dataset", "settings")
STEPS = 400  # with BASE, a minute or two a cell on two cores
BASE: dict[str, Any] = {"size": [128, 128]}  # of every cell, so that the whole grid takes an hour
SETS = ["mvtec_bottle", "magnetic_tile"]

NO_CLAIM = "no figure known"
GRID: dict[str, tuple[tuple[dict[str, Any], str], ...]] = {
    "redi": (
        ({}, "best of its time, no figure known [F]"),
        ({"map": "sobel"}, "four kinds of map are compared, figures not known [F]"),
        ({"map": "canny"}, "four kinds of map are compared, figures not known [F]"),
        ({"map": "gray"}, "four kinds of map are compared, figures not known [F]"),
        ({"prompt": False}, NO_CLAIM),
        ({"self_correlation": 0.0}, NO_CLAIM),
        ({"patches": 0.0}, NO_CLAIM),
        ({"position": True}, NO_CLAIM),
    ),
    "arnet": (
        ({}, "image AUROC 0.941 on bottle, mean of MVTec AD 0.839 [F]"),
        ({"erase": "gray"}, NO_CLAIM),
        ({"erase": "rotation"}, NO_CLAIM),
        ({"turns": 2}, NO_CLAIM),
        ({"position": False}, NO_CLAIM),
        ({"pooling": "mean"}, NO_CLAIM),
    ),
    "ssae": (
        ({}, "image / pixel AUROC 0.998 / 0.992, mean of MVTec AD [F]"),
        ({"variant": "plain"}, NO_CLAIM),
        ({"weight": 0.5}, NO_CLAIM),
        ({"elastic": 0.0}, NO_CLAIM),
        ({"elastic": 1.0}, NO_CLAIM),
        ({"strokes": 0.0}, NO_CLAIM),
        ({"noise": 0.05}, "0.999 / 0.994 in a follow-up [F]"),
        ({"pooling": "max"}, NO_CLAIM),
        ({"position": False}, NO_CLAIM),
    ),
    "agpnet": (
        ({}, "image / pixel AUROC 0.992 / 0.983, mean of MVTec AD [F]"),
        ({"noise": "random"}, "attention > random > none [F]"),
        ({"noise": "none"}, "attention > random > none [F]"),
        ({"where": "feature"}, "noise on both is best [F]"),
        ({"where": "image"}, "noise on both is best [F]"),
        ({"masks": "prior"}, "both masks are best [F]"),
        ({"masks": "learnt"}, "both masks are best [F]"),
        ({"ema": False}, "EMA helps [F]"),
        ({"schedule": "constant"}, "linear is best [F]"),
    ),
}
"""For each method, settings over the preset and what the paper claims of them."""


def main() -> int:
    """Parse; write the tables, or make what is missing. Returns the exit code."""
    args = _arguments()
    if args.table:
        write_section(PAGE, "ablation", tables(read_entries(args.results)))
        print(f"wrote  {PAGE.name}")
        return 0
    runs.check_methods(args.methods)
    rows = [(method, BASE | change) for method in args.methods for change, _ in GRID[method]]
    steps = args.steps or (None if args.minutes else STEPS)
    jobs = runs.make_jobs(args, rows, args.seeds, runs.Bounds(steps, args.minutes))
    return runs.work_off(jobs, Results(args.results, PLACE), args)


def tables(entries: Sequence[Entry]) -> str:
    """The section of the docs: a table for each method, in the order of GRID."""
    texts = []
    for method in GRID:
        rows = [row for entry in entries for row in _row(entry, method)]
        if rows:
            rows.sort(key=lambda row: row[0])
            texts.append(f"**{method}**\n\n" + markdown(HEADER, [row[1] for row in rows]))
    return "\n".join(texts) or "Not measured yet.\n"


HEADER = (
    *("data", "changed", "seeds", "image AUROC", "pixel AUROC", "AUPRO@0.3"),
    *("what the paper says", "command"),
)


def _row(entry: Entry, method: str) -> list[tuple[tuple[str, int], Sequence[str]]]:
    """Place in the table and cells of ``entry``; nothing when it is not a row of ``method``."""
    if entry["method"] != method:
        return []
    before = dict(METHODS[method].settings_type.added)  # what older entries do not name
    # How long a cell is trained is told by its command, not by the default of that setting.
    settings = {**before, "varied": 0, **entry["settings"], "steps": None}
    for number, (change, claim) in enumerate(GRID[method]):
        asked = [
            {**full_settings(method, entry["preset"], BASE | more | change), "steps": None}
            for more in ({}, before)
        ]
        if settings in asked:
            words = [f"`{key}={str(value).lower()}`" for key, value in change.items()]
            seeds = ", ".join(map(str, entry["seeds"]))
            figures = [mean_and_spread(entry[key]) for key in runs.FIGURES]
            command = f"`{entry['command'].split(' && ')[0]}`"
            name = ", ".join(words) or "nothing"
            cells = (entry["dataset"], name, seeds, *figures, claim, command)
            return [((entry["dataset"], number), cells)]
    return []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runs.add_options(parser, RESULTS, WORK)
    parser.set_defaults(datasets=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="S")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guard(main))
