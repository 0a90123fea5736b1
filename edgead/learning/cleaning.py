"""Which of the good images do not look like the others: each is scored by those of other parts.

The parts are divided into a few folds. Of the parts of all other folds a small memory is made, and
an image scored by it as a bundle would: a defect among the good images stands out, which it does
not once it is learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Draft, npy
from edgead.learning.backbone import Backbone
from edgead.learning.coreset import choose_coreset
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import (
    MEMORY,
    LearnOptions,
    empty_draft,
    features_of,
    opened,
)
from edgead.learning.progress import Progress, silent
from edgead.learning.scoring import fence, scorer

FOLDS = 4
ROWS, DRAWN = 1024, 16_000  # features in the memory of a fold, and that all of them are chosen from
FEWEST = 4  # parts, to say which of them is unlike the others

RULE = (
    "score by other parts' images above the upper quartile times the cube of its ratio to the "
    "lower one, or twice the upper quartile where that is more"
)


@dataclass(frozen=True)
class CrossFit:
    """The good images, each scored by a memory of other parts.

    Args:
        names, scores: of the images.
        folds: which of ``drafts`` scored each.
        drafts: bundles, for maps of single images.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    folds: tuple[int, ...]
    drafts: tuple[Draft, ...]

    @property
    def fence(self) -> float:
        """A score above it is out of line; see ``RULE``."""
        return fence(self.scores)

    def worst(self, count: int) -> list[int]:
        """Indices of the highest scores, the highest first."""
        return [int(i) for i in np.argsort(-self.scores, kind="stable")[:count]]

    def outlying(self) -> list[int]:
        """Indices of the images that are out of line, the highest score first."""
        return [i for i in self.worst(len(self.names)) if self.scores[i] > self.fence]


def cross_fit(
    images: Sequence[GoodImage],
    parts: Sequence[str],
    backbone: Backbone,
    options: LearnOptions,
    progress: Progress = silent,
) -> CrossFit | None:
    """Score each image by a memory of other parts' images.

    Args:
        images: of good parts, as far as is known.
        parts: for each image the part that it shows; images of one part are never in its memory.
        backbone, options: as for ``learn``.
        progress: shows how far each step is.

    Returns:
        The scores; None where there are fewer than ``FEWEST`` parts.

    Raises:
        InputError: as ``learn``.
    """
    every = sorted(set(parts))
    if len(every) < FEWEST:
        return None
    generator = np.random.default_rng(options.seed)
    generator.shuffle(every)
    fold_of = {part: place % FOLDS for place, part in enumerate(every)}
    folds = np.array([fold_of[part] for part in parts])
    draft = empty_draft(Path("others.edgead"), backbone, options)
    engine = opened(draft, backbone, options)
    each = -(-DRAWN // len(images))
    title = "features, to compare the good images"
    drawn = [
        features[generator.permutation(len(features))[:each]]
        for features in features_of(images, draft, engine, progress, title)
    ]
    scores, drafts = np.empty(len(images)), []
    show, done = progress("scores by other parts"), 0
    for fold in range(FOLDS):
        others = np.concatenate(
            [rows for rows, own in zip(drawn, folds, strict=True) if own != fold]
        )
        chosen = choose_coreset(others, min(ROWS, options.memory), options.seed)
        kept = {MEMORY: npy(others[chosen].astype(np.float16))}
        drafts.append(replace(draft, files={**draft.files, **kept}))
        run = scorer(drafts[-1], options.threads)
        for index in np.flatnonzero(folds == fold).tolist():
            scores[index] = run(images[index].read())[1]
            done += 1
            show(done, len(images))
    names = tuple(image.name for image in images)
    return CrossFit(names, scores, tuple(folds.tolist()), tuple(drafts))
