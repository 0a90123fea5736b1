"""edgead beside what a user would take instead, on the same images, machine and run.

    python benchmarks/peers/compare.py DATA [--bundle NAME.edgead | --minutes 12] [--threads N]

DATA is a data set in MVTec's layout. Measured are edgead, anomalib's OpenVINO inferencer with
PatchCore and PaDiM on edgead's backbone, and OpenVINO alone on edgead's graph: the floor. Each has
a virtual environment of its own below .peers, made at the first run (about 7 GB). A system that
cannot be installed or run is left out, with the reason.

Every test image is scored by all of them in turn, and who goes first changes, so that whatever else
the machine does meets all alike. One that fails in the middle is left out, too. A time runs from
the decoded frame in memory, uint8 [H, W, 3], to the score. Without --bundle, edgead is trained on
DATA first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from edgead_training.data import Sample, open_dataset
from edgead_training.evaluation.metrics import auroc
from environments import REPOSITORY, Environment, Skipped, requirements
from workers import HERE, System, Worker, cold_start_ms

from edgead.bundle.storage import open_bundle
from edgead.cli.console import table
from edgead.cli.main import guard
from edgead.cpu.processor import cores, processor_name
from edgead.files import write_file
from edgead.monitoring.percentiles import percentile

RESULTS = HERE.parent / "results" / "peers.json"
LEARNT = RESULTS.with_name("peers_learnt.json")  # of a bundle of edgead learn
PAGE = HERE.parent / "README.md"
FOLDER = REPOSITORY / ".peers"
WARM_UP, COLD_STARTS = 10, 3
PEERS = {"patchcore": "PatchCore", "padim": "PaDiM"}


def main() -> int:
    """Set up, train, measure, write. Exit code 1 when edgead itself could not be measured."""
    args = _arguments()
    samples = list(open_dataset(args.data, purpose="evaluate").test)
    left_out: list[dict[str, Any]] = []
    bundle, why = _bundle(args)
    systems = list(_systems(args, bundle, why, left_out))
    measure(systems, samples, args.work, left_out)
    rows = [*_rows(systems, samples, left_out), *left_out]
    run = about(args, bundle, len(samples))
    entries = [{**each, "run": run} for each in rows]
    print()
    print("\n".join(table(_lines(rows), right=range(2, 9))))
    write_file(args.json, (json.dumps(entries, indent=1) + "\n").encode())
    print(f"wrote  {args.json}")
    if args.json in (RESULTS, LEARNT):
        _docs_table().write_section(PAGE, args.json.stem, section(entries))
        print(f"wrote  {PAGE}")
    return int(not any(r["system"].startswith("edgead") and not r.get("skipped") for r in rows))


def _bundle(args: argparse.Namespace) -> tuple[Path | None, str]:
    """The bundle to measure, trained if none is given; or None, and why."""
    try:
        return args.bundle or _train_edgead(args), ""
    except Skipped as error:
        return None, str(error)


def _systems(
    args: argparse.Namespace, bundle: Path | None, why: str, left_out: list[dict[str, Any]]
) -> Iterator[System]:
    """All that can be installed; the reasons of the others go to ``left_out``."""
    threads = str(args.threads or 0)
    manifest = open_bundle(bundle).manifest if bundle else None
    method = manifest.method if manifest else args.method
    try:
        if bundle is None:
            raise Skipped(why)
        place = Environment(args.folder, "edgead")
        name = f"edgead {place.version('edgead')}"
        yield System(name, method, place, "serve_edgead.py", [str(bundle), threads])
    except Skipped as error:
        left_out.append(_skipped("edgead", method, error))
    for peer, title in PEERS.items():
        if peer not in args.peers:
            continue
        try:
            place = Environment(args.folder, "anomalib")
            name = f"anomalib {place.version('anomalib')}"
            made = _make_peer(place, peer, args)
            yield System(name, title, place, "serve_anomalib.py", [made["model"], threads])
        except Skipped as error:
            left_out.append(_skipped("anomalib", title, error))
    try:
        if bundle is None or manifest is None:
            raise Skipped(why)
        place = Environment(args.folder, "openvino")
        name = f"OpenVINO {place.version('openvino')} alone"
        graph = str(bundle / manifest.models["float32"])
        yield System(
            name, f"graph of {method}", place, "serve_openvino.py",
            [graph, threads, *map(str, manifest.preprocess.size)], scores=False,
        )  # fmt: skip
    except Skipped as error:
        left_out.append(_skipped("OpenVINO alone", f"graph of {method}", error))


def _train_edgead(args: argparse.Namespace) -> Path:
    """A bundle of ``--method``, kept for the next run with the same words.

    Errors: Skipped.
    """
    words = [args.method, str(args.data)]
    bound = ["--steps", str(args.steps)] if args.steps else ["--minutes", f"{args.minutes:g}"]
    name = "-".join([args.data.name, args.method, *bound[1:]])
    run, bundle = args.work / name, args.work / f"{name}.edgead"
    if not bundle.is_dir():
        for command in (
            ["train", *words, "--out", str(run), *bound],
            ["export", str(run), "--out", str(bundle), "--float32-only"],
        ):
            done = subprocess.run([sys.executable, "-m", "edgead", *command])
            if done.returncode:
                raise Skipped(
                    f"no bundle: edgead {command[0]} ended with {done.returncode}, see what it "
                    f"said above"
                )
    return bundle


def _make_peer(place: Environment, peer: str, args: argparse.Namespace) -> dict[str, Any]:
    """The peer's exported model, kept for the next run with the same words.

    Errors: Skipped.
    """
    out = args.work / f"{args.data.name}-{peer}-{args.normalize}-{args.coreset:g}"
    kept = out / "made.json"
    if not kept.is_file():
        print(f"train  {PEERS[peer]}", flush=True)
        words = [peer, str(args.data.absolute()), str(out), "--normalize", args.normalize]
        words += ["--coreset", f"{args.coreset:g}"]
        log = args.work / f"{out.name}.log"
        with log.open("w") as stream:
            done = subprocess.run(
                [str(place.python), str(HERE / "make_anomalib.py"), *words],
                stdout=subprocess.PIPE, stderr=stream, text=True, cwd=args.work,
            )  # fmt: skip
        if done.returncode:
            said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise Skipped(f"not trained: {said[-1]}")
        write_file(kept, done.stdout.encode())
    return dict(json.loads(kept.read_text()))


def measure(
    systems: Sequence[System], samples: Sequence[Sample], work: Path, left_out: list[dict[str, Any]]
) -> None:
    """Cold starts, then every image through every system in turn. One that fails is left out."""
    running: list[tuple[System, Worker]] = []
    with ExitStack() as stack:
        for system in systems:
            try:
                first = samples[0].path.absolute()
                system.cold_ms = [cold_start_ms(system, work, first) for _ in range(COLD_STARTS)]
                worker = stack.enter_context(closing(Worker(system, work)))
                worker.answer()
                for number in range(WARM_UP):
                    worker.ask(samples[number % len(samples)].path.absolute())
                running.append((system, worker))
            except Skipped as error:
                left_out.append(_skipped(system.system, system.method, error))
        for turn, sample in enumerate(samples):
            first_place = turn % len(running) if running else 0
            for pair in [*running[first_place:], *running[:first_place]]:
                system, worker = pair
                try:
                    system.take(worker.ask(sample.path.absolute()))
                except Skipped as error:
                    running.remove(pair)
                    system.times_ms.clear()  # a part of the images is not a row
                    left_out.append(_skipped(system.system, system.method, error))
            if turn % 100 == 99:
                print(f"turn   {turn + 1} of {len(samples)}", flush=True)


def _rows(
    systems: Sequence[System], samples: Sequence[Sample], left_out: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A row for each that scored every image; who cannot be described is left out."""
    for system in systems:
        try:
            if system.times_ms:
                yield row(system, samples)
        except Skipped as error:
            left_out.append(_skipped(system.system, system.method, error))


def row(system: System, samples: Sequence[Sample]) -> dict[str, Any]:
    """One element of the file."""
    defective = [sample.label != "good" for sample in samples]
    return {
        "system": system.system,
        "method": system.method,
        "median_ms": statistics.median(system.times_ms),
        "p95_ms": percentile(system.times_ms, 95),
        "cold_start_ms": statistics.median(system.cold_ms),
        "rss_mb": system.rss_mb,
        "packages": system.environment.packages(),
        "disk_mb": system.environment.disk_mb(),
        "image_auroc": auroc(system.found, defective) if system.scores else None,
    }


def _skipped(system: str, method: str, error: Skipped) -> dict[str, Any]:
    numbers = dict.fromkeys(("median_ms", "p95_ms", "cold_start_ms", "rss_mb", "packages"))
    print(f"skip   {system}, {method}: {error}", file=sys.stderr)
    return {
        "system": system, "method": method, **numbers, "disk_mb": None, "image_auroc": None,
        "skipped": str(error),
    }  # fmt: skip


def about(args: argparse.Namespace, bundle: Path | None, images: int) -> dict[str, Any]:
    """What identifies the run; no paths."""
    words = ["python", "benchmarks/peers/compare.py", args.data.name]
    words += ["--bundle", args.bundle.name] if args.bundle else ["--method", args.method]
    words += ["--threads", str(args.threads)] if args.threads else []
    words += ["--coreset", f"{args.coreset:g}", "--normalize", args.normalize]
    words += [] if args.peers == sorted(PEERS) else ["--peers", *args.peers]
    opened = open_bundle(bundle) if bundle else None
    provenance = opened.manifest.provenance if opened else {}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(words),
        "dataset": args.data.name,
        "images": images,
        "bundle_sha256": opened.sha256 if opened else None,
        "training": {key: provenance.get(key) for key in ("seed", "steps", "train_seconds")},
        "processor": processor_name(),
        "cores": cores(),
        "load": round(os.getloadavg()[1], 2),
        "threads": args.threads,
        "requirements": requirements()["anomalib"],
    }


HEAD = ("system", "method", "median ms", "p95 ms", "cold start ms", "RSS MB", "packages",
        "disk MB", "image AUROC")  # fmt: skip


def _lines(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The table's lines, its head first."""
    formats = {"median_ms": ".1f", "p95_ms": ".1f", "cold_start_ms": ".0f", "rss_mb": ".0f",
               "packages": "d", "disk_mb": ".0f", "image_auroc": ".3f"}  # fmt: skip
    return [HEAD] + [
        (
            each["system"],
            each["method"],
            *("–" if each[key] is None else format(each[key], f) for key, f in formats.items()),
        )
        for each in rows
    ]


def section(entries: Sequence[dict[str, Any]]) -> str:
    """The part of the page between its markers."""
    run = entries[0]["run"]
    head, *lines = _lines(entries)
    text = str(_docs_table().markdown(head, lines))
    text += (
        f"\n`{run['command']}`, {run['date']}: {run['processor']}, {run['cores']} cores, load "
        f"{run['load']} over the last five minutes of it, {run['images']} test images of "
        f"{run['dataset']}.\n"
    )
    if run["training"]["steps"]:
        text += f"\nedgead's model was trained for {run['training']['steps']} steps.\n"
    ours = [e for e in entries if e["system"].startswith("edgead") and e["median_ms"]]
    for peer in entries:
        if ours and peer["median_ms"] and peer["method"] == PEERS["patchcore"]:
            ratio = peer["median_ms"] / ours[0]["median_ms"]
            text += f"\nPatchCore takes {ratio:.1f} x as long a frame as edgead.\n"
        if "skipped" in peer:
            text += f"\n{peer['system']}, {peer['method']}: {peer['skipped']}.\n"
    return text


def _docs_table() -> Any:
    """benchmarks/docs_table.py, which lies a folder above this script."""
    sys.path.append(str(HERE.parent))
    import docs_table

    return docs_table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--bundle", type=Path, metavar="NAME.edgead", help="trained on DATA")
    parser.add_argument("--method", default="agpnet", help="to train without --bundle: %(default)s")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--minutes", type=float, default=12.0, metavar="M")
    bound.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument(
        "--coreset", type=float, default=0.1, help="of PatchCore: %(default)s, as anomalib"
    )
    parser.add_argument(
        "--normalize", choices=("backbone", "imagenet"), default="backbone",
        help="of the peers' input: what the weights were trained with, or anomalib's default",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="of every engine")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the environments")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    args = parser.parse_args()
    args.json = args.json.absolute()
    args.work = args.folder.absolute() / "work"
    args.work.mkdir(parents=True, exist_ok=True)
    if args.bundle is not None:
        args.bundle = args.bundle.absolute()
    return args


if __name__ == "__main__":
    sys.exit(guard(main))
