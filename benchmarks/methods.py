"""The table of the methods: accuracy, size and time of each on each data set, over seeds.

    python benchmarks/methods.py DATA [--seeds S …] [--minutes M | --steps N] …
    python benchmarks/methods.py DATA --take RUN …    runs that edgead train has made elsewhere
    python benchmarks/methods.py --table              write the tables into docs

DATA holds the data sets, each in a folder of its name. Every run is trained (for the steps that
its method's preset edge has; with another preset for 12 minutes), exported, and measured through
the bundle, in float32 on the CPU; one seed everywhere first. Beside each is the same run hardly
trained, for two steps, and both once more with the statistics of ``edgead learn``: --rows names
some of them. The figures are in the results file after every run; what it holds already is not
made again, and a run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import runs
from docs_table import DOCS, NOTES, markdown, mean_and_spread, write_section
from edgead_training.run_record import full_settings
from entries import Entry, Results, read_entries

from edgead.cli.main import guard

RESULTS = Path(__file__).parent / "results" / "methods.json"
WORK = Path("runs/methods")
PAGE, SUMMARY_PAGE = NOTES / "comparison.md", DOCS / "methods.md"
PLACE = ("method", "preset", "dataset", "trained", "with_instant")
ROWS = {
    "untrained": (False, False),
    "trained": (True, False),
    "untrained+instant": (False, True),
    "trained+instant": (True, True),
}
"""Trained or not, with the statistics or not; the untrained ones first, beside which the others
are put."""

# EfficientNet-Lite0 at 256x256, the better of two input normalisations.
PEERS = {
    "mvtec_bottle": {"PatchCore": (1.000, 0.988, 0.940), "PaDiM": (1.000, 0.982, 0.925)},
    "magnetic_tile": {"PatchCore": (0.824, 0.746, 0.684), "PaDiM": (0.798, 0.707, 0.723)},
    "aws_cookies": {"PatchCore": (1.000, 0.982, 0.940), "PaDiM": (1.000, 0.948, 0.830)},
}


def main() -> int:
    """Parse; write the table, take runs in, or make what is missing. Returns the exit code."""
    args = arguments()
    if args.table:
        entries = read_entries(args.results)
        write_section(PAGE, "methods", table(entries))
        write_section(SUMMARY_PAGE, "summary", summary(entries))
        print(f"wrote  {PAGE.name} and {SUMMARY_PAGE.name}")
        return 0
    results = Results(args.results, PLACE)
    if args.take:
        return take(args, results)
    return runs.work_off(make_jobs(args), results, args)


def make_jobs(args: argparse.Namespace) -> list[runs.Job]:
    """What the command is to make. Raises: InputError for a method or setting that is not there."""
    runs.check_methods(args.methods)
    settings = runs.read_settings(args.settings)
    rows = [(method, settings.get(method, {})) for method in args.methods]
    bounds = runs.Bounds(args.steps, args.minutes)
    jobs = runs.make_jobs(args, rows, args.seeds, bounds)
    if bounds == runs.Bounds():
        jobs = [replace(job, bounds=usual_bounds(job)) for job in jobs]
    found = []
    for job in jobs:
        for name, (trained, joined) in ROWS.items():
            if name in args.rows:
                found.append(replace(job if trained else job.untrained, with_instant=joined))
    return found


def usual_bounds(job: runs.Job) -> runs.Bounds:
    """The bounds of a job for which none are given: the steps of its method's preset edge.

    Steps, because what a run of so many minutes learns depends on the machine and on what else it
    does.
    """
    if job.preset == runs.DEFAULT_PRESET:
        return runs.Bounds(steps=full_settings(job.method, job.preset, {})["steps"])
    return runs.Bounds(minutes=runs.MINUTES)


def take(args: argparse.Namespace, results: Results) -> int:
    """Measure finished runs and put them into their entries.

    Raises: InputError for a run of other settings than its entry; TrainingError for no run.
    """
    jobs = [(run, runs.job_of(run)) for run in args.take]
    data = runs.check_data(args.data, {job.dataset for _, job in jobs})
    for _, job in jobs:
        if not args.replace:
            results.check(job.head)
    for run, job in jobs:
        row = runs.measure(run, job, data, args.work)
        if not args.replace:
            results.check(job.head)  # two of them may differ from each other
        results.add(job.head, row)
        runs.say(f"took   {run}: {job}: {runs.in_words(row)}")
    return 0


def table(entries: Sequence[Entry]) -> str:
    """The section of the docs: methods and peers by data set, and what holds for all of them."""
    header = (
        *("data", "method", "seeds", "image AUROC", "95 %", "ahead of untrained", "pixel AUROC"),
        *("AUPRO@0.3", "at frame size", "@0.05", "false rejects promised", "reached", "parts"),
        *("MB", "GFLOP", "score ms", "cost over backbone", "training s", "command"),
    )
    named = [entry["dataset"] for entry in entries]
    rows: list[Sequence[str]] = []
    for dataset in [*PEERS, *sorted(set(named) - set(PEERS))]:
        rows += [_row(entry) for entry in entries if entry["dataset"] == dataset]
        for peer, figures in PEERS.get(dataset, {}).items():
            area, pixels, overlap = (f"{value:.3f}" for value in figures)
            row = (dataset, peer, "", area, "", "", pixels, overlap)
            rows.append((*row, *[""] * (len(header) - len(row))))
    return markdown(header, rows) + _conditions(entries)


def summary(entries: Sequence[Entry]) -> str:
    """The section of docs/methods.md: a row for each method, untrained and trained, by set."""
    datasets, rows = list(PEERS), []
    order = ("method", "preset", "with_instant", "trained")
    entries = sorted(entries, key=lambda entry: [entry[key] for key in order])
    for name in dict.fromkeys(_name(entry) for entry in entries):
        own = {entry["dataset"]: entry for entry in entries if _name(entry) == name}
        cells = [
            " / ".join(_mean(own[dataset][key]) for key in ("image_auroc", "aupro"))
            if dataset in own
            else "not measured"
            for dataset in datasets
        ]
        some = next(iter(own.values()))
        seeds = sorted({len(entry["seeds"]) for entry in own.values()})
        costs = [entry["cost_over_backbone"] for entry in own.values()]
        known = [cost for cost in costs if cost is not None]
        row = (
            *(name, *cells, " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))),
            _plain(statistics.median(known) if known else None, ".2f"),
            *(f"{some['model_mb']:.1f}", f"{some['score_ms']:.0f}"),
        )
        rows.append(row)
    header = ("method", *datasets, "seeds", "cost over backbone", "MB", "score ms")
    return markdown(header, rows)


def _mean(values: Sequence[float | None]) -> str:
    """The mean alone, without the spread that the table has."""
    return mean_and_spread(values).split(" ± ")[0]


def _row(entry: Entry) -> Sequence[str]:
    area, pixels, overlap = (mean_and_spread(entry[key]) for key in runs.FIGURES)
    at_frame_size, strict, reached = (
        _spread(entry, key) for key in ("frame_size_aupro", "aupro_0_05", "false_reject_reached")
    )
    ahead, ends = entry["ahead_of_untrained"], entry["image_auroc_interval"]
    shown = "" if ahead is None else f"{ahead[0]:+.3f} ({ahead[1]:+.3f} to {ahead[2]:+.3f})"
    costs = (
        *(f"{entry['model_mb']:.1f}", f"{entry['gflop']:.1f}", f"{entry['score_ms']:.1f}"),
        *(_plain(entry["cost_over_backbone"], ".2f"), f"{entry['train_seconds']:.0f}"),
    )
    command = entry["command"].split(" && ")[0]  # the two others follow from the row
    return (
        entry["dataset"], _name(entry), ", ".join(map(str, entry["seeds"])), area,
        "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}", shown,
        pixels, overlap, at_frame_size, strict,
        _plain(entry["false_reject_promised"], ".3f"), reached, _plain(entry["parts"], "d"),
        *costs, f"`{command}`",
    )  # fmt: skip


def _spread(entry: Entry, key: str) -> str:
    """As ``mean_and_spread``; nothing where no run has the figure."""
    return "" if set(entry[key]) == {None} else mean_and_spread(entry[key])


def _plain(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _name(entry: Entry) -> str:
    preset = entry["preset"]
    name = str(entry["method"]) + ("" if preset == runs.DEFAULT_PRESET else f" ({preset})")
    name += " with instant" if entry["with_instant"] else ""
    name += "" if entry["trained"] else ", untrained"
    return name + (" *" if entry.get("earlier") else "")


def _conditions(entries: Sequence[Entry]) -> str:
    """What holds for all rows: processors, and how well engine and torch agree."""
    made = [run for entry in entries for run in entry["runs"]]
    if not made:
        return ""
    processors = ", ".join(sorted({run["processor"] for run in made}))
    alone = [run for run in made if run.get("agreement") is not None]
    text = f"\nProcessor: {processors}."
    if alone:
        agreement = max(run["agreement"] for run in alone)
        changed = sum(run["changed_verdicts"] for run in alone)
        images = sum(run["calibration_images"] for run in alone)
        text += (
            f" Over all {len(alone)} runs of methods alone, the image AUROC of the exported model "
            f"(onnxruntime, and the bundle's engine) is at most {agreement:.1g} from torch's, and "
            f"{changed} of {images} verdicts on calibration images differ."
        )
    if any(entry.get("earlier") for entry in entries):
        text += (
            "\n\n\\* An earlier measurement: one image a part, without an untrained run beside it; "
            "it stands until the row is measured anew."
        )
    return f"{text}\n"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options in ``words``, or of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runs.add_options(parser, RESULTS, WORK)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="S")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS),
                        help="which rows of each method; default all")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], dest="settings",
                        metavar="METHOD:KEY=VALUE", help="a setting of one method")  # fmt: skip
    parser.add_argument("--take", nargs="+", type=Path, default=[], metavar="RUN",
                        help="measure finished runs of edgead train instead")  # fmt: skip
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(guard(main))
