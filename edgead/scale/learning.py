"""Learn from more good images than one machine holds: sums and coresets of parts, merged.

``learn`` finds from as many images as it can hold how the part lies, and the units of what is
compared. Means, covariances and memory are then those of all images: sums are added, and of each
part's coreset and the others' the final one is chosen.

Source: Indyk et al., Composable core-sets for diversity and coverage maximization (PODS 2014), for
coresets of parts: what is farther than r1 from none of a part's and r2 from none of the final ones
is at most r1 + r2 from what is kept.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, Draft, npy
from edgead.engine.interface import HostEngine
from edgead.engine.signals import ReadWhitening, read_memories, read_whitenings
from edgead.errors import InputError
from edgead.learning.backbone import Backbone
from edgead.learning.coreset import choose_coreset
from edgead.learning.engines import learning_engine
from edgead.learning.features import features_of
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import (
    CANDIDATES,
    MEMORY,
    LearnOptions,
    learn,
    with_files,
)
from edgead.learning.progress import Progress, silent
from edgead.learning.statistics import Moments, channel_normal, fit
from edgead.scale.ray_cluster import Cluster, Worker

USUAL = LearnOptions()
PART = 64  # images of one part
LEAST_ROWS = 64  # that a part keeps
MOST_ROWS = 4 * CANDIDATES  # that all parts keep together, as long as each keeps LEAST_ROWS


@dataclass(frozen=True)
class Sums:
    """What is kept of some images: of each whitening the moments in float64, and a coreset."""

    moments: tuple[Moments, ...]
    rows: NDArray[np.float16]  # [rows, channels]

    def dumps(self) -> bytes:
        """As the bytes of an .npz file."""
        arrays: dict[str, Any] = {"rows": self.rows}
        for index, one in enumerate(self.moments):
            arrays[f"about_{index}"] = np.array([one.images, one.side])
            arrays |= {f"total_{index}": one.total, f"products_{index}": one.products}
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return stream.getvalue()

    @staticmethod
    def loads(data: bytes) -> Sums:
        """Of the bytes of ``dumps``."""
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            number = sum(name.startswith("about_") for name in held)
            moments = tuple(
                Moments(
                    int(held[f"about_{i}"][0]),
                    held[f"total_{i}"],
                    held[f"products_{i}"],
                    int(held[f"about_{i}"][1]),
                )
                for i in range(number)
            )
            return Sums(moments, held["rows"])


@dataclass(frozen=True)
class Plan:
    """How a data set is summed: the same on one machine and on many.

    Args:
        images: in all.
        draft: says which features count where.
        options: see ``LearnOptions``.
    """

    images: Sequence[GoodImage]
    draft: Draft
    options: LearnOptions

    def parts(self) -> list[tuple[int, int]]:
        """(first, end) of each."""
        count = len(self.images)
        return [(at, min(at + PART, count)) for at in range(0, count, PART)]

    def rows_of_image(self) -> int:
        """Features drawn of each image."""
        return -(-max(CANDIDATES, self.options.memory) // len(self.images))

    def rows_of_part(self) -> int:
        """Features that a part keeps."""
        share = max(LEAST_ROWS, MOST_ROWS // len(self.parts()))
        return min(self.options.memory, share)


class Summing:
    """The engine, and what was found out from the images that one machine holds."""

    def __init__(self, plan: Plan, engine: HostEngine) -> None:
        self._plan, self._engine = plan, engine
        draft = plan.draft
        self._whitenings: list[tuple[Any, ReadWhitening]] = list(
            zip(draft.manifest.whitenings, read_whitenings(draft), strict=True)
        )
        (memory,) = read_memories(draft)
        self._shares = memory.shares

    def sums(self, first: int, end: int) -> Sums:
        """Of the images from ``first`` to before ``end``."""
        plan, draft = self._plan, self._plan.draft
        (entry,) = draft.manifest.memories
        moments: list[list[Moments]] = [[] for _ in self._whitenings]
        kept = []
        seen = features_of(plan.images[first:end], draft, self._engine, silent)
        for index, values in enumerate(seen, first):
            # Rounded as what is learnt on one machine is.
            shaped = values.T.reshape(entry.channels, *entry.size).astype(np.float16)
            for found, (one, read) in zip(moments, self._whitenings, strict=True):
                found.append(_moments(shaped[one.first : one.first + one.count], one, read))
            shared = shaped if self._shares is None else shaped * self._shares
            rows = shared.astype(np.float32).reshape(entry.channels, -1).T
            drawn = np.random.default_rng([plan.options.seed, index])
            kept.append(rows[drawn.permutation(len(rows))[: plan.rows_of_image()]])
        candidates = np.ascontiguousarray(np.concatenate(kept))
        chosen = choose_coreset(candidates, plan.rows_of_part(), plan.options.seed)
        summed = tuple(reduce(Moments.__add__, found) for found in moments)
        return Sums(summed, candidates[chosen].astype(np.float16))


def _moments(values: NDArray[np.float16], entry: Any, read: ReadWhitening) -> Moments:
    """Of one image, in float64 from the features on."""
    wide = values.astype(np.float32)[None]
    if read.centre is not None:
        wide = channel_normal(wide - read.centre)
    # Products of float32 would be sums of float32.
    return Moments.of(wide.astype(np.float64), entry.side)


def merged(found: Iterator[Sums], draft: Draft, options: LearnOptions) -> Draft:
    """The draft with means, factors and memory of all parts.

    Args:
        found: sums of each part, in order.
        draft: that they are about.
        options: see ``LearnOptions``.
    """
    total: Sums | None = None
    rows = []
    for one in found:
        rows.append(one.rows)
        before = one.moments if total is None else total.moments
        both = before if total is None else (
            a + b for a, b in zip(before, one.moments, strict=True)
        )  # fmt: skip
        total = Sums(tuple(both), one.rows)
    assert total is not None  # there is an image
    files: dict[str, bytes] = {}
    for entry, moments in zip(draft.manifest.whitenings, total.moments, strict=True):
        mean, factors = fit(moments)
        files |= {entry.mean: npy(mean), entry.factors: npy(factors)}
    candidates = np.concatenate(rows).astype(np.float32)
    chosen = choose_coreset(candidates, options.memory, options.seed)
    files[MEMORY] = npy(candidates[chosen].astype(np.float16))
    return with_files(draft, files)


def learn_dataset(
    images: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    backbone: Backbone,
    out: str | os.PathLike[str],
    options: LearnOptions = USUAL,
    *,
    ray: bool | str = False,
    actors: int | None = None,
    provenance: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = silent,
) -> Bundle:
    """Learn means, covariances and memory of every image, and write a qualified bundle.

    The bundle is the same, byte for byte but for its date, on one machine and on many, as long as
    the processors round alike: parts are the same and are merged in order.

    Args:
        images: of good parts; each node of a cluster reads its share, so it has to see them.
        calibration: of other good parts.
        backbone, out, options, provenance, progress: as for ``learn``.
        ray, actors: as for ``score_dataset``.

    Returns:
        The bundle as it was written.

    Raises:
        InputError: as ``learn``, and for frames in tiles.
        DeviceError: as ``learn`` and ``score_dataset``.
    """
    return learn(
        images,
        calibration,
        backbone,
        out,
        options,
        provenance=provenance,
        progress=progress,
        refine=refiner(images, options, ray=ray, actors=actors, progress=progress),
    )


def refiner(
    images: Sequence[GoodImage],
    options: LearnOptions,
    *,
    ray: bool | str = False,
    actors: int | None = None,
    progress: Progress = silent,
) -> Callable[[Draft], Draft]:
    """What ``learnt_draft`` is to do with a draft, before it is calibrated.

    Args:
        images, options, ray, actors, progress: as for ``learn_dataset``.

    Raises:
        InputError: frames in tiles.
    """
    if options.tiling is not None:
        raise InputError(
            "statistics of all images with tiles: in tiles there are none, leave one of both out"
        )

    def refine(draft: Draft) -> Draft:
        plan = Plan(images, draft, options)
        return merged(_shown(_sums(plan, ray, actors), len(plan.parts()), progress), draft, options)

    return refine


def _shown(found: Iterator[Sums], parts: int, progress: Progress) -> Iterator[Sums]:
    show = progress("statistics of all images")
    for done, one in enumerate(found, 1):
        yield one
        show(done, parts)


def _sums(plan: Plan, ray: bool | str, actors: int | None) -> Iterator[Sums]:
    """Of each part, in order."""
    if not ray:
        summing = Summing(
            plan, learning_engine(plan.draft, plan.options.device, plan.options.threads)
        )
        for first, end in plan.parts():
            yield summing.sums(first, end)
        return
    gpu = plan.options.device.startswith("cuda")
    cluster = Cluster(ray, actors, {"device": "cuda" if gpu else "cpu"})
    items = [{"first": first, "end": end} for first, end in plan.parts()]
    threads = plan.options.threads or cluster.cpus
    given = (plan, "cuda" if gpu else "cpu", threads)
    for row in cluster.rows(Summer, given, items, ordered=True):
        yield Sums.loads(bytes(row["sums"]))


class Summer(Worker):
    """An actor that sums parts."""

    def open(self, plan: Plan, device: str, threads: int) -> None:
        """Open the engine of the draft."""
        self._summing = Summing(plan, learning_engine(plan.draft, device, threads))

    def work(self, item: dict[str, Any]) -> dict[str, Any]:
        """The sums of a part as bytes."""
        return {"sums": self._summing.sums(int(item["first"]), int(item["end"])).dumps()}
