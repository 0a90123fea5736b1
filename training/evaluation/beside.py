"""Two bundles on one test set: where they agree, where one alone is right, and both heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgead.images import open_image

from ..data import Dataset, Sample, read_mask
from .bootstrap import Interval, interval
from .evaluate import Evaluation, evaluate
from .gallery import Picture, draw, in_turn
from .scored_image import ScoredImage

if TYPE_CHECKING:
    from edgead.detector import Detector

GROUPS = ("first", "second", "neither", "both")  # who is right

Pair = tuple[ScoredImage, ScoredImage]


@dataclass(frozen=True)
class Beside:
    """Two evaluations of one test set, and pictures of the images that tell most.

    Args:
        names: of the bundles, as they were given
        evaluations: of the same images, in the same order
        pictures: two pictures of each chosen image, one for each bundle, in the order of GROUPS
    """

    names: tuple[str, str]
    evaluations: tuple[Evaluation, Evaluation]
    pictures: tuple[tuple[Picture, Picture], ...] = ()

    def words(self) -> dict[str, str]:
        """What each of GROUPS is called."""
        first, second = self.names
        return {
            "first": f"only {first} is right",
            "second": f"only {second} is right",
            "neither": "neither is right",
            "both": "both are right",
        }

    def said(self, of: Callable[[Evaluation], Sequence[str]]) -> tuple[str, ...]:
        """What ``of`` says of each evaluation: once where it is the same, else with the name."""
        first, second = map(of, self.evaluations)
        both = [note for note in first if note in second]
        own = [
            f"{name}: {note}"
            for name, notes in zip(self.names, (first, second), strict=True)
            for note in notes
            if note not in both
        ]
        return (*both, *own)

    def differences(self) -> dict[str, tuple[float, Interval | None]]:
        """By how much the first is ahead, with the interval over resamples of the same parts.

        Of the figures that both have, by their keys in ``metrics``.
        """
        first, second = self.evaluations
        found = {}
        for key in first.resampled:
            one, other = first.metrics[key], second.metrics.get(key)
            if one is not None and other is not None:
                drawn = interval(first.resampled[key] - second.resampled[key])
                found[key] = (float(one) - float(other), drawn)
        return found

    def groups(self) -> dict[str, list[Pair]]:
        """The verdicts on each image, by who is right; copies of an image count once."""
        found: dict[str, list[Pair]] = {group: [] for group in GROUPS}
        for pair in zip(*(e.images for e in self.evaluations), strict=True):
            if pair[0].copy_of is None:
                found[group_of(pair)].append(pair)
        return found


def group_of(pair: Pair) -> str:
    """One of GROUPS."""
    first, second = (image.outcome in ("caught", "passed") for image in pair)
    if first == second:
        return "both" if first else "neither"
    return "first" if first else "second"


def evaluate_beside(
    names: Sequence[str],
    detectors: Sequence[Detector],
    dataset: Dataset,
    progress: Callable[[str], Callable[[int, int], None]],
    *,
    pictures: int = 0,
    group: str | None = None,
) -> Beside:
    """Measure two detectors on the test set, one after the other.

    Args:
        names: of their bundles, two.
        detectors: as in production, two.
        dataset: with a test set.
        progress: gives, for what is done, a function called with (images done, images in all).
        pictures: at most so many images are drawn, some of each group, with both heatmaps.
        group: as for ``evaluate``.

    Raises:
        DataError, InputError: as ``evaluate``.
    """
    first, second = (
        evaluate(detector, dataset, progress(f"scoring with {name}"), group=group)
        for name, detector in zip(names, detectors, strict=True)
    )
    found = Beside((names[0], names[1]), (first, second))
    samples = {sample.name: sample for sample in dataset.test}
    drawn = []
    for pair in chosen(found, pictures):
        one, other = (
            _drawn(detector, samples[image.name], image)
            for detector, image in zip(detectors, pair, strict=True)
        )
        drawn.append((one, other))
    return replace(found, pictures=tuple(drawn))


def chosen(found: Beside, limit: int) -> list[Pair]:
    """At most ``limit`` images, some of each group, in the order of GROUPS.

    Where the bundles disagree, the widest disagreement comes first; where both are wrong, the worst
    mistake; where both are right, the closest call.
    """
    margins = [_Margins(evaluation) for evaluation in found.evaluations]

    def telling(pair: Pair) -> float:
        first, second = (margin.of(image) for margin, image in zip(margins, pair, strict=True))
        agree = group_of(pair) in ("neither", "both")
        return -(first + second) if agree else abs(first - second)

    queues = [
        [(group, -rank, pair) for rank, pair in enumerate(sorted(pairs, key=telling, reverse=True))]
        for group, pairs in found.groups().items()
    ]
    kept = in_turn(queues)[:limit]
    kept.sort(key=lambda item: (GROUPS.index(item[0]), -item[1]))
    return [pair for _, _, pair in kept]


class _Margins:
    """How clearly a bundle is right about an image, in units of its own: 0 at the threshold.

    The unit is the distance from the median good score to the threshold, where there is one.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._threshold = evaluation.threshold
        good = sorted(evaluation.scores(good=True))
        unit = self._threshold - good[len(good) // 2] if good else 0.0
        self._unit = unit if unit > 0 else 1.0

    def of(self, image: ScoredImage) -> float:
        above = (image.score - self._threshold) / self._unit
        return -above if image.is_good else above


def _drawn(detector: Detector, sample: Sample, image: ScoredImage) -> Picture:
    """The picture of one image, scored once more: maps of a whole test set are not kept."""
    frame = open_image(sample.path, bit_depth=detector.bit_depth).frame
    size = (int(frame.shape[0]), int(frame.shape[1]))
    mask = None if sample.is_good or sample.mask is None else read_mask(sample, size)
    return draw(image, frame, detector.score(frame), mask)
