"""A trained method and the statistics of ``edgead learn`` in one bundle: ``--with instant``.

The statistics are learnt as ``edgead learn`` learns them, from the images that the method was
trained on. The method's distance becomes one more signal beside them. How much it counts, in the
map and in the score, is found on the calibration images, which neither has learnt from, and on
synthetic defects on them: docs/export.md has the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from edgead_training.data.synthetic_defects import add_defect
from numpy.typing import NDArray

from edgead.bundle.entries import Whitening
from edgead.bundle.storage import Draft, npy
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import with_files
from edgead.learning.scoring import Scorer

from .graph import DISTANCE, JoinedGraph

F32 = NDArray[np.float32]

PLACES, SCORED = "method/places.npy", "method/scored.npy"
TYPICAL = 0.9
"""Our choice: the unit of a signal is this quantile of the peaks of its maps of good images."""

COPIES = 2
"""Copies of each image with a synthetic defect."""

SHARE = 0.25
"""Our choice, by docs/notes/joined.md: of what a method's answers would make it count. It sees much
of what the statistics see, and synthetic defects flatter a network that learnt on their like."""

MOST = 100.0
"""By how much a method's answers outweigh the statistics' at most, before ``SHARE``: where those
answer to nothing."""


@dataclass(frozen=True)
class Answer:
    """What a signal says of images of good parts, and of synthetic defects on them.

    Args:
        unit: quantile ``TYPICAL`` of its peaks on the good images.
        rise: mean over the defects of what its peak in the defect rises by, in units, -1 to 1 each;
            0 or less: it does not see them.
    """

    unit: float
    rise: float

    @staticmethod
    def of(peaks: Sequence[float], rises: Sequence[float]) -> Answer:
        """Of the peaks of good images' maps, and of what peaks in defects rise by."""
        unit = max(float(np.quantile(peaks, TYPICAL)), float(np.finfo(np.float32).tiny))
        shares = np.clip(np.asarray(rises, np.float64) / unit, -1, 1)
        return Answer(unit, float(shares.mean()) if len(shares) else 0.0)


def counted(statistics: Answer, method: Answer) -> float:
    """What the method's distance counts, where that of the statistics counts as it is.

    Both in their units, and each by how much it rises: a method that rises as the statistics do
    counts ``SHARE``, and one that does not rise, nothing.
    """
    told = max(statistics.rise, 1 / MOST)
    share = SHARE * min(max(method.rise, 0.0) / told, MOST)
    return share * statistics.unit / method.unit


def with_method(draft: Draft, graph: JoinedGraph, model: bytes) -> Draft:
    """A learnt bundle with the joined graph, and the method's distance as a signal that counts 1.

    Args:
        draft: of ``learnt_draft``.
        graph: what ``model`` is of.
        model: ONNX bytes.
    """
    manifest, size = draft.manifest, graph.size
    scored = manifest.scored_size() is not None
    entry = Whitening(
        features=DISTANCE,
        channels=1,
        size=size,
        first=0,
        count=1,
        mean="method/mean.npy",
        factors="method/factors.npy",
        side=max(size),
        places=PLACES,
        scored=SCORED if scored else None,
    )
    even = npy(np.ones(size, np.float32))
    files = {
        entry.mean: npy(np.zeros((1, *size), np.float32)),
        entry.factors: npy(np.ones((1, 1, 1), np.float32)),
        PLACES: even,
    }
    manifest = replace(
        manifest,
        method=f"{graph.name} with {manifest.method}",
        whitenings=(*manifest.whitenings, entry),
        map=replace(manifest.map, weights=(*manifest.map.weights, 1.0)),
        own_levels=None,  # they are found anew, with the method
    )
    files |= {SCORED: even} if scored else {}
    files[manifest.models["float32"]] = model
    return with_files(replace(draft, manifest=manifest), files)


def weighed(
    draft: Draft, images: Sequence[GoodImage], seed: int, show: Callable[[int, int], None]
) -> tuple[Draft, dict[str, Any]]:
    """With what the method counts in the map and in the score, and what was found, as JSON.

    Args:
        draft: of ``with_method``.
        images: of good parts, which neither the method nor the statistics have learnt from.
        seed: of the synthetic defects.
        show: called with (images done, images in all).
    """
    told, files = {}, {}
    answers = [_answers(_alone(draft, method), images, seed, show) for method in (False, True)]
    size, scored = draft.manifest.whitenings[-1].size, draft.manifest.scored_size() is not None
    for sum_, name in (("map", PLACES), ("score", SCORED if scored else None)):
        if name is None:
            continue
        statistics, method = (answer[sum_] for answer in answers)
        counts = counted(statistics, method)
        files[name] = npy(np.full(size, counts, np.float32))
        told[sum_] = {
            "counts": counts, "statistics": asdict(statistics), "method": asdict(method)
        }  # fmt: skip
    return with_files(draft, files), told


def _alone(draft: Draft, method: bool) -> Draft:
    """With the method's signal alone, or without it: the others count 0."""
    *others, own = draft.manifest.signals()
    silent = others if method else [own]
    names = {name for one in silent for name in (one.places, one.scored) if name is not None}
    zeros = npy(np.zeros(own.size, np.float32))
    return with_files(draft, dict.fromkeys(names, zeros))


def _answers(
    draft: Draft, images: Sequence[GoodImage], seed: int, show: Callable[[int, int], None]
) -> dict[str, Answer]:
    """What the sum of the map answers, and that of the score."""
    run, rng = Scorer(draft), np.random.default_rng(seed)
    bit_depth = draft.manifest.preprocess.bit_depth
    peaks: dict[str, list[float]] = {"map": [], "score": []}
    rises: dict[str, list[float]] = {"map": [], "score": []}

    def sums(frame: NDArray[Any]) -> dict[str, F32]:
        values = np.array(run(frame)[0])
        pooled = run.scored()
        return {"map": values, "score": values if pooled is None else np.array(pooled)}

    for done, image in enumerate(images, 1):
        frame = image.read()
        good = sums(frame)
        for name, values in good.items():
            peaks[name].append(float(values.max()))
        for _ in range(COPIES):
            painted, mask, _ = add_defect(frame, rng, bit_depth)
            shape = good["map"].shape[::-1]
            where = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA) > 0
            if not where.any():  # a line that was drawn outside
                continue
            for name, values in sums(painted).items():
                rises[name].append(float(values[where].max() - good[name][where].max()))
        show(done, len(images))
    return {name: Answer.of(peaks[name], rises[name]) for name in peaks}
