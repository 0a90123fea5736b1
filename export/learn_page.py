"""What ``edgead learn`` saw as one HTML page: the worst good images, what was added, defects.

The page needs no network. Whatever comes from outside, such as names, is escaped by the template.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from edgead_training.evaluation.charts import histogram
from edgead_training.evaluation.gallery import thumbnails
from numpy.typing import NDArray

from edgead.bench.charts import Chart
from edgead.bench.templates import render
from edgead.bundle.storage import Bundle, check_outside
from edgead.calibration import p_value
from edgead.errors import InputError, MissingExtraError
from edgead.files import write_file
from edgead.installation import cure, missing
from edgead.learning.adding import Addition
from edgead.learning.cleaning import CrossFit
from edgead.learning.defects import Caught, Defect
from edgead.learning.good_image import GoodImage
from edgead.learning.scoring import Scorer, limit_of
from edgead.result import Result, Scale
from edgead.serving.limits import limits_of

TEMPLATE = Path(__file__).with_name("learn_page.html")
MOST = 24  # pictures of a section: some 50 KB each


@dataclass(frozen=True)
class Shown:
    """Frame and overlay of an image, JPEG; ``state``: ok, warn or bad, the colour of the badge."""

    name: str
    score: float
    badge: str
    state: str
    note: str
    frame: bytes
    overlay: bytes


@dataclass(frozen=True)
class Shelf:
    """A section of the page."""

    title: str
    text: str
    pictures: Sequence[Shown]
    chart: Chart | None = None


@dataclass
class Page:
    """What is gathered for the page while learning goes on."""

    name: str
    headline: str = ""
    tiles: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shelves: list[Shelf] = field(default_factory=list)

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``folder``/index.html, whole or not at all; returns its path."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        target = Path(folder) / "index.html"
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        write_file(target, render(TEMPLATE, base64_text, now=now, **vars(self)))
        return target


def scale_of(bundle: Bundle) -> Scale:
    """What the colours of a bundle's overlays mean."""
    manifest = bundle.manifest
    return limits_of(manifest, manifest.calibration.false_reject_rate, "float32").scale


def base64_text(data: bytes) -> str:
    """As it stands in a data: URL."""
    return base64.b64encode(data).decode("ascii")


def check_report(folder: str | None) -> None:
    """Refuse a report that could not be written, before the work.

    Raises: MissingExtraError without the package of templates; InputError for a file, or a bundle.
    """
    if folder is None:
        return
    if absent := missing("bench"):
        raise MissingExtraError(
            f"--report needs {', '.join(absent)}, which is not installed: {cure('bench')}"
        )
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"--report {folder} is a file; give a folder (it may be a new one)")
    check_outside(folder, "--report")


def worst_shelf(cross: CrossFit, images: Sequence[GoodImage], trimmed: bool) -> Shelf:
    """The good images that are least like the others, each with what of it is not."""
    median, limit = float(np.median(cross.scores)), cross.fence
    shown = []
    for index in cross.worst(MOST):
        score, frame = float(cross.scores[index]), images[index].read()
        badge, state = ("like the others", "ok")
        if score > limit:
            badge, state = ("left out", "bad") if trimmed else ("out of line", "warn")
        note = f"{score / median:.1f} times the median"
        scale = Scale(median, limit)
        about, values = (badge, state, note), cross.map_of(index, frame)
        shown.append(_shown(images[index].name, frame, values, score, scale, about))
    text = (
        f"Each of the {len(cross.names)} good images was scored by images of other parts; the "
        f"{len(shown)} highest scores are shown, the highest first. Above {limit:.4g} an image is "
        "out of line with the others: a defect among the good images, or a kind of part that is "
        "rare among them."
    )
    chart = histogram(cross.scores, np.empty(0), limit, "limit")
    return Shelf("Good images that are least like the others", text, shown, chart)


def added_shelf(
    old: Bundle,
    images: Sequence[GoodImage],
    before: Sequence[float],
    limit: float,
    addition: Addition | None,
) -> Shelf:
    """The images to add as the old bundle saw them; ``addition`` is None where it was refused."""
    run, scale = Scorer(old), scale_of(old)
    shown = []
    for index in np.argsort(-np.asarray(before), kind="stable")[:MOST].tolist():
        badge, state = (
            ("was rejected", "warn") if before[index] > limit_of(old) else ("passed", "ok")
        )
        if before[index] > limit:
            badge, state = "gross outlier", "bad"
        of_good = old.manifest.calibration
        p = p_value(before[index], of_good.scores, parts=of_good.parts)
        note = f"p = {p:.3g}"
        if addition is not None:
            note = f"now {addition.scores[index]:.4g}"
            if before[index] > limit_of(old) or addition.rejected[index]:
                note += ", still rejected" if addition.rejected[index] else ", no longer rejected"
        frame, about = images[index].read(), (badge, state, note)
        shown.append(_shown(images[index].name, frame, run(frame)[0], before[index], scale, about))
    text = (
        f"As the bundle saw them before, whose threshold is {limit_of(old):.4g}; above {limit:.4g} "
        "an image is a gross outlier, and a defect that is added is not found any more."
    )
    return Shelf("Images to add", text, shown)


def defects_shelf(
    bundle: Bundle, defects: Sequence[Defect], caught: Caught, good: Sequence[float]
) -> Shelf:
    """Known defects, those that are missed first; ``good``: scores of the calibration."""
    run, scale = Scorer(bundle), scale_of(bundle)
    shown = []
    for index in np.argsort(caught.scores, kind="stable")[:MOST].tolist():
        score = caught.scores[index]
        badge, state = ("missed", "bad") if score <= caught.limit else ("caught", "ok")
        note = {None: "", True: "highest in its mask", False: "highest outside its mask"}
        about = (badge, state, note[caught.located[index]])
        image = defects[index].image
        frame = image.read()
        shown.append(_shown(image.name, frame, run(frame)[0], score, scale, about))
    told = caught.to_json()
    low, high = (100 * end for end in told["interval"])
    text = (
        f"{caught.caught} of {told['images']} are caught: {100 * told['share']:.3g} % (95 % "
        f"interval {low:.1f} to {high:.1f} %). The threshold comes from good images alone."
    )
    chart = histogram(np.asarray(good), np.asarray(caught.scores), caught.limit)
    return Shelf("Known defects", text, shown, chart)


def _shown(
    name: str,
    frame: NDArray[Any],
    values: NDArray[np.float32],
    score: float,
    scale: Scale,
    about: tuple[str, str, str],
) -> Shown:
    result = Result(score, 1.0, False, 0.0, values, {}, "bgr", scale, frame=frame)
    small, overlay = thumbnails(frame, result)
    badge, state, note = about
    return Shown(name, score, badge, state, note, small, overlay)
