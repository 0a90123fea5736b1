"""The division of a run's images, and what its record keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgead.images.content import Content

from .data import (
    Dataset,
    Division,
    Parts,
    Sample,
    check_images,
    divide,
    held_apart,
    overlap_with_test,
    split,
)
from .progress import SILENT, Progress


def look(samples: Sequence[Sample], progress: Progress) -> list[Content]:
    """Decode every image, with a progress bar; what each shows. Raises: DataError."""
    ticks = progress(range(len(samples)), "checking the images")
    contents = check_images(samples, lambda _done, _all: next(ticks, None))
    next(ticks, None)  # past the last image, so that the bar ends
    return contents


def divided(
    dataset: Dataset, seed: int, fraction: float, chosen: dict[str, Any], progress: Progress
) -> Division:
    """The images divided by what they show; ``chosen``: group and shots. Raises: DataError."""
    split(dataset.train, seed, fraction, **chosen)  # refuses options before minutes of reading
    contents = look(dataset.train, progress)
    division = divide(dataset, contents, seed, fraction, **chosen)
    names = {sample.name for sample in division.parts[0] + division.parts[1]}
    pairs = zip(dataset.train, contents, strict=True)
    kept = [content for sample, content in pairs if sample.name in names]
    title = "comparing with the test images"
    more = overlap_with_test(dataset, kept, lambda samples: progress(samples, title))
    return replace(division, warnings=division.warnings + more)


def divided_again(record: dict[str, Any], dataset: Dataset, parts: Parts) -> Parts:
    """The parts of a run from before copies were looked for, which ``record`` then tells of.

    Raises: DataError.
    """
    samples = parts[0] + parts[1]
    contents = look(samples, SILENT.progress)
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
