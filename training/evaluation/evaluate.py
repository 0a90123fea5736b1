"""A detector measured on a labelled test set: every image scored once, by the runtime itself.

The detector is used as in production (`Detector.score` on the frame as read), so the figures hold
for what is served, preprocessing and engine included. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Calibration
from edgead.bundle.known_images import Known
from edgead.calibration import expected_rejects
from edgead.errors import DataError
from edgead.images import Remarks, open_image
from edgead.images.content import digest_of

from ..data import (
    TEST_SET_LOOKS_LIKE,
    Dataset,
    Sample,
    check_halves,
    parts_of,
    read_mask,
)
from ..data.layouts.frames import LAYOUT, video_of
from . import metrics
from .bootstrap import Interval, interval
from .gallery import Gallery, Picture
from .mask_census import MaskCensus
from .overlap import Overlap, not_told, overlap
from .pixels import Pixels
from .scored_image import ScoredImage
from .spread import FRAME_SIZE, Kind, Spread
from .timeline import Timeline, frame_auroc, timelines

if TYPE_CHECKING:
    from edgead.detector import Detector

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Category:
    """The figures of one of several categories, by the same threshold; None where meaningless."""

    name: str
    n: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    false_reject_reached: float | None


CATEGORY_KEYS = ("image_auroc", "pixel_auroc", "aupro", "false_reject_reached")


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found; a figure without a meaning is None."""

    name: str
    method: str
    data_name: str
    images: tuple[ScoredImage, ...]
    metrics: Mapping[str, float | int | None]  # what `edgead evaluate --json` writes
    quantiles: Mapping[str, tuple[float, ...]]  # at QUANTILES, for "good" and "defective"
    threshold: float  # a score above it is anomalous
    n_calibration: int  # images, or the parts they show, that count towards the promise
    within_chance: tuple[int, int] | None  # of the good images, rejected; None: no good image
    latency_ms: Mapping[str, float]  # median and p95 of Detector.score
    engine: Mapping[str, Any]  # Detector.info()
    provenance: Mapping[str, Any]
    pictures: tuple[Picture, ...] = ()
    timelines: tuple[Timeline, ...] = ()  # one for each video of the layout "frames"
    notes: tuple[str, ...] = field(default=())  # why a figure is to be taken with care
    categories: tuple[Category, ...] = ()  # none unless there are several
    kinds: tuple[Kind, ...] = ()  # good first, then each kind of defect by name
    resampled: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    overlap: Overlap | None = None  # with what the bundle has learnt, and within the test set

    def count(self, outcome: str) -> int:
        """How many contents have an outcome; copies of an image are one."""
        return sum(image.outcome == outcome for image in self.images if image.copy_of is None)

    def scores(self, *, good: bool) -> NDArray[np.float64]:
        """Scores of the good or of the defective images, [n] float64."""
        return np.array([r.score for r in self.images if r.is_good is good], dtype=np.float64)

    def category_means(self) -> dict[str, float | None]:
        """Mean over the categories of CATEGORY_KEYS, None where a category has no figure."""
        columns = {key: [getattr(c, key) for c in self.categories] for key in CATEGORY_KEYS}
        return {
            key: None if not values or None in values else float(np.mean(values))
            for key, values in columns.items()
        }

    def intervals(self) -> dict[str, Interval | None]:
        """Of the figures that were made of each resample, by their keys in ``metrics``."""
        return {key: interval(values) for key, values in self.resampled.items()}


def evaluate(
    detector: Detector,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    *,
    gallery: int = 0,
    group: str | None = None,
) -> Evaluation:
    """Score the test set with the false-reject rate the detector has now.

    Pixel figures are those of the maps as they are, at model resolution, with masks brought there
    by nearest neighbour; and, with ``FRAME_SIZE`` before their keys, those of the heatmaps and the
    masks as they are, at the size of each frame. Defects without mask are left out of both.

    Args:
        detector: as in production.
        dataset: with a test set.
        progress: called with (images done, images in all).
        gallery: at most this many pictures are kept for a report, mistakes first.
        group: tells the part that an image shows, for the intervals, see ``grouping.grouped``;
            None: images of one content, and the frames of a video, show one part.

    Raises:
        DataError: no test set, or a mask that cannot be used; a ``group`` that does not tell the
            part of each test image, or tells of parts that are learnt from too.
        InputError: an image that cannot be used.
    """
    if not dataset.test:
        raise DataError(f"{dataset.root} has no test set; {TEST_SET_LOOKS_LIKE}")
    shown = None if group is None else _shown(dataset, group)
    known, first = Known(detector.bundle.manifest.provenance), _Firsts(dataset)
    images: list[ScoredImage] = []
    pixels = Pixels(dataset.test)
    shelf, census, remarks = Gallery(gallery), MaskCensus(), Remarks()
    for done, sample in enumerate(dataset.test, 1):
        file = open_image(sample.path, bit_depth=detector.bit_depth)
        remarks.add(file)
        frame = file.frame
        size = (int(frame.shape[0]), int(frame.shape[1]))
        mask = read_mask(sample, size) if sample.is_good or sample.mask is not None else None
        if mask is not None and not sample.is_good:
            census.add(mask)
        result = detector.score(frame)
        digest = digest_of(frame)
        image = replace(
            _scored(sample, size, result), known=known.kind_of(digest), content=digest.hex(),
            copy_of=first.copy_of(sample, digest),
        )  # fmt: skip
        images.append(image)
        pixels.add(result, mask, sample.category)
        shelf.offer(image, frame, result, None if sample.is_good else mask)
        if progress is not None:
            progress(done, len(dataset.test))
    said = tuple(f"{line}." for line in remarks.lines(detector.bundle.manifest.provenance))
    spread = Spread.of(images, shown or _contents(dataset, images), pixels)
    found = _summarise(detector, dataset, tuple(images), pixels, known, spread)
    notes = (*found.notes, *census.notes(), *said, *spread.notes(group))
    return replace(found, pictures=shelf.selection(), notes=notes)


def _shown(dataset: Dataset, group: str) -> list[str]:
    """The part that each test image shows by ``group``, none of which is learnt from."""
    check_halves(dataset, group)
    return ["/".join(part) for part in parts_of(dataset.test, group)]


def _contents(dataset: Dataset, images: Sequence[ScoredImage]) -> list[str]:
    """What stands for the part that each test image shows: its content, or its video."""
    if dataset.layout == LAYOUT.name:
        return [video_of(image.name) for image in images]
    return [image.content for image in images]


class _Firsts:
    """The first test image of each content and label; in a video each frame is judged by itself."""

    def __init__(self, dataset: Dataset) -> None:
        self._names: dict[tuple[bytes, str], str] = {}
        self._video = dataset.layout == LAYOUT.name

    def copy_of(self, sample: Sample, digest: bytes) -> str | None:
        """The name of the one that a test image is a copy of."""
        first = self._names.setdefault((digest, sample.label), sample.name)
        return None if self._video or first == sample.name else first


def _scored(sample: Sample, size: tuple[int, int], result: Any) -> ScoredImage:
    return ScoredImage(
        name=sample.name,
        path=os.fspath(sample.path),
        label=sample.label,
        score=float(result.score),
        p_value=float(result.p_value),
        anomalous=bool(result.is_anomalous),
        frame_size=size,
        total_ms=float(result.timings_ms["total"]),
        has_mask=sample.mask is not None,
        category=sample.category,
    )


def _auroc(images: Sequence[ScoredImage]) -> float | None:
    return metrics.auroc([i.score for i in images], [not i.is_good for i in images])


def _false_rejects(images: Sequence[ScoredImage]) -> float | None:
    """Share of the good images that were judged anomalous, copies once; None without any."""
    good = [image for image in images if image.is_good and image.copy_of is None]
    return sum(image.anomalous for image in good) / len(good) if good else None


def _category(name: str, images: Sequence[ScoredImage], pixels: Pixels) -> Category:
    members = [image for image in images if image.category == name]
    of_pixels = pixels.figures(name)
    figures = _auroc(members), of_pixels["pixel_auroc"], of_pixels["aupro"], _false_rejects(members)
    return Category(name, len(members), *figures)


def _summarise(
    detector: Detector,
    dataset: Dataset,
    images: tuple[ScoredImage, ...],
    pixels: Pixels,
    known: Known,
    spread: Spread,
) -> Evaluation:
    manifest = detector.bundle.manifest
    scores = np.array([r.score for r in images])
    defective = np.array([not r.is_good for r in images])
    frames = ((r.name, r.score, not r.is_good) for r in images)
    videos = timelines(frames) if dataset.layout == LAYOUT.name else ()
    figures: dict[str, float | int | None] = {
        "image_auroc": _auroc(images),
        "image_ap": metrics.average_precision(scores, defective),
        "f1_max": metrics.f1_max(scores, defective),
        **pixels.figures(),
        **{FRAME_SIZE + key: value for key, value in spread.at_frame_size().items()},
        "frame_auroc": frame_auroc(videos) if videos else None,
        "false_reject_promised": float(detector.false_reject_rate),
        "false_reject_reached": _false_rejects(images),
        "train_seconds": manifest.provenance.get("train_seconds"),
        "n_test": len(images),
        "parts": spread.draws.parts,
    }
    chance = _within_chance(images, manifest.calibration, float(detector.false_reject_rate))
    times = [r.total_ms for r in images]
    several = dataset.categories if len(dataset.categories) > 1 else ()
    classes = {"good": scores[~defective], "defective": scores[defective]}
    return Evaluation(
        name=manifest.name,
        method=manifest.method,
        data_name=dataset.root.resolve().name,
        images=images,
        metrics=figures,
        quantiles={
            name: tuple(float(q) for q in np.quantile(values, QUANTILES))
            for name, values in classes.items()
            if values.size
        },
        threshold=float(detector.threshold),
        n_calibration=manifest.calibration.counted()[0],
        within_chance=chance,
        latency_ms={"median": float(np.median(times)), "p95": float(np.quantile(times, 0.95))},
        engine=dict(detector.info()),
        provenance=dict(manifest.provenance),
        timelines=videos,
        notes=_notes(images, pixels, float(detector.false_reject_rate), chance, not_told(known)),
        categories=tuple(_category(name, images, pixels) for name in several),
        kinds=spread.kinds(),
        resampled=spread.resampled(),
        overlap=overlap(images, known),
    )


def _within_chance(
    images: Sequence[ScoredImage], calibration: Calibration, rate: float
) -> tuple[int, int] | None:
    """How many of the good images may be rejected; None without one."""
    good = sum(image.is_good for image in images if image.copy_of is None)
    return expected_rejects(calibration.counted()[0], rate, good) if good else None


def _notes(
    images: Sequence[ScoredImage],
    pixels: Pixels,
    promised: float,
    chance: tuple[int, int] | None,
    untold: str | None,
) -> tuple[str, ...]:
    notes = []
    different = [image for image in images if image.copy_of is None]
    n_good = sum(r.is_good for r in different)
    rejected = sum(r.is_good and r.anomalous for r in different)
    unmasked = sum(not r.is_good and not r.has_mask for r in images)
    if not n_good:
        notes.append("No good test images: false rejects and AUROC are unknown.")
    elif n_good < 50:
        notes.append(
            f"Good test images: only {n_good}; the false-reject rate reached is known roughly."
        )
    if chance is not None and rejected > chance[1]:
        notes.append(
            f"False rejects: {rejected} of {n_good} are more than the {chance[0]} to {chance[1]} "
            f"that {100 * promised:.3g} % promised lets be expected; the good test images are not "
            f"like the calibration images. Set the threshold again, with edgead calibrate, on good "
            f"images from where they come from."
        )
    if n_good == len(different):
        notes.append("No defective test images: whether defects are caught is unknown.")
    elif unmasked:
        notes.append(f"Defective images without mask, left out of the pixel figures: {unmasked}.")
    if pixels.vanished:
        notes.append(
            f"Masks without a pixel left at model resolution, so that their defects do not count "
            f"in the pixel figures: {pixels.vanished}."
        )
    if untold is not None:
        notes.append(untold)
    return tuple(notes)
