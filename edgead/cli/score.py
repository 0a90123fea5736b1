"""Score images with a bundle: a verdict, a score and a p-value for each.

The p-value is the share of normal frames that score at least as high; a frame is anomalous when
it is at most the allowed false-reject rate. Exit code 1 when an image cannot be read (the others
are scored), with --exit-code 3 when a frame is anomalous.

With --out: every image below a folder, or below a URL as s3://bucket/parts, becomes a row in
Parquet files; a run that was stopped goes on. --ray does it on a Ray cluster, with equal rows.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgead.bundle.storage import check_outside
from edgead.cli.console import Console, complain, count, percent, print_json
from edgead.cli.options import (
    add,
    add_detector,
    detector_settings,
    detector_words,
    file_path,
    whole,
)
from edgead.detector import Detector
from edgead.errors import InputError
from edgead.images import Remarks, expand, open_image, sentence, write_png
from edgead.monitoring.depth import UsedBits
from edgead.result import describe

EXAMPLE = """\
  edgead score cell.edgead part.png                      one image
  edgead score cell.edgead parts/ --heatmap out          a folder, with an overlay PNG for each
  edgead score cell.edgead parts/ --json > scores.json   for programs
  edgead score cell.edgead part.png --exit-code || stop  for shell scripts (3: anomalous)
  edgead score cell.edgead parts/ --out rows             a data set of any size, into Parquet
  edgead score cell.edgead parts/ --out rows --ray       on a Ray cluster"""

ANOMALOUS = 3
LONGEST_STEM = 200
"""Bytes of a name before ``_heatmap.png``; most file systems end at 255, temporary names longer."""
ROW = "{:<10}  {:>10}  {:>7}  {:>7}  {:>7}  {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead score``."""
    add(parser, "engine NAME.edgead", "the bundle")
    add(parser, "images IMAGE", "image files or folders of them", nargs="+")
    add(parser, "--json", "one JSON object on stdout")
    add(parser, "--heatmap DIR", "write an overlay PNG of every image into DIR", file_path)
    add_detector(parser)
    add(parser, "--exit-code", "exit with 3 when a frame is anomalous")
    group = parser.add_argument_group("data sets of any size")
    add(group, "--out DIR", "write a row for each image below IMAGE as Parquet into DIR, or a URL")
    text = "with --out: on the Ray cluster at ADDRESS (default: of RAY_ADDRESS, else started here)"
    add(group, "--ray ADDRESS", text, nargs="?", const=True)
    add(
        group,
        "--actors N",
        "with --ray: Detectors, each a process (default: as there is room)",
        whole,
    )
    add(group, "--retry-errors", "with --out: score the images again whose rows have an error")


def run(args: argparse.Namespace) -> int:
    """Score every image; see the module's docstring for the exit code."""
    if args.out is not None:
        from edgead.scale.command import run_dataset

        return run_dataset(args)
    for name in ("ray", "actors", "retry_errors"):
        if getattr(args, name):
            option = name.replace("_", "-")
            raise InputError(f"--{option} without --out: say where the rows go, --out DIR")
    if args.digests and not args.json:
        raise InputError("--digests without --json: digests are in the JSON only; add --json")
    console = Console(json_on_stdout=args.json)
    found = expand(args.images)
    paths = found.images
    overlays = overlay_paths(args.heatmap, paths)
    detector = Detector(args.engine, **detector_settings(args))
    info = detector.info()
    console.say(
        f"read   {args.engine} and {count(len(paths), 'image')}; "
        f"{info['device']}, {info['precision']}, qualified"
    )
    if found.left_out:
        console.say(f"note   {sentence(found.left_out)}")
    frames = list(_score_all(detector, paths, overlays, console))
    if args.json:
        engine = {key: info[key] for key in ("device", "precision", "bundle_sha256")}
        print_json({"frames": frames, "engine": engine, "left_out": dict(found.left_out)})
    _summarise(console, args, detector, frames)
    if any("error" in frame for frame in frames):
        return 1
    if args.exit_code and any(frame["is_anomalous"] for frame in frames):
        return ANOMALOUS
    return 0


def overlay_paths(folder: Path | None, paths: Sequence[Path]) -> Sequence[Path | None]:
    """Where the overlay of each image goes: ``STEM_heatmap.png``, no two alike.

    Images of one stem take their folder's name along, then a number; a file system may ignore
    case, so names do too. Makes the folder.

    Raises:
        InputError: an overlay would take the place of one of the images
    """
    if folder is None:
        return [None] * len(paths)
    check_outside(folder, "--heatmap")
    folder.mkdir(parents=True, exist_ok=True)
    stems = Counter(path.stem.casefold() for path in paths)
    taken: set[str] = set()
    result: list[Path] = []
    for path in paths:
        alone = stems[path.stem.casefold()] == 1
        base = path.stem if alone else f"{path.resolve().parent.name}_{path.stem}"
        if len(os.fsencode(base)) > LONGEST_STEM:
            base = os.fsencode(base)[:LONGEST_STEM].decode("utf-8", "ignore")
        name, number = base, 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        result.append(folder / f"{name}_heatmap.png")
    inputs = {path.resolve() for path in paths}
    for target in result:
        if target.resolve() in inputs:
            raise InputError(f"{target} is one of the images: write the overlays to another folder")
    return result


def _score_all(
    detector: Detector, paths: Sequence[Path], overlays: Sequence[Path | None], console: Console
) -> Iterator[dict[str, Any]]:
    """Score, print and describe every image; one that cannot be read is an error of its own."""
    remarks = Remarks()
    columns = ("verdict", "score", "p-value", "regions", "ms", "image")
    console.say(console.paint(ROW.format(*columns), "dim"))
    used = UsedBits(detector.bit_depth)
    for path, overlay in zip(paths, overlays, strict=True):
        try:
            file = open_image(path, bit_depth=detector.bit_depth)
            remarks.add(file)
            try:
                result = detector.score(file.frame)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            used.add(file.frame)
        except InputError as error:
            complain(error)
            yield {"path": str(path), "error": str(error)}
            continue
        verdict, colour = ("ANOMALOUS", "red") if result.is_anomalous else ("good", "green")
        row = ROW.format(
            verdict,
            f"{result.score:#.5g}",
            f"{result.p_value:#.3g}",
            len(result.regions),
            f"{result.timings_ms['total']:.1f}",
            path,
        )
        # Painted after the padding: escape sequences have a length but no width.
        console.say(row.replace(verdict, console.paint(verdict, colour), 1))
        frame = describe(path, result)
        if overlay is not None:
            write_png(overlay, result.overlay(), "picture")
            frame["heatmap"] = str(overlay)
        yield frame
    said = [*remarks.lines(detector.bundle.manifest.provenance)]
    if concern := used.concern_of_serving(detector.bundle):
        said.append(concern)
    for line in said:
        console.warn(line)


def _summarise(
    console: Console, args: argparse.Namespace, detector: Detector, frames: list[dict[str, Any]]
) -> None:
    scored = [frame for frame in frames if "error" not in frame]
    anomalous = sum(frame["is_anomalous"] for frame in scored)
    console.say(
        f"found  {anomalous} anomalous of {count(len(scored), 'image')}: score above "
        f"{detector.threshold:.5g}, for a false-reject rate of "
        f"{percent(detector.false_reject_rate)}"
    )
    if len(scored) < len(frames):
        console.say(f"failed {count(len(frames) - len(scored), 'image')}, named above")
    if args.heatmap is not None:
        console.say(f"wrote  {count(len(scored), 'overlay')} to {args.heatmap}")
        console.next(f"look at {args.heatmap}")
    elif scored:
        failed = {frame["path"] for frame in frames if "error" in frame}
        images = [image for image in args.images if str(Path(image)) not in failed]
        images = images if len(images) <= 3 else [*images[:1], "…"]
        quoted = shlex.join([args.engine, *images]).replace("'…'", "…")
        settings = shlex.join([*detector_words(args), "--heatmap", "heatmaps"])
        console.next(f"edgead score {quoted} {settings}")
