"""Which of the good images do not look like the others: each is scored by those of other parts.

The parts are divided into a few folds, and a small memory is made of each. An image is compared
with the memories of the other folds, at each position with all of them, and the median distance
counts: what only one of them knows is unlike most parts. So a defect among the good images stands
out, also where another part has the same one. In a bundle that learnt from it, it would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle.storage import Draft, npy
from edgead.engine.signals import Signals
from edgead.learning.backbone import Backbone
from edgead.learning.coreset import choose_coreset
from edgead.learning.engines import learning_engine
from edgead.learning.features import Held, features_of
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import MOST_TILES, LearnOptions, empty_draft, opened
from edgead.learning.progress import Progress, silent
from edgead.learning.scoring import fence
from edgead.preprocess import Preprocessor
from edgead.tiling import plan_tiles

FOLDS = 4
ROWS, DRAWN = 1024, 16_000  # features of a fold, and of all that they are chosen from
FEWEST = 4  # parts, to say which of them is unlike the others

RULE = (
    "score by other parts' images above the upper quartile times the cube of its ratio to the "
    "lower one, or twice the upper quartile where that is more"
)


class Others:
    """Memories of several folds, of which those of all but one score a frame.

    Args:
        draft: with a memory for each fold, of the same features.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.
    """

    def __init__(self, draft: Draft, threads: int | None, device: str = "cpu") -> None:
        manifest = draft.manifest
        engine = learning_engine(draft, device, threads)
        self._session = engine.session()
        self._preprocess = Preprocessor(manifest.preprocess)
        self._signals = Signals(engine.signals)
        self._tiling, self._map_size = manifest.tiling, manifest.map.size
        params = replace(manifest.map, weights=(1.0,))
        self._map = AnomalyMap(params, [(1, *manifest.memories[0].size)])

    def run(self, frame: NDArray[Any], fold: int) -> tuple[NDArray[np.float32], float]:
        """The map [h, w] and the score of a frame by all folds but ``fold``."""
        if self._tiling is None:
            return self._seen(frame, fold)
        plan = plan_tiles(self._tiling, (frame.shape[0], frame.shape[1]), self._map_size)
        stitched, (tall, wide) = np.zeros(plan.map_size, np.float32), self._tiling.size
        for tile in plan.tiles(None):
            piece = frame[tile.top : tile.top + tall, tile.left : tile.left + wide]
            tile.add(self._seen(piece, fold)[0], stitched)
        return stitched, float(stitched.max())

    def _seen(self, image: NDArray[Any], fold: int) -> tuple[NDArray[np.float32], float]:
        """The map and the score of what the network sees at once."""
        self._preprocess.run(image, self._session.image[0])
        self._session.infer()
        return self.compared(self._session.features[0], fold)

    def compared(
        self, features: NDArray[np.float32], fold: int
    ) -> tuple[NDArray[np.float32], float]:
        """The map and the score of features [1, C, H, W] by all folds but ``fold``."""
        self._signals.run([features] * FOLDS)
        found = [distance for distance, _ in self._signals.pairs]
        others = [distance for own, distance in enumerate(found) if own != fold]
        median = np.ascontiguousarray(np.median(others, axis=0), np.float32)
        maps, scores = self._map.run([(median, np.zeros_like(median))])
        return maps[0], float(scores[0])


@dataclass(frozen=True)
class CrossFit:
    """The good images, each scored by a memory of other parts.

    Args:
        names, scores: of the images.
        folds: of each; the others scored it.
        others: what did.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    folds: tuple[int, ...]
    others: Others = field(repr=False)

    def map_of(self, index: int, frame: NDArray[Any]) -> NDArray[np.float32]:
        """The map [h, w] of an image, by the other folds; ``frame`` is the image."""
        return self.others.run(frame, self.folds[index])[0]

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
    held: Held | None = None,
) -> CrossFit | None:
    """Score each image by a memory of other parts' images.

    Args:
        images: of good parts, as far as is known.
        parts: for each image the part that it shows; images of one part are never in its memory.
        backbone, options: as for ``learn``.
        progress: shows how far each step is.
        held: holds the features of whole images for learning, and while they are compared.

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
    each, most = -(-DRAWN // len(images)), max(1, MOST_TILES // len(images))
    title = "features, to compare the good images"
    drawn = [
        features[generator.permutation(len(features))[:each]]
        for features in features_of(images, draft, engine, progress, title, most, held)
    ]
    kept: dict[str, bytes] = {}
    for fold in range(FOLDS):
        rows = np.concatenate([rows for rows, own in zip(drawn, folds, strict=True) if own == fold])
        chosen = choose_coreset(rows, min(ROWS, options.memory), options.seed)
        kept[f"fold{fold}.npy"] = npy(rows[chosen].astype(np.float16))
    others = Others(_with_memories(draft, kept), options.threads, options.device)
    scores, title = np.empty(len(images)), "scores by other parts"
    if options.tiling is None:
        shape = (1, -1, *draft.manifest.memories[0].size)
        seen = features_of(images, draft, engine, progress, title, held=held)
        for index, features in enumerate(seen):
            values = np.ascontiguousarray(features.T).reshape(shape)
            scores[index] = others.compared(values, int(folds[index]))[1]
    else:
        show = progress(title)
        for index, image in enumerate(images):
            scores[index] = others.run(image.read(), int(folds[index]))[1]
            show(index + 1, len(images))
    return CrossFit(tuple(i.name for i in images), scores, tuple(folds.tolist()), others)


def _with_memories(draft: Draft, kept: dict[str, bytes]) -> Draft:
    """``draft`` with each of the memories in place of its own one."""
    (entry,) = draft.manifest.memories
    memories = tuple(replace(entry, file=name) for name in kept)
    params = replace(draft.manifest.map, weights=(1.0,) * len(kept))
    manifest = replace(draft.manifest, memories=memories, map=params)
    return replace(draft, manifest=manifest, files={**draft.files, **kept})
