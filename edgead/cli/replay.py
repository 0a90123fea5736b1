"""Score the saved frames of recorded verdicts again and compare the verdicts.

RECORD is the lines of edgead watch --digests, the JSON of edgead score --json --digests, or a
folder of edgead watch --evidence --digests. Repeated means: the frame, the image, every feature,
the map and the score are the same to the last bit. Else the first stage with a mismatch is named.
Exit code 6 on a mismatch, 1 when a frame cannot be read (the others are replayed).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgead.cli.console import Console, complain, count, print_json
from edgead.cli.options import DEVICE, add, add_bit_depth, file_path, whole
from edgead.detector import Detector
from edgead.errors import InputError
from edgead.records.replay import STAGES, Records, Replayed, read_records, replay

EXAMPLE = """\
  edgead replay cell.edgead seen/                              a folder of evidence
  edgead replay cell.edgead verdicts.jsonl --frames seen/      lines of watch and saved frames
  edgead replay cell.edgead scores.json --json                 what edgead score wrote"""

MISMATCH = 6
ROW = "{:<9}  {:<11}  {:>10}  {:>10}  {}"
CAUSES = {
    "frame": "the image on disk is not the frame that was scored: it was changed, or saved again",
    "preprocess": "the same frame became another image: other preprocessing in the bundle, "
    "another --color or --bit-depth, or another kernel",
    "engine": "the same image gave other features: another graph, OpenVINO version, processor or "
    "number of threads",
    "anomaly_map": "the same features gave another map: other map settings or ignore mask in the "
    "bundle, or another kernel",
    "score": "the same map gave another score: other pooling in the bundle, or another kernel",
}
LOSSY = (".jpg", ".jpeg", ".webp")
LOSSY_CAUSE = (
    "JPEG and WebP are lossy: saved after scoring, they cannot give the frame back; save PNG, as "
    "edgead watch --evidence does"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead replay``."""
    add(parser, "engine NAME.edgead", "the bundle")
    add(parser, "records RECORD", "verdicts that hold digests", file_path, nargs="+")
    add(parser, "--frames DIR", "folder in which the frames of lines were saved", file_path)
    add(parser, "--json", "one JSON object on stdout")
    text = "auto, cpu or cuda[:N] (default: %(default)s)"
    add(parser, "--device DEVICE", text, default=DEVICE)
    add_bit_depth(parser, "as recorded")
    add(parser, "--precision NAME", "what the engine computes in (default: as recorded)")
    add(parser, "--threads N", "threads of the engine (default: as recorded)", whole)


def run(args: argparse.Namespace) -> int:
    """Replay every record; see the module's docstring for the exit code."""
    console = Console(json_on_stdout=args.json)
    records = read_records(args.records, args.frames)
    threads = records.setting("threads") if args.threads is None else args.threads
    recorded = records.setting("bit_depth")
    detector = Detector(
        args.engine,
        device=args.device,
        color=records.setting("color"),
        bit_depth=recorded if args.bit_depth is None else args.bit_depth,
        threads=threads,
        precision=args.precision or records.setting("precision"),
        digests=True,
    )
    info = detector.info()
    console.say(
        f"read   {args.engine} and {count(len(records.found), 'verdict')}; "
        f"{info['device']}, {info['precision']}, qualified"
    )
    notes = _notes(detector, records, threads)
    for note in notes:
        console.say(f"note   {note}")
    replayed, failed = _replay_all(detector, records, console)
    _summarise(console, replayed, len(failed))
    if args.json:
        report = {
            "repeated": sum(one.stage is None for one in replayed),
            "departed": _mismatches(replayed),
            "verdicts": [_describe(one, info["bundle_sha256"]) for one in replayed] + failed,
            "without_digests": records.without_digests,
            "without_frame": records.without_frame,
            "notes": notes,
            "engine": info,
        }
        print_json(report)
    if failed:
        return 1
    return MISMATCH if _mismatches(replayed) else 0


def _notes(detector: Detector, records: Records, threads: int | None) -> list[str]:
    """What was different when the verdicts were recorded, the bundle first; what was left out."""
    notes = []
    here: dict[str, Any] = {**detector.info(), "threads": threads}
    for key in ("bundle_sha256", "device", "precision", "version", "kernels", "threads"):
        others = Counter(r.digests.served.get(key) for r in records.found)
        others.pop(here[key], None)
        for value, number in others.items():
            what = f"{key} {value}, here {here[key]}"
            if key == "bundle_sha256":
                what = f"another bundle: digest {str(value)[:12]}, this one is {here[key][:12]}"
            notes.append(f"{count(number, 'verdict')} recorded with {what}")
    left_out = {"digests": records.without_digests, "a saved frame": records.without_frame}
    pairs = [(what, count(number, "verdict")) for what, number in left_out.items() if number]
    return notes + [f"{verdicts} without {what} left out" for what, verdicts in pairs]


def _replay_all(
    detector: Detector, records: Records, console: Console
) -> tuple[list[Replayed], list[dict[str, Any]]]:
    """Replay and print every record; a frame that cannot be read is an error of its own."""
    replayed: list[Replayed] = []
    failed: list[dict[str, Any]] = []
    columns = ("verdict", "stage", "score", "difference", "image")
    console.say(console.paint(ROW.format(*columns), "dim"))
    for record in records.found:
        try:
            one = replay(detector, record)
        except InputError as error:
            complain(error)
            failed.append({"record": record.name, "error": str(error)})
            continue
        replayed.append(one)
        verdict, colour = ("repeated", "green") if one.stage is None else ("MISMATCH", "red")
        row = ROW.format(
            verdict,
            one.stage or "",
            f"{record.score:#.5g}",
            f"{one.score_difference:+.2g}" if one.score_difference else "0",
            record.image,
        )
        console.say(row.replace(verdict, console.paint(verdict, colour), 1))
    return replayed, failed


def _mismatches(replayed: Sequence[Replayed]) -> dict[str, int]:
    """How many verdicts have their first mismatch at each stage, in the order of the stages."""
    found = Counter(one.stage for one in replayed)
    return {stage: found[stage] for stage in STAGES if found[stage]}


def _summarise(console: Console, replayed: Sequence[Replayed], failed: int) -> None:
    mismatches = _mismatches(replayed)
    repeated, verdicts = len(replayed) - sum(mismatches.values()), count(len(replayed), "verdict")
    console.say(f"found  {repeated} of {verdicts} repeated to the last bit")
    for stage, number in mismatches.items():
        those = [one for one in replayed if one.stage == stage]
        parts = sorted({one.part for one in those} - {""})
        largest = max(abs(one.score_difference) for one in those)
        noun = "mismatch" if number == 1 else "mismatches"
        console.say(
            f"       {number} {noun} at {stage}{f' ({parts[0]})' if parts else ''}, score off by "
            f"up to {largest:.2g}: {CAUSES[stage]}"
        )
        if stage == "frame" and any(_lossy(one) for one in those):
            console.say(f"       {LOSSY_CAUSE}")
    if failed:
        console.say(f"failed {count(failed, 'verdict')}, named above")


def _describe(one: Replayed, bundle_sha256: str) -> dict[str, Any]:
    """One element of ``verdicts`` in ``--json``."""
    return {
        "record": one.record.name,
        "image": str(one.record.image),
        "repeated": one.stage is None,
        "stage": one.stage,
        "part": one.part or None,
        "recorded_score": one.record.score,
        "score": one.score,
        "score_difference": one.score_difference,
        "same_bundle": one.record.digests.served["bundle_sha256"] == bundle_sha256,
        "lossy": _lossy(one),
    }


def _lossy(one: Replayed) -> bool:
    return one.record.image.suffix.lower() in LOSSY
