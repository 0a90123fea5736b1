"""How images are divided, for a run or ``edgead learn``, and what a run keeps of it. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgead.images import ORIENTATION, Remarks
from edgead.images.content import Content
from edgead.monitoring.depth import UsedBits

from .data import (
    Dataset,
    Division,
    Parts,
    Sample,
    check_halves,
    check_images,
    divide,
    held_apart,
    overlap_with_test,
    split,
)
from .data.grouping import name_of

if TYPE_CHECKING:  # learning on a device uses this module, and has no torch
    from .methods.base import Progress


def look(
    samples: Sequence[Sample], progress: Progress, bit_depth: int | None = None
) -> tuple[list[Content], tuple[str, ...]]:
    """Decode every image, with a progress bar; what each shows, and what is odd about the files.

    Raises: DataError.
    """
    ticks = progress(range(len(samples)), "checking the images")
    used, remarks = UsedBits(bit_depth), Remarks()
    contents = check_images(
        samples, lambda _done, _all: next(ticks, None), used=used, remarks=remarks
    )
    next(ticks, None)  # past the last image, so that the bar ends
    concern = used.concern()
    return contents, (*remarks.lines(ORIENTATION), *([concern] if concern else []))


def divided(
    dataset: Dataset,
    seed: int,
    fraction: float,
    chosen: dict[str, Any],
    progress: Progress,
    bit_depth: int | None = None,
) -> Division:
    """The images divided by what they show; ``chosen``: group and shots. Raises: DataError."""
    split(dataset.train, seed, fraction, **chosen)  # refuses options before minutes of reading
    untold = 0 if chosen["group"] is None else check_halves(dataset, chosen["group"])
    contents, said = look(dataset.train, progress, bit_depth)
    if untold:
        said = (
            *said,
            (
                f"--group {name_of(chosen['group'])} does not say which part {untold} of "
                f"{len(dataset.test)} test images show: whether they are of parts that are learnt "
                "from is not known"
            ),
        )
    division = divide(dataset, contents, seed, fraction, bit_depth=bit_depth, **chosen)
    names = {sample.name for sample in division.parts[0] + division.parts[1]}
    pairs = zip(dataset.train, contents, strict=True)
    kept = [content for sample, content in pairs if sample.name in names]
    title = "comparing with the test images"
    more = overlap_with_test(dataset, kept, lambda samples: progress(samples, title), bit_depth)
    return replace(division, warnings=said + division.warnings + more)


def divided_again(record: dict[str, Any], dataset: Dataset, parts: Parts) -> Parts:
    """The parts of a run from before copies were looked for, which ``record`` then tells of.

    Raises: DataError.
    """
    samples = parts[0] + parts[1]
    contents, _ = look(samples, lambda items, _title: iter(items), record["data"].get("bit_depth"))
    names = (sample.name for sample in samples)
    by_name = dict(zip(names, contents, strict=True))
    division = held_apart(dataset, parts, by_name, record["data"].get("group"))
    note(record, division)
    return division.parts


def note(record: dict[str, Any], division: Division) -> None:
    """Note in a run's record which images are left out, what the others show, what was said."""
    learnt, calibrated = division.digests
    record["left_out"] = list(division.left_out)
    record["digests"] = {"train": list(learnt), "calibration": list(calibrated)}
    record["warnings"] = list(division.warnings)
