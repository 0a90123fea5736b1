"""Images from the line, looked at before a bundle learns from them or is calibrated with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead.bundle.known_images import LEARNT, Known
from edgead.bundle.storage import Bundle
from edgead.editing.recalibration import Choice, kind_of, usable_frame
from edgead.errors import CalibrationError, InputError, printable
from edgead.images import Remarks, read_image
from edgead.images.content import (
    Content,
    content_of,
    is_black,
    is_constant,
    is_saturated,
    levels,
)
from edgead.images.copies import copies, near_copies
from edgead.images.image_set import first_faults, first_named
from edgead.monitoring.depth import golden_frames

ALARMS = 0.9  # of a sample: more are rejected of alarms only, or where everything is another

NO_SAMPLE = (
    "--add needs --calibrate DIR, a random sample of all good parts: the parts that were rejected "
    "score higher than others, and a threshold from them alone lets defects pass, while the one "
    "from before promises nothing of a memory that has changed. Save every n-th part of a shift, "
    "whatever its verdict, and leave the defective ones out"
)


@dataclass(frozen=True)
class Looked:
    """Images that may be added: each once; ``warnings`` say what was left out."""

    paths: tuple[Path, ...]
    contents: tuple[Content, ...]
    warnings: tuple[str, ...]


def look_at_added(
    bundle: Bundle, paths: Sequence[Path], progress: Callable[[int, int], None]
) -> Looked:
    """Look at images of good parts before they are added to a bundle.

    Args:
        bundle: that they are added to.
        paths: of the images.
        progress: called with (images done, images in all).

    Raises:
        InputError: names every image that cannot be added: it cannot be read, is not of the kind
            or size of the bundle's frames, was learnt from already, or shows nothing.
    """
    manifest, remarks = bundle.manifest, Remarks()
    expected = {kind_of(frame) for frame in golden_frames(bundle)}
    depth, known = manifest.preprocess.bit_depth, Known(manifest.provenance)
    faults: list[str] = []
    found: dict[bytes, tuple[Path, Content]] = {}
    for done, path in enumerate(paths, 1):
        try:
            content = content_of(read_image(path, bit_depth=depth))
            found.setdefault(content.digest, (path, content))
        except InputError as error:
            faults.append(str(error))
        progress(done, len(paths))
    kept = list(found.values())
    empty = _empty([path for path, _ in kept], [content for _, content in kept], depth)
    faults += empty.values()
    for path, content in kept:
        try:
            if path not in empty:
                usable_frame(path, expected, manifest.ignore, depth, remarks)
            if known.kind_of(content.digest) == LEARNT:
                raise InputError(f"image {path} was learnt from already")
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(
            f"{len(faults)} of {len(paths)} images cannot be added, so nothing was learnt: "
            f"{first_faults(faults)}; remove them"
        )
    said = remarks.lines(manifest.provenance)
    if len(kept) < len(paths):
        said.append(f"{len(paths)} images to add are {len(kept)} different ones: each counts once")
    return Looked(tuple(p for p, _ in kept), tuple(c for _, c in kept), tuple(said))


def _empty(
    paths: Sequence[Path], contents: Sequence[Content], bit_depth: int | None
) -> dict[Path, str]:
    """A sentence for each image in which no part is to be seen."""
    found = {}
    for path, content, level in zip(paths, contents, levels(contents, bit_depth), strict=True):
        for test, what in (
            (is_constant, "of one value, or nearly"),
            (is_black, "black"),
            (is_saturated, "saturated"),
        ):
            if test(content, level):
                found[path] = f"image {path} is {what}: added, it would make such frames good ones"
                break
    return found


def check_apart(choice: Choice, added: Looked, bit_depth: int | None, *, near: bool = True) -> None:
    """Refuse a sample to calibrate with that holds what is added, in whatever encoding.

    Args:
        choice: the sample.
        added: what is added.
        bit_depth: of 16-bit images, where it is declared.
        near: whether near-copies count; False where it is known which part each image shows.

    Raises:
        CalibrationError: names the images.
    """
    n, both = len(added.contents), [*added.contents, *choice.contents]
    first = near_copies(both, levels(both, bit_depth)) if near else copies(both)
    shared = [
        f"{path.name} of {added.paths[root].name}"
        for path, root in zip(choice.paths, first[n:], strict=True)
        if root < n
    ]
    if shared:
        raise CalibrationError(
            f"{len(shared)} of {len(choice.paths)} images to calibrate with are copies or "
            f"near-copies of images to add ({first_named(shared)}): what is learnt scores lower "
            "than a new part, so the threshold would not keep its promise. A random sample keeps "
            "all that it drew: leave these out of --add, or draw a sample of other parts"
        )


def check_parts(parts: Sequence[str], choice: Choice, added: Sequence[str]) -> None:
    """Refuse a sample to calibrate with of parts that are added, or of one part.

    Args:
        parts: which part each image of the sample shows.
        choice: the sample.
        added: which part each image to add shows.

    Raises:
        CalibrationError: names the images.
    """
    learnt = set(added)
    shared = [
        f"{path.name} of {part}"
        for path, part in zip(choice.paths, parts, strict=True)
        if part in learnt
    ]
    if shared:
        raise CalibrationError(
            f"{len(shared)} of {len(parts)} images to calibrate with show parts that are added "
            f"({first_named(shared)}): what is learnt scores lower than a new part, so the "
            "threshold would not keep its promise. Leave these parts out of --add, or draw a "
            "sample of other parts"
        )
    if len(set(parts)) == 1:
        raise CalibrationError(
            f"all {len(parts)} images to calibrate with show one part, {printable(parts[0])}: the "
            "threshold would be promised for further images of it, not for other parts; give a "
            "random sample of many parts"
        )


def check_random(rejected: int, n: int, bundle: Bundle) -> str | None:
    """Refuse a sample that consists of alarms: of all good parts, a bundle rejects few.

    Args:
        rejected: how many of the sample ``bundle`` rejects.
        n: images in the sample.
        bundle: the one that is added to.

    Returns:
        A warning where it rejects more than half.

    Raises:
        CalibrationError: it rejects more than ``ALARMS`` of them.
    """
    if rejected > ALARMS * n:
        raise CalibrationError(
            f"{rejected} of {n} images to calibrate with are rejected by "
            f"{printable(bundle.manifest.name)}, as if they were chosen among its alarms: a "
            "threshold from them lets defects pass, and promises nothing of other parts. Give a "
            "random sample of all good parts, whatever their verdicts; if nearly all parts are "
            "rejected now, the camera or the part is another: learn from new images instead"
        )
    if 2 * rejected <= n:
        return None
    return (
        f"{rejected} of {n} images to calibrate with are rejected by the bundle so far: the "
        "threshold holds only if they were drawn from all good parts, whatever their verdicts"
    )
