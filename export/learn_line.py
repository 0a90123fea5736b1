"""``edgead learn BUNDLE --add`` and ``--forget``: what a line teaches a bundle, and takes back."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from edgead_training.data.grouping import grouped

from edgead.bundle.known_images import calibrated_with, learnt_more
from edgead.bundle.storage import Bundle, check_out, open_bundle
from edgead.cli.console import Console, count, progress_line
from edgead.editing.recalibration import Choice, check_number, choose
from edgead.errors import InputError, printable
from edgead.images import expand, images_of, read_image
from edgead.learning.adding import Addition, add_images, options_of
from edgead.learning.defects import DEFECTS, check_not_good, defects_in
from edgead.learning.good_image import GoodImage, counted
from edgead.learning.line_images import (
    NO_SAMPLE,
    Looked,
    check_apart,
    check_parts,
    check_random,
    look_at_added,
)
from edgead.learning.lineage import forget
from edgead.learning.scoring import fence, limit_of, scores_of
from edgead.signing.trust import note_unsigned

from .learn_page import Page, added_shelf
from .learn_steps import NAMED, Said, finish, named, settled, tell_written

OF_THE_PARENT = (DEFECTS, "calibration")  # of its provenance: no longer true of what is made of it


def forget_last(args: argparse.Namespace, console: Console) -> int:
    """Write the bundle as it was before the last ``--add``; returns the exit code.

    Raises:
        InputError: nothing was added.
        BundleError: the bundle does not hold its parent, or cannot be written.
    """
    started, bundle = time.monotonic(), open_bundle(args.data)
    said = Said(console, Page(args.out.stem))
    parent = forget(bundle, args.out)
    told = {"images": parent.manifest.provenance["learn"]["images"], "forgot": bundle.sha256}
    tell_written(args, said, parent, told, started)
    console.next(f"edgead inspect {args.out}")
    return 0


def add_to(args: argparse.Namespace, console: Console) -> int:
    """Add images of good parts to a bundle; returns the exit code.

    Raises:
        InputError: no sample to calibrate with, a bundle that was not learnt, images that cannot
            be added or score as gross outliers.
        CalibrationError: a sample that promises nothing.
        BundleError: the bundle cannot be written.
    """
    started, out, bundle = time.monotonic(), check_out(args.out), open_bundle(args.data)
    options = options_of(bundle, args.memory, args.threads, settled(args, console))
    if args.calibrate is None:
        raise InputError(NO_SAMPLE)
    paths, sample = expand(args.add), images_of(args.calibrate)
    left_out = paths.left_out + sample.left_out
    defects = defects_in(args.defects, options.bit_depth) if args.defects else []
    console.say(
        f"read   {args.data}, {count(len(paths.images), 'image')} to add, "
        f"{count(len(sample.images), 'image')} of {args.calibrate} to calibrate with"
    )
    said = Said(console, Page(out.stem))
    added = look_at_added(bundle, paths.images, progress_line("checking the images to add"))
    said.page.headline = f"{count(len(added.paths), 'image')} to add to {bundle.manifest.name}"
    choice, shows = _sample(bundle, sample.images, added, args.group, said)
    new = _images(added.paths, options.bit_depth)
    random = _images(choice.paths, options.bit_depth, shows)
    number, what = counted(random)
    rate = check_number(bundle, number, args.false_reject_rate, what)
    digests = [content.digest for content in added.contents]
    stays = {k: v for k, v in bundle.manifest.provenance.items() if k not in OF_THE_PARENT}
    provenance = learnt_more(stays, digests)
    provenance = calibrated_with(provenance, [content.digest for content in choice.contents])
    check_not_good(defects, provenance)
    before = _before(args, bundle, new, random, said, options.device)
    found = add_images(
        bundle,
        new,
        random,
        rate,
        out,
        options,
        precisions=args.precision or None,
        provenance=provenance,
        progress=progress_line,
    )
    for line in note_unsigned(bundle, out):
        console.say(line)
    told = _told(bundle, found, added, before, said) | {"left_out": dict(left_out)}
    _look_at_sample(found, random, said)
    if args.report:
        said.page.shelves[:] = [added_shelf(bundle, new, before, _gross(bundle), found)]
    return finish(args, said, found.draft, defects, told, started, options.device)


def _sample(
    bundle: Bundle, paths: Sequence[Path], added: Looked, group: str | None, said: Said
) -> tuple[Choice, Mapping[Path, str]]:
    """The images to calibrate with, looked at, and what each shows by ``group``, where it is given.

    Raises: CalibrationError, InputError.
    """
    n, parts = len(added.paths), None
    if group is not None:
        names = grouped([path.as_posix() for path in (*added.paths, *paths)], group)
        parts = names[:n], dict(zip(paths, names[n:], strict=True))
    show = progress_line("checking the images to calibrate with")
    depth = bundle.manifest.preprocess.bit_depth
    choice = choose(bundle, paths, show, near=group is None, bit_depth=depth)
    check_apart(choice, added, depth, near=group is None)
    if parts is not None:
        shown = [parts[1][path] for path in choice.paths]
        check_parts(shown, choice, parts[0])
        said.console.say(
            f"parts  {len(set(parts[0]))} to add, {len(set(shown))} to calibrate with, by --group "
            f"{group}"
        )
    for warning in (*added.warnings, *choice.warnings):
        said.warn(warning)
    return choice, {} if parts is None else parts[1]


def _images(
    paths: Sequence[Path], bit_depth: int | None, shows: Mapping[Path, str] = MappingProxyType({})
) -> list[GoodImage]:
    return [
        GoodImage(
            str(path),
            lambda path=path: read_image(path, bit_depth=bit_depth),  # type: ignore[misc]
            shows.get(path, ""),
        )
        for path in paths
    ]


def _gross(bundle: Bundle) -> float:
    """The score above which an image to add is a gross outlier."""
    return max(fence(bundle.manifest.calibration.scores), limit_of(bundle))


def _before(
    args: argparse.Namespace,
    bundle: Bundle,
    new: Sequence[GoodImage],
    random: Sequence[GoodImage],
    said: Said,
    device: str,
) -> list[float]:
    """Scores of the images to add by the bundle so far. Raises: InputError, CalibrationError."""
    title = "scores by the bundle so far"
    scores = scores_of(bundle, [*new, *random], progress_line, title, args.threads, device)
    before, sample = scores[: len(new)], scores[len(new) :]
    limit, gross = limit_of(bundle), _gross(bundle)
    if concern := check_random(int((sample > limit).sum()), len(sample), bundle):
        said.warn(concern)
    order = [i for i in np.argsort(-before, kind="stable").tolist() if before[i] > gross]
    if not order:
        return [float(score) for score in before]
    worst = named([new[i].name for i in order], [before[i] for i in order])
    text = (
        f"{len(order)} of {len(new)} images to add score far above all good parts: {worst}; "
        f"expected at most {gross:.4g}, while the threshold is {limit:.4g}. A defect that is added "
        "is not found any more"
    )
    if args.force:
        said.warn(f"{text}; --force adds them all the same")
        return [float(score) for score in before]
    shown = "--report DIR shows them"
    if args.report:
        said.page.warnings = [text]
        said.page.shelves.append(added_shelf(bundle, new, before.tolist(), gross, None))
        shown = f"{said.page.write(args.report)} shows them"
    raise InputError(f"{text}: look at each ({shown}), and add the good ones with --force")


def _look_at_sample(found: Addition, random: Sequence[GoodImage], said: Said) -> None:
    """Warn of images of the sample that are out of line with the others."""
    scores = found.draft.manifest.calibration.scores
    order = [i for i in np.argsort(scores)[::-1].tolist() if scores[i] > fence(scores)]
    if order:
        worst = named([random[i].name for i in order], [scores[i] for i in order])
        said.warn(
            f"{len(order)} of {len(random)} images to calibrate with are out of line with the "
            f"others: {worst}. A defect among them raises the threshold: look at them, and take "
            "those with a defect out"
        )


def _told(
    bundle: Bundle, found: Addition, added: Looked, before: Sequence[float], said: Said
) -> dict[str, object]:
    """Say what became of the added images; what the JSON has of it."""
    rejected = sum(score > limit_of(bundle) for score in before)
    still = [str(path) for path, one in zip(added.paths, found.rejected, strict=True) if one]
    said.console.say(
        f"added  {count(len(before), 'image')}, {rejected} of them rejected before, {len(still)} "
        f"now; {found.new} of their features are in the memory"
    )
    if still:
        more = ", …" if len(still) > NAMED else ""
        said.warn(
            f"{len(still)} of {len(before)} added images are still rejected "
            f"({', '.join(map(printable, still[:NAMED]))}{more}): {found.cure}"
        )
    return {
        "images": found.draft.manifest.provenance["learn"]["images"],
        "added": {
            "images": len(before),
            "rejected_before": int(rejected),
            "rejected_now": len(still),
            "features": found.new,
        },
        "parent": bundle.sha256,
    }
