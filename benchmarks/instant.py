"""What `edgead learn` reaches: accuracy, false rejects and time on each data set, over seeds.

    python benchmarks/instant.py DATA [--seeds S …] [--datasets NAME …] [--shots N …]
    python benchmarks/instant.py --table              write the table into docs

DATA holds the data sets, each in a folder of its name; ``elpv`` is made of the PyPI package
elpv-dataset, as by examples/demo.py, where that is installed. Each set is learnt and evaluated by
the commands that users have, with no option but a seed; with --shots from so many images and one
for each four of them to calibrate with. The figures are in the results file after every run; what
it holds already is not made again.

magnetic_tile_divided: its good images are divided anew for each seed, every tile on one side, 26 %
of the tiles to test with as in the set; learnt with --group. As it stands the set has no tile on
both sides of the test, and is one draw of tiles; a promise is kept on average over such draws.

learn_seconds: as the command says, start of Python left out, median over the seeds.
score_over_backbone: ``Detector.score`` of test frames brought to 512 x 512 in colour, over bare
inference of the backbone in the same engine; in turns, one thread, medians of both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docs_table import DOCS, markdown, mean_and_spread, write_section
from edgead_training.data import GOOD, open_dataset
from edgead_training.data.grouping import grouped
from overhead import measure, read_frames

from edgead import Detector
from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.errors import InputError
from edgead.files import write_file

RESULTS = Path(__file__).parent / "results" / "instant.json"
PAGE = DOCS / "learn.md"
DIVIDED = "magnetic_tile_divided"
DATASETS = ("mvtec_bottle", "aws_cookies", "elpv", "magnetic_tile", DIVIDED)
PARTS = {DIVIDED: Path(__file__).parent / "magnetic_tile_parts.csv"}
"""Lists for --group, of sets with several images of one part; tile_parts.py made that one."""
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "false_reject_reached")
SIDE, REPEATS = 512, 160
TESTED = 0.26  # of the tiles

Entry = dict[str, Any]


def main() -> int:
    """Parse; write the table, or make what is missing. Returns the exit code."""
    args = arguments()
    if args.table:
        write_section(PAGE, "instant", table(read(args.results)))
        print(f"wrote  {PAGE.name}")
        return 0
    if args.data is None or not args.data.is_dir():
        raise InputError(f"DATA {args.data} is not a folder; give the one with the data sets")
    with tempfile.TemporaryDirectory() as work:
        for seed in args.seeds:  # one seed everywhere first
            for name in args.datasets:
                for shots in args.shots or [None]:
                    made = next((e for e in read(args.results) if place(e) == (name, shots)), None)
                    if made is None or seed not in made["seeds"]:
                        row = one(folder_of(args.data, name, seed, Path(work)), name, shots, seed,
                                  Path(work))  # fmt: skip
                        add(args.results, name, shots, row)
    return 0


def dataset_folder(data: Path, name: str) -> Path:
    """The folder of a set, elpv made by the demo. Raises: InputError where there is none."""
    if name != "elpv" or (data / name).is_dir():
        if not (data / name).is_dir():
            raise InputError(f"{data} has no {name}; name sets with --datasets")
        return data / name
    demo = Path(__file__).parents[1] / "examples" / "demo.py"
    work = Path(tempfile.gettempdir()) / "edgead-elpv"
    work.mkdir(exist_ok=True)
    subprocess.run([sys.executable, demo, "--images-only"], cwd=work, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return work / "demo" / "data"


def folder_of(data: Path, name: str, seed: int, work: Path) -> Path:
    """The folder of a set; the tiles divided by ``seed`` where ``name`` says so."""
    if name != DIVIDED:
        return dataset_folder(data, name)
    root, folder = dataset_folder(data, "magnetic_tile"), work / f"{DIVIDED}_{seed}"
    if folder.exists():
        return folder
    broken: list[str] = []
    for kind in (*(root / "test").iterdir(), *(root / "ground_truth").iterdir()):
        if kind.name != GOOD:
            if kind.parent.name == "test":
                broken += (path.name for path in kind.iterdir())
            (folder / kind.parent.name).mkdir(parents=True, exist_ok=True)
            (folder / kind.parent.name / kind.name).symlink_to(kind)
    images = sorted((*(root / "train" / GOOD).iterdir(), *(root / "test" / GOOD).iterdir()))
    shows = grouped([path.name for path in images], str(PARTS[DIVIDED]))
    tiles = sorted(set(shows))
    chosen = np.random.default_rng(seed).permutation(len(tiles))[: round(TESTED * len(tiles))]
    # A tile with a defect in some exposures is always tested.
    tested = {tiles[index] for index in chosen} | set(grouped(broken, str(PARTS[DIVIDED])))
    for path, tile in zip(images, shows, strict=True):
        side = folder / ("test" if tile in tested else "train") / GOOD
        side.mkdir(parents=True, exist_ok=True)
        (side / path.name).symlink_to(path)
    return folder


def one(root: Path, name: str, shots: int | None, seed: int, work: Path) -> Entry:
    """Learn, evaluate and time one set with one seed."""
    bundle = work / "part.edgead"
    learnt = root if shots is None else few(root, shots, seed, work / "few")
    parts = ("--group", PARTS[name]) if name in PARTS else ()
    told = edgead("learn", learnt, "--out", bundle, "--seed", seed, *parts)
    found = edgead("evaluate", bundle, root)
    row = {
        "seed": seed,
        **{key: found[key] for key in FIGURES},
        "false_reject_promised": found["false_reject_promised"],
        "images": told["images"],
        "calibration": told["calibration"],
        "kept": told["kept"],
        "learn_seconds": told["seconds"],
        "score_over_backbone": over_backbone(bundle, root),
        "processor": processor_name(),
    }
    print(f"{name} {shots or 'all'} seed {seed}: {row}", flush=True)
    return row


def edgead(*words: object) -> Entry:
    """What a command of edgead prints as JSON. Raises: InputError with what it said."""
    command = [sys.executable, "-m", "edgead", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"edgead {words[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    found: Entry = json.loads(done.stdout)
    return found


def few(root: Path, shots: int, seed: int, folder: Path) -> Path:
    """A folder of ``shots`` good images drawn by ``seed``, and a fourth as many more, at least one.

    Of them --calibration 0.2 holds out the latter.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    good = open_dataset(root).train
    count = shots + max(1, shots // 4)
    for index in np.random.default_rng(seed).permutation(len(good))[:count]:
        shutil.copyfile(good[index].path, folder / good[index].path.name)
    return folder


def over_backbone(bundle: Path, root: Path) -> float:
    """Median of Detector.score over the bare backbone, in one thread."""
    test = open_dataset(root, purpose="evaluate").test
    frames = read_frames([sample.path for sample in test], (SIDE, SIDE))
    with Detector(bundle, device="cpu", threads=1) as detector:
        return float(measure(detector, frames, REPEATS)["turn_ratio"])


def place(entry: Entry) -> tuple[str, int | None]:
    """What no two entries share."""
    return entry["dataset"], entry["shots"]


def add(path: Path, name: str, shots: int | None, row: Entry) -> None:
    """Put a run into its entry and write the file."""
    entries = read(path)  # another process may have added to it
    old = [e for e in entries if place(e) == (name, shots)]
    runs = [run for e in old for run in e["runs"] if run["seed"] != row["seed"]] + [row]
    runs.sort(key=lambda run: run["seed"])
    entry = {
        "dataset": name,
        "shots": shots,
        "seeds": [run["seed"] for run in runs],
        **{key: [run[key] for run in runs] for key in FIGURES},
        "false_reject_promised": runs[0]["false_reject_promised"],
        "learn_seconds": statistics.median(run["learn_seconds"] for run in runs),
        "score_over_backbone": statistics.median(run["score_over_backbone"] for run in runs),
        "runs": runs,
    }
    entries = [e for e in entries if place(e) != (name, shots)] + [entry]
    entries.sort(key=lambda e: (e["dataset"], e["shots"] or float("inf")))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(entries, indent=1) + "\n").encode())


def read(path: Path) -> list[Entry]:
    """The entries of the results file; none where there is none."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def table(entries: Sequence[Entry]) -> str:
    """The table of docs/learn.md: mean and spread over the seeds."""
    header = (
        *("set", "images learnt", "image AUROC", "pixel AUROC", "AUPRO@0.3"),
        *("false rejects promised", "reached", "seconds", "score / backbone"),
    )
    rows = [
        (
            entry["dataset"],
            str(entry["runs"][0]["images"]),
            *(mean_and_spread(entry[key]) for key in FIGURES[:3]),
            f"{entry['false_reject_promised']:.3f}",
            mean_and_spread(entry["false_reject_reached"]),
            f"{entry['learn_seconds']:.0f}",
            f"{entry['score_over_backbone']:.2f}",
        )
        for entry in entries
    ]
    return markdown(header, rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), metavar="NAME")
    parser.add_argument("--shots", type=int, nargs="+", metavar="N", help="learn from N images")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--table", action="store_true", help="only write the table into the docs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guard(main))
