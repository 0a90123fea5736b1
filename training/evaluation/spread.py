"""What figures would be on other parts, by bootstrap, and the figures of each kind of defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.cli.console import percent

from . import metrics
from .bootstrap import FEW_PARTS, LEVEL, Interval, Resamples, interval
from .curves import Curves
from .pixels import Pixels
from .scored_image import ScoredImage

FRAME_SIZE = "frame_size_"  # before the keys of figures at the size of the frames


@dataclass(frozen=True)
class Kind:
    """The images of one label beside the good ones.

    Args:
        label: "good" or a kind of defect; ``n`` images.
        anomalous: how many are judged so.
        auroc: of these images and the good ones, with its interval.
        median_score: of these images.
        pixels: ``metrics.PIXEL_KEYS`` of these images and the good ones, at frame size.
    """

    label: str
    n: int
    anomalous: int
    auroc: float | None
    auroc_interval: Interval | None
    median_score: float
    pixels: Mapping[str, float | None]


@dataclass(frozen=True)
class Spread:
    """A scored test set whose parts can be drawn anew.

    Args:
        images: as they were scored.
        draws: of the parts that they show.
        rows: which of the images the curves count.
        curves: at model resolution and at frame size; None without masks.
    """

    images: Sequence[ScoredImage]
    draws: Resamples
    rows: NDArray[np.int64]
    curves: tuple[Curves, Curves] | None

    @classmethod
    def of(cls, images: Sequence[ScoredImage], shown: Sequence[str], pixels: Pixels) -> Spread:
        """``shown``: the part that each image shows."""
        return cls(images, Resamples.of(shown), pixels.rows, pixels.curves())

    def at_frame_size(self) -> dict[str, float | None]:
        """``metrics.PIXEL_KEYS`` of all images, at the size of their frames."""
        return self._of_frames(np.ones(len(self.rows), bool))

    def resampled(self) -> dict[str, NDArray[np.float64]]:
        """The figures of each resample, NaN where one has no meaning; none of a single part."""
        if self.draws.parts < 2:
            return {}
        scores = [image.score for image in self.images]
        found = {"image_auroc": self.draws.auroc(scores, [not i.is_good for i in self.images])}
        if self.curves is None:
            return found
        for before, curves in zip(("", FRAME_SIZE), self.curves, strict=True):
            joined = curves.by_part(self.draws.part_of[self.rows], self.draws.parts)
            figures = joined.figures(self.draws.weights)
            found |= {before + key: values for key, values in figures.items()}
        return found

    def kinds(self) -> tuple[Kind, ...]:
        """Good first, then each kind of defect by name."""
        labels = np.array([image.label for image in self.images])
        scores = np.array([image.score for image in self.images])
        good = np.array([image.is_good for image in self.images])
        found = []
        for label in sorted(set(labels), key=lambda one: (one != "good", one)):
            own = labels == label
            used = own | good
            drawn = self.draws.only(used).auroc(scores[used], ~good[used])
            found.append(
                Kind(
                    label=str(label),
                    n=int(own.sum()),
                    anomalous=sum(image.anomalous for image in self.images if image.label == label),
                    auroc=metrics.auroc(scores[used], ~good[used]),
                    auroc_interval=interval(drawn) if self.draws.parts > 1 else None,
                    median_score=float(np.median(scores[own])),
                    pixels=self._of_frames(used[self.rows]),
                )
            )
        return tuple(found)

    def notes(self, group: str | None) -> tuple[str, ...]:
        """What to say of the intervals; ``group`` as it was given."""
        parts = self.draws.parts
        if parts < 2:
            return ("No intervals: the test images show one part.",)
        said = f"Intervals are of {percent(LEVEL)}, from {parts} parts drawn anew"
        if group is None and parts == len(self.images):
            said += "; each image is taken for a part of its own (--group says which show one)"
        if parts < FEW_PARTS:
            said += f"; of so few, below {FEW_PARTS}, they are too narrow"
        return (f"{said}.",)

    def _of_frames(self, used: NDArray[np.bool_]) -> dict[str, float | None]:
        """``metrics.PIXEL_KEYS`` at frame size of the ``used`` ones of ``rows``."""
        if self.curves is None:
            return dict.fromkeys(metrics.PIXEL_KEYS)
        figures = self.curves[1].figures(used[None].astype(np.float64))
        one = {key: float(values[0]) for key, values in figures.items()}
        return {key: value if np.isfinite(value) else None for key, value in one.items()}
