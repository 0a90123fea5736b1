"""The table of README.md: learnt in seconds, trained, trained for two steps, and joined.

    python benchmarks/readme.py [--trained demo/trained.json] [--joined demo/beside.json]
                                [--untrained FILE]

The rows are made of other results: instant.json and methods.json. Those of the solar cells are in
demo.json: --trained and --joined take in the figures of a `make demo`, --untrained those of
``edgead evaluate --json`` after a training of two steps on demo/data. What was not measured has no
row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs_table import markdown, mean_and_spread, write_section

from edgead.cli.main import guard
from edgead.files import write_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "README.md"
HEADER = ("images of", "how", "image AUROC", "pixel AUROC", "AUPRO@0.3", "command")
FIGURES = ("image_auroc", "pixel_auroc", "aupro")
METHODS = {"redi": "ReDi", "agpnet": "AGPNet"}
BOTTLES = ("edge", "mvtec_bottle")  # preset and data set
UNTRAINED = "agpnet demo/data --out RUN --steps 2"

Row = Sequence[str]


def main() -> int:
    """Take in what is given, write the table. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trained", type=Path, metavar="FILE", help="demo/trained.json")
    parser.add_argument("--joined", type=Path, metavar="FILE", help="demo/beside.json")
    parser.add_argument(
        "--untrained", type=Path, metavar="FILE", help=f"of edgead train {UNTRAINED}"
    )
    args = parser.parse_args()
    cells = read("demo")
    if args.trained is not None:
        cells["trained"] = taken(json.loads(args.trained.read_text()))
    if args.joined is not None:
        cells["joined"] = taken(json.loads(args.joined.read_text())["beside"])
    if args.untrained is not None:
        cells["untrained"] = taken(json.loads(args.untrained.read_text()))
    write_file(RESULTS / "demo.json", (json.dumps(cells, indent=1) + "\n").encode())
    text = table(read("instant"), cells, *alone(read("methods")))
    write_section(PAGE, "figures", text)
    print(f"wrote  {PAGE.name}")
    return 0


def read(name: str) -> Any:
    """A file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def alone(entries: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], ...]:
    """The entries of methods without the statistics: trained ones, and untrained ones."""
    own = [entry for entry in entries if not entry["with_instant"]]
    return tuple([entry for entry in own if entry["trained"] is kind] for kind in (True, False))


def taken(figures: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the figures of one bundle."""
    return {key: figures[key] for key in FIGURES}


def table(
    instant: Sequence[dict[str, Any]],
    cells: dict[str, dict[str, Any]],
    trained: Sequence[dict[str, Any]],
    untrained: Sequence[dict[str, Any]],
) -> str:
    """The section of README.md.

    Args:
        instant: entries of benchmarks/instant.py
        cells: some of {"trained", "untrained", "joined"}: figures of one run each
        trained, untrained: entries of benchmarks/methods.py
    """
    rows = [learnt(instant, "elpv", "solar cells", "demo/data")]
    commands = {"trained": "make demo", "untrained": f"edgead train {UNTRAINED}"}
    for key, command in (commands | {"joined": "make demo"}).items():
        if key in cells:
            values = {name: [cells[key][name]] for name in FIGURES}
            rows.append(row("solar cells", how("agpnet", key), values, command))
    rows.append(learnt(instant, "mvtec_bottle", "bottles", "mvtec_bottle"))
    for method in METHODS:
        for key, entries in (("trained", trained), ("untrained", untrained)):
            for entry in entries:
                if (entry["method"], entry["preset"], entry["dataset"]) != (method, *BOTTLES):
                    continue
                command = entry["command"].split(" && ")[0]
                rows.append(row("bottles", how(method, key), entry, command))
    return markdown(HEADER, rows)


def learnt(instant: Sequence[dict[str, Any]], dataset: str, words: str, folder: str) -> Row:
    """The row of ``edgead learn`` with all images of a set."""
    entry = next(e for e in instant if e["dataset"] == dataset and e["shots"] is None)
    command = f"edgead learn {folder} --out part.edgead --seed S"
    return row(words, f"**learnt** in {entry['learn_seconds']:.0f} s", entry, command)


def how(method: str, key: str) -> str:
    """What the table calls a training."""
    words = {
        "trained": "trained",
        "untrained": "untrained: 2 steps",
        "joined": "joined with learnt",
    }
    return f"{METHODS[method]} {words[key]}"


def row(words: str, how: str, values: dict[str, Any], command: str) -> Row:
    """A row of the table; ``values`` has lists over the seeds."""
    figures = (mean_and_spread(values[key]) for key in FIGURES)
    return words, how, *figures, f"`{command}`"


if __name__ == "__main__":
    sys.exit(guard(main))
