"""Frames in unlike light compare better: all are brought to one level, as far as good ones differ.

A frame's own level is the mean over the positions of the root of what the map is told there. In
another light a whole frame is farther off, and stands above the faint defects of others. So the
distances of a frame are raised to the highest level of good images (``csrc/kernels/raise.h``). One
that is farther off than all of these stays as it is, and a fault of the whole part is not excused;
one that is quieter than all, as images are that were learnt from, is raised as the quietest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Draft
from edgead.engine.signals import Signals
from edgead.learning.engines import learning_engine
from edgead.learning.features import named
from edgead.learning.good_image import GoodImage, parts_shown
from edgead.learning.progress import Progress
from edgead.preprocess import Preprocessor

F64 = NDArray[np.float64]

LEAST = 1e-20
"""Of a level; of distances that are 0 there is nothing to raise."""


def raised(
    draft: Draft,
    images: Sequence[GoodImage],
    progress: Progress,
    threads: int | None = None,
    device: str = "cpu",
) -> tuple[Draft, F64]:
    """A bundle whose frames are raised between the levels of the images that calibrate it.

    Args:
        draft: with memories or whitenings, ``unraised``.
        images: of good parts, which it has not learnt from.
        progress: shows how far it is.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.

    Returns:
        The draft, and what the score and the peak of each image are multiplied by before they
        calibrate, see ``as_new``: so the promise holds where the level of a new good part is above
        all of these. In tiles, or where the images show a single part, nothing is raised.
    """
    parts = parts_shown(images) or tuple(range(len(images)))
    if draft.manifest.tiling is not None or len(set(parts)) < 2:
        return draft, np.ones(len(images))
    levels = _levels(draft, images, progress, threads, device)
    own_levels = float(levels.min()), float(levels.max())
    if own_levels[0] < LEAST or own_levels[1] > 1 / LEAST:
        return draft, np.ones(len(images))
    draft = replace(draft, manifest=replace(draft.manifest, own_levels=own_levels))
    return draft, as_new(levels, parts)


def as_new(levels: F64, parts: Sequence[int]) -> F64:
    """What the scores of images are multiplied by, to be as if their part were new: [n].

    The level of a new part does not move the highest one: where it is above, its scores are not
    brought down. All images that calibrate are brought to one level, since they set the highest; to
    be treated alike, those of the part that has it are held to the highest level of the others.

    Args:
        levels: of the images, [n].
        parts: which part each shows, n numbers, at least two different ones.
    """
    shown = np.asarray(parts)
    loudest = shown[np.argmax(levels)]
    others = levels[shown != loudest].max()
    return np.where(shown == loudest, np.maximum(1, levels / others), 1.0)


def unraised(draft: Draft) -> Draft:
    """A bundle whose frames stay as far off as they are."""
    return replace(draft, manifest=replace(draft.manifest, own_levels=None))


def _levels(
    draft: Draft, images: Sequence[GoodImage], progress: Progress, threads: int | None, device: str
) -> F64:
    """The level of each image, [n]."""
    engine, show = learning_engine(draft, device, threads), progress("levels of the good images")
    session, signals = engine.session(), Signals(engine.signals)
    preprocess = Preprocessor(draft.manifest.preprocess)
    levels = np.empty(len(images))
    for index, image in enumerate(images):
        with named(image):
            preprocess.run(image.read(), session.image[0])
        session.infer()
        signals.run(session.features)
        told = np.sum([distance for distance, _ in signals.pairs], axis=0)
        levels[index] = np.sqrt(told).mean(dtype=np.float64)
        show(index + 1, len(images))
    return levels
