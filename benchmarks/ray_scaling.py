"""How much faster two actors of Ray score a data set than one process, in one run.

    .scale/bin/python benchmarks/ray_scaling.py NAME.edgead IMAGES [--rounds N] [--json]

``make test-scale`` makes .scale. Every Detector has one thread, and so has the single process. In
each round both score all images, in turns; a run with Ray counts from the first part that is done
to the last, as one without does, so that the start of actors, which a large data set does not
feel, is not in it (it is told beside). The rows have to be equal. The aim is 1.8 for two actors
where two cores are free; exit code 4 when it is missed. --json adds to results/scale.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from pyarrow import parquet
from scale_results import keep

from edgead.scale import score_dataset
from edgead.scale.ray_cluster import connect, import_ray

AIM, MISSED = 1.8, 4


def main() -> int:
    """Measure, print; see the module's docstring for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    connect(import_ray(), True)
    rounds = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            alone = rate(args, f"{folder}/alone", None)
            spread = rate(args, f"{folder}/spread", args.actors)
            if rows(f"{folder}/alone") != rows(f"{folder}/spread"):
                raise SystemExit("the rows differ")
        rounds.append({"alone": alone, "ray": spread})
        print(
            f"round {number}: one process {alone['images_per_s']:.1f} images/s, {args.actors} "
            f"actors {spread['images_per_s']:.1f} (started in {spread['first_s']:.1f} s), ratio "
            f"{spread['images_per_s'] / alone['images_per_s']:.2f}, load {os.getloadavg()[0]:.1f}"
        )
    ratio = statistics.median(
        one["ray"]["images_per_s"] / one["alone"]["images_per_s"] for one in rounds
    )
    print(f"{args.actors} actors over one process: {ratio:.2f} (median), aim {AIM}")
    if args.json:
        keep("ray_scaling", {"actors": args.actors, "aim": AIM, "ratio": ratio, "rounds": rounds})
    return MISSED if ratio < AIM else 0


def rate(args: argparse.Namespace, out: str, actors: int | None) -> dict[str, Any]:
    """Images per second after the first part, and how long that one took."""
    moments: list[tuple[float, int]] = []
    began = perf_counter()
    score_dataset(
        args.bundle,
        args.images,
        out,
        ray=actors is not None,
        actors=actors,
        part=args.part,
        progress=lambda done, _total: moments.append((perf_counter(), done)),
        device="cpu",
        threads=1,
    )
    (first_s, first), (last_s, last) = moments[0], moments[-1]
    return {
        "images_per_s": (last - first) / (last_s - first_s),
        "first_s": first_s - began,
        "seconds": last_s - began,
        "load": os.getloadavg()[0],
        "moments": [[at - began, done] for at, done in moments],
    }


def rows(folder: str) -> list[dict[str, Any]]:
    """All rows, by path."""
    return sorted(parquet.read_table(Path(folder)).to_pylist(), key=lambda row: row["path"])


if __name__ == "__main__":
    sys.exit(main())
