"""Show what is in a bundle, after checking the digest of every file in it.

Reads the files only: nothing is built or run (edgead verify does that).
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from edgead.bundle.card import CARD
from edgead.bundle.manifest import Manifest
from edgead.bundle.roi import roi_of
from edgead.bundle.storage import Bundle, open_bundle
from edgead.calibration import best_false_reject_rate
from edgead.cli.console import Console, count, percent, print_json
from edgead.cli.options import add
from edgead.signing.trust import signatures_of

IN_JSON = "… in --json"
LONGEST_LIST = 60  # characters; a longer one is for programs
FOR_PROGRAMS = ("census", "digests")  # of the provenance: of all operators, of all images

EXAMPLE = """\
  edgead inspect cell.edgead            for people
  edgead inspect cell.edgead --json     the manifest and the digest of the bundle"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead inspect``."""
    add(parser, "engine NAME.edgead", "the bundle")
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the manifest as text or as JSON."""
    bundle = open_bundle(args.engine)
    if args.json:
        path, manifest = str(bundle.path), bundle.manifest.to_json()
        print_json({"path": path, "bundle_sha256": bundle.sha256, "manifest": manifest})
        return 0
    console = Console()
    console.say(f"read   {args.engine}, {count(len(bundle.manifest.files), 'file')}, all intact")
    for heading, lines in _sections(bundle).items():
        console.say()
        console.say(console.paint(heading, "bold"))
        for line in lines:
            console.say(f"  {line}")
    console.say()
    console.next(f"edgead verify {shlex.quote(str(args.engine))}")
    return 0


def _sections(bundle: Bundle) -> dict[str, list[str]]:
    """Headings with their lines, in the order of the data's way through the bundle."""
    manifest = bundle.manifest
    image = manifest.preprocess_params()
    height, width = image.size
    return {
        f"{manifest.name}: {manifest.method}": [
            f"made    {manifest.created} by edgead {manifest.edgead_version}",
            *_signed(bundle),
        ],
        "input": [
            f"any frame, brought to {height} x {width} (height x width)",
            f"mean {_numbers(image.mean)}, std {_numbers(image.std)} (RGB)",
            *([f"uint16 frames of {image.bit_depth} bits"] if image.bit_depth else []),
        ],
        **_compared(bundle),
        "map": _map(bundle),
        "calibration": _calibration(manifest),
        "camera health": _health(manifest),
        "golden frames": [
            *(f"{golden.image}: score {golden.score:.5g}" for golden in manifest.golden),
            *(
                f"tolerance {precision}: score {tolerance.score:.3g}, map {tolerance.map:.3g}"
                for precision, tolerance in manifest.tolerance.items()
            ),
        ],
        "provenance": _tree(manifest.provenance),
        "files": _files(bundle),
        **_card(bundle),
    }


def _card(bundle: Bundle) -> dict[str, list[str]]:
    """``card.md`` as it is, but for what could obey a terminal."""
    if CARD not in bundle.manifest.files:
        return {}
    return {CARD: bundle.read(CARD).decode("utf-8", "replace").splitlines()}


def _signed(bundle: Bundle) -> list[str]:
    """Who has signed it, as it stands there: nothing is computed here."""
    if bundle.read_signatures() is None:
        return []
    counter, keys = signatures_of(bundle)
    return [f"signed by {' and '.join(keys)}, counter {counter}; edgead verify checks it"]


def _compared(bundle: Bundle) -> dict[str, list[str]]:
    """Pairs of the graph, and features of good parts that are kept; no heading for none."""
    pairs, memories = bundle.manifest.pairs, bundle.manifest.memories
    restored = [
        f"{pair.reference} | {pair.restored}: {pair.channels} channels of "
        f"{pair.size[0]} x {pair.size[1]}, weight {pair.weight:g}"
        for pair in pairs
    ]
    kept = [
        f"{memory.features}: {memory.channels} channels of {memory.size[0]} x {memory.size[1]}, "
        f"{'' if memory.temperature is None else 'a blend of '}"
        f"the {'nearest' if memory.neighbours == 1 else f'{memory.neighbours} nearest'} of "
        f"{memory.file}, weight {memory.weight:g}"
        for memory in memories
    ]
    found = {f"pairs ({len(pairs)})": restored, f"memories ({len(memories)})": kept}
    if memories:
        found["places"] = _places(bundle.manifest)
    return {heading: lines for heading, lines in found.items() if lines}


def _places(manifest: Manifest) -> list[str]:
    """What is compared with the mean and covariance of each place, and for which sum."""
    lines = [
        f"{one.features}: {count(one.count, 'channel')}"
        f"{f' from {one.first}' if one.first else ''} by {one.mean} and {one.factors}, for the "
        f"{' and the '.join(w for w, n in (('map', one.places), ('score', one.scored)) if n)}"
        for one in manifest.whitenings
    ]
    lines = lines or ["not used"]
    if (levels := manifest.own_levels) is not None:
        lines.append(
            f"frames are raised to one level, as far as good ones differ: {levels[0]:.4g} to "
            f"{levels[1]:.4g}"
        )
    return lines


def _map(bundle: Bundle) -> list[str]:
    """What the map is made of: distance and pooling, tiles, ignore mask."""
    manifest = bundle.manifest
    settings = manifest.map_params()
    pooling: str = settings.pooling
    if pooling == "top_k":
        pooling = f"mean of the highest {percent(settings.top_k)} of the pixels"
    lines = [
        f"{settings.distance} distance, {settings.fusion} over the pairs at "
        f"{settings.size[0]} x {settings.size[1]}, blur sigma {settings.blur_sigma:g}, "
        f"score = {pooling}{'' if manifest.scored_size() is None else ' of a sum of its own'}"
    ]
    if manifest.tiling is not None:
        (height, width), overlap = manifest.tiling.size, manifest.tiling.overlap
        tile = f"{height} x {width} pixels of the frame"
        lines.append(f"of each tile of {tile}, overlapping by {overlap}")
    mask, roi = manifest.ignore, roi_of(bundle)
    if mask is not None and roi is not None:
        drawn = [count(len(mask.polygons), "polygon")] if mask.polygons else []
        drawn += [mask.image] if mask.image else []
        size = f"{mask.frame_size[0]} x {mask.frame_size[1]}"
        share = percent(1 - roi.mean())
        lines.append(f"{share} of it ignored: {', '.join(drawn)}, drawn on {size}")
        lines.append(f"scores frames of {size} only")
    return lines


def _calibration(manifest: Manifest) -> list[str]:
    calibration = manifest.calibration
    number, rate = len(calibration.scores), calibration.false_reject_rate
    counts, counted = calibration.counted()
    of_parts = f" of {count(counts, 'part')}" if counted == "parts" else ""
    low, high = min(calibration.scores), max(calibration.scores)
    limit = manifest.limit("float32", rate)
    return [
        f"{count(number, 'good image')}{of_parts}, scores {low:.5g} to {high:.5g}",
        f"false-reject rate {percent(rate)}: anomalous above {limit:.5g}",
        f"best rate these {counted} can promise: {percent(best_false_reject_rate(counts))}",
        *(
            f"in {name} by scores of its own: anomalous above {manifest.limit(name, rate):.5g}"
            for name in calibration.own
        ),
        *(
            f"ties {precision}: score {ties.score:.3g}, map {ties.map:.3g}"
            for precision in manifest.tolerance
            for ties in [manifest.calibration_of(precision).ties]
        ),
    ]


def _health(manifest: Manifest) -> list[str]:
    limits = manifest.health
    if limits is None:
        return ["no limits; edgead calibrate measures them on good images"]
    return [
        f"{count(limits.images, 'good image')}: brightness {percent(limits.brightness)} or more, "
        f"saturated {percent(limits.saturated)} or less,",
        f"sharpness {limits.sharpness:.4g} or more, shift {percent(limits.shift)} or less",
    ]


def _files(bundle: Bundle) -> list[str]:
    lines = []
    for name, digest in sorted(bundle.manifest.files.items()):
        size = bundle.path_of(name).stat().st_size
        lines.append(f"{name}  {size / 1e6:.2f} MB  sha256 {digest[:16]}…")
    return [*lines, f"manifest.json  bundle_sha256 {bundle.sha256[:16]}…"]


def _tree(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """A free JSON object as indented ``key: value`` lines, without what is long."""
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict) and item and key not in FOR_PROGRAMS:
            lines += [f"{indent}{key}:", *_tree(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {IN_JSON if key in FOR_PROGRAMS else _value(item)}")
    return lines


def _value(item: object) -> str:
    """A JSON value; strings bare, numbers rounded, long lists left out."""
    if isinstance(item, str):
        return item
    if isinstance(item, float):
        return f"{item:.6g}"
    text = json.dumps(item, ensure_ascii=False)
    return IN_JSON if isinstance(item, list) and len(text) > LONGEST_LIST else text


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
