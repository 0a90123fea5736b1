"""Steps of ``edgead learn``, whatever it learns from: compare, judge defects, write, tell."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from edgead_training.data import Division, Parts, Sample

from edgead.bundle.storage import Bundle, Draft
from edgead.cli.console import Console, count, percent, print_json, progress_line
from edgead.cli.options import DEVICE
from edgead.errors import InputError, printable
from edgead.images import read_image
from edgead.learning.backbone import Backbone
from edgead.learning.cleaning import RULE, CrossFit, cross_fit
from edgead.learning.defects import Caught, Defect, judge
from edgead.learning.engines import PRECISION
from edgead.learning.features import Held
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, write_qualified
from edgead.serving.choice import choose

from .learn_page import Page, defects_shelf, worst_shelf

NAMED = 5  # of the worst images in a line for people; --json has more
LISTED = 24


@dataclass
class Said:
    """What is told: on the console at once, in the page and the JSON at the end."""

    console: Console
    page: Page
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for warning in self.warnings:
            self.console.warn(warning)

    def warn(self, text: str) -> None:
        """Say a warning, and keep it."""
        self.console.warn(text)
        self.warnings.append(text)


@dataclass(frozen=True)
class Compared:
    """What the comparison of the good images adds to the JSON and to the provenance, and the
    features that learning need not compute again."""

    held: Held
    told: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)


def settled(args: argparse.Namespace, console: Console) -> str:
    """The device of ``--device``, settled once: "cpu", or "cuda:N", which is said.

    Raises:
        InputError: another word.
    """
    choice = choose(args.device or DEVICE, precision=PRECISION)
    if choice.index is not None:
        console.say(f"engine {choice.device} ({choice.reason})")
    return choice.device


def bar(items: Sequence[Any], title: str) -> Iterator[Any]:
    """Pass ``items`` on, with progress on stderr."""
    show = progress_line(title)
    for done, item in enumerate(items, 1):
        yield item
        show(done, len(items))


def good_images(
    samples: Iterable[Sample], bit_depth: int | None, shows: Mapping[str, str] | None = None
) -> list[GoodImage]:
    """The images of ``samples``, each read when it is needed, also from another folder, as a
    worker of a cluster has one; ``shows``: names to parts."""
    return [
        GoodImage(
            sample.name,
            partial(read_image, sample.path.absolute(), bit_depth=bit_depth),
            (shows or {}).get(sample.name, ""),
        )
        for sample in samples
    ]


def compared(
    args: argparse.Namespace,
    found: Division,
    backbone: Backbone,
    options: LearnOptions,
    said: Said,
) -> tuple[Parts, Compared]:
    """Score the good images by each other, name the worst, and leave some out with ``--trim``.

    Raises:
        InputError: nothing is left to learn from or to calibrate with.
    """
    samples = sorted(found.parts[0] + found.parts[1], key=lambda sample: sample.name)
    images = good_images(samples, args.bit_depth)
    parts = [found.shows[sample.name] for sample in samples]
    cross = cross_fit(images, parts, backbone, options, progress_line, held := Held())
    if cross is None:
        if args.trim or args.report:
            said.console.say("note   too few parts to compare the good images with each other")
        return found.parts, Compared(held, {"worst": [], "trimmed": []})
    _name_worst(cross, said, bool(args.trim))
    if args.report:
        said.page.shelves.append(worst_shelf(cross, images, bool(args.trim)))
    worst = [{"name": cross.names[i], "score": cross.scores[i]} for i in cross.worst(LISTED)]
    told = {"worst": worst, "worst_limit": cross.fence, "trimmed": []}
    if not args.trim:
        return found.parts, Compared(held, told)
    out = [cross.names[i] for i in cross.outlying()]
    learn, calibrate = (tuple(s for s in part if s.name not in out) for part in found.parts)
    if not learn or not calibrate:
        raise InputError(
            f"--trim leaves {len(learn)} images to learn from and {len(calibrate)} to calibrate "
            "with; expected at least one of each: give more images, or leave --trim out"
        )
    trimmed = {"rule": RULE, "limit": cross.fence, "images": out}
    return (learn, calibrate), Compared(held, told | {"trimmed": out}, {"trimmed": trimmed})


def _name_worst(cross: CrossFit, said: Said, trim: bool) -> None:
    outlying, median = cross.outlying(), float(np.median(cross.scores))
    some = outlying or cross.worst(3)
    shown = named([cross.names[i] for i in some], [float(cross.scores[i]) for i in some])
    scale = f"median {median:.4g}, limit {cross.fence:.4g}"
    if not outlying:
        said.console.say(f"worst  none is out of line with the other parts: {shown} ({scale})")
        return
    n = len(cross.names)
    text = f"{len(outlying)} of {n} good images are out of line with the others: {shown} ({scale})."
    if trim:
        text += " --trim left them out; a good part among them is now one of a kind not learnt"
    else:
        text += (
            " A defect among the good images is not found later, and raises the threshold: look "
            "at them (--report DIR), and take them out, or leave them out with --trim"
        )
    said.warn(text)


def named(images: Sequence[str], scores: Sequence[float]) -> str:
    """The first of some images with their scores, as a sentence shows them."""
    pairs = list(zip(images, scores, strict=True))
    shown = ", ".join(f"{printable(name)} {score:.4g}" for name, score in pairs[:NAMED])
    return f"{shown}, …" if len(pairs) > NAMED else shown


def finish(
    args: argparse.Namespace,
    said: Said,
    draft: Draft,
    defects: Sequence[Defect],
    told: dict[str, Any],
    started: float,
    device: str,
) -> int:
    """Judge known defects, write the bundle and the page, and say so; returns the exit code."""
    caught = None
    if defects:
        draft, caught = judge(draft, defects, progress_line, args.threads, device)
        told["defects"] = {**caught.to_json(), "missed": list(caught.missed)}
        _tell_caught(said, caught)
        if args.report:
            scores = draft.manifest.calibration.scores
            said.page.shelves.append(defects_shelf(draft, defects, caught, scores))
    bundle = write_qualified(draft, args.threads, device)
    tell_written(args, said, bundle, told, started, caught)
    said.console.next(f"edgead score {args.out} IMAGES")
    return 0


def _tell_caught(said: Said, caught: Caught) -> None:
    found = caught.to_json()
    low, high = (100 * end for end in found["interval"])
    said.console.say(
        f"caught {caught.caught} of {count(found['images'], 'known defect')}: "
        f"{percent(found['share'])} (95 % interval {low:.1f} to {high:.1f} %)"
    )
    if "located" in found:
        said.console.say(
            f"       the map is highest in the mask of {found['located']} of {found['with_mask']}"
        )
    if caught.missed:
        more = ", …" if len(caught.missed) > NAMED else ""
        said.console.say(f"       missed: {', '.join(map(printable, caught.missed[:NAMED]))}{more}")


def tell_written(
    args: argparse.Namespace,
    said: Said,
    bundle: Bundle,
    told: dict[str, Any],
    started: float,
    caught: Caught | None = None,
) -> None:
    """Say what was written, and print the JSON; ``told``: what that has besides."""
    manifest, seconds = bundle.manifest, time.monotonic() - started
    kept, calibration = manifest.provenance["learn"]["kept"], len(manifest.calibration.scores)
    rate = manifest.calibration.false_reject_rate
    if placement := manifest.provenance["learn"].get("placement"):
        word = "given" if placement.get("given") else "found"
        said.console.say(f"{word}  {placement['name']}: {placement['means']}")
    proof = "with" if "forgot" in told else "qualified on"  # what was forgotten was so before
    said.console.say(
        f"wrote  {args.out} in {seconds:.1f} s: {count(kept, 'feature')} kept, "
        f"{count(calibration, 'calibration image')}, false-reject rate {percent(rate)}, "
        f"{proof} {count(len(manifest.golden), 'golden frame')}"
    )
    if cost := manifest.provenance["learn"].get("int8"):
        said.console.say(_int8(cost))
    if args.report:
        said.page.headline = f"{count(told['images'], 'good image')} learnt"
        said.page.warnings = said.warnings
        said.page.tiles = [
            (str(told["images"]), "images learnt from"),
            (str(calibration), "calibration images"),
            (percent(rate), "false-reject rate"),
            (str(kept), "features kept"),
        ]
        if caught is not None:
            said.page.tiles.append((f"{caught.caught} of {len(caught.scores)}", "defects caught"))
        told["report"] = str(said.page.write(args.report))
        said.console.say(f"wrote  {told['report']}")
    if args.json:
        print_json(
            {
                "bundle": str(bundle.path),
                "bundle_sha256": bundle.sha256,
                "seconds": round(seconds, 2),
                "images": told["images"],
                "kept": kept,
                "calibration": calibration,
                "false_reject_rate": rate,
                "placement": None if placement is None else placement["name"],
                "precisions": list(manifest.models),
                "warnings": said.warnings,
                **told,
            }
        )


def _int8(cost: dict[str, Any]) -> str:
    """What int8 costs, as ``with_graphs`` kept it."""
    off = percent(cost["score_largest"] / cost["score_spread"])
    return (
        f"int8   verdicts on calibration images changed: {cost['verdicts_changed']}; synthetic "
        f"defects found {cost['found'][0]} -> {cost['found'][1]} of {cost['painted']}; score off "
        f"by up to {off} of the spread"
    )
