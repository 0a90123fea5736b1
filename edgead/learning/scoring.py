"""Scores by a bundle that is being made, or was; and which of them are out of line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgead.bundle.storage import Bundle
from edgead.engine.lazy_array import as_array
from edgead.learning.engines import learning_pipeline
from edgead.learning.good_image import GoodImage
from edgead.learning.progress import Progress

FENCE = 3.0  # interquartile ranges of the logarithms: Tukey, Exploratory Data Analysis, 1977
LEAST = 2.0  # times the upper quartile: where all scores are nearly the same, a fence is too close


class Scorer:
    """Gives the map and the score of a frame, for one thread.

    Args:
        bundle: on disk or a draft.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, device: str = "cpu") -> None:
        self._pipeline = learning_pipeline(bundle, device, threads)
        self._scored: NDArray[np.float32] | None = None

    def __call__(self, frame: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        """The map [h, w] and the score."""
        found = self._pipeline.run(frame)
        self._scored = found.scored
        return as_array(found.map), found.score

    def scored(self) -> NDArray[np.float32] | None:
        """What the last score was pooled from; None: from the map."""
        return self._scored


def scores_of(
    bundle: Bundle,
    images: Sequence[GoodImage],
    progress: Progress,
    title: str,
    threads: int | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """The score of each image, [n].

    Args:
        bundle: on disk or a draft.
        images: in any number.
        progress: is shown ``title``.
        title: what is done, for people.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.
    """
    run, show = Scorer(bundle, threads, device), progress(title)
    scores = np.empty(len(images))
    for index, image in enumerate(images):
        scores[index] = run(image.read())[1]
        show(index + 1, len(images))
    return scores


def limit_of(bundle: Bundle) -> float:
    """The score above which ``bundle`` calls a frame anomalous, in float32."""
    manifest = bundle.manifest
    return manifest.limit("float32", manifest.calibration.false_reject_rate)


def fence(scores: ArrayLike) -> float:
    """The score from which on an image is out of line with others.

    Tukey's outer fence of the logarithms, as scores of good parts have a long tail: the upper
    quartile times the third power of its ratio to the lower one, but at least twice the upper one.

    Args:
        scores: of good images, at least one, not negative.
    """
    low, high = np.quantile(np.asarray(scores, np.float64), (0.25, 0.75))
    ratio = (high / low) ** FENCE if low > 0 else LEAST
    return float(high * max(LEAST, ratio))
