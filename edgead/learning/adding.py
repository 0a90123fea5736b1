"""Good parts that were rejected, added to what a bundle has learnt.

The memory is chosen again from its own rows and the features of the added images, under the same
bound. First come features of the added images, each the farthest from all kept so far, until none
is farther than good parts usually are; the greedy choice of ``coreset`` fills the rest. No distance
is above the largest one, and a map only blurs them: an image whose features are all that near is
no longer rejected. What is usual at each place takes the added images in too; see ``places``.
Whether they are accepted is looked at, and if not, the memory covers them more finely, and they
count for more at their places; at last frames are no longer raised to one level, by which an image
that is learnt from, and so is quiet, may be rejected for the little that is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, Draft, npy
from edgead.engine.interface import Engine
from edgead.engine.signals import read_memories
from edgead.errors import DeviceError, InputError
from edgead.installation import __version__
from edgead.learning.coreset import choose_coreset
from edgead.learning.engines import learning_engine
from edgead.learning.features import features_of
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import (
    CANDIDATES,
    MEMORY,
    MODEL,
    LearnOptions,
    calibrated,
    with_files,
)
from edgead.learning.lineage import lasting_files, of_parent
from edgead.learning.places import Places
from edgead.learning.progress import Progress, silent
from edgead.learning.scoring import limit_of, scores_of
from edgead.learning.variants import MakeGraph, with_graphs
from edgead.nearest import Nearest, NearestMemory

F32 = NDArray[np.float32]

FINER = ((1.0, 1.0), (0.25, 4.0), (0.06, 16.0))
"""Shares of the usual distance within which the added images are covered, and how many images each
counts as at its places, one after the other."""
TOGETHER = 16  # features that are chosen between two looks at what is left to cover
MOST = 0.5  # of the memory, for added features: the rest is of the parts that were learnt before


@dataclass(frozen=True)
class Addition:
    """A bundle with more good parts, in memory.

    Args:
        draft: the bundle.
        new: how many features of the added images are in its memory.
        scores: of the added images, by the draft.
        rejected: for each of them whether it still is.
        full: whether the memory has no room for more of their features, and needs it.
    """

    draft: Draft
    new: int
    scores: tuple[float, ...]
    rejected: tuple[bool, ...]
    full: bool

    @property
    def cure(self) -> str:
        """What helps those that are still rejected: the reason, and what to do, in a sentence."""
        if self.full:
            return (
                "the memory is too small for what is new in them; give a larger one with --memory"
            )
        if self.draft.manifest.whitenings:
            return (
                "they are unlike what is usual at their places, and all that is added counts as "
                "much there as all that was learnt; learn again from all good images, these among "
                "them, and with --placement loose if parts do not lie alike"
            )
        return (
            "the memory covers them, and the sample scores lower still; they are among the share "
            "of good parts that the false-reject rate lets be rejected, so calibrate with a lower "
            "--false-reject-rate"
        )


@dataclass(frozen=True)
class _Far:
    """Features of the added images, [n, channels], and their squared distances to the memory.

    ``usual``: the distance that the farthest feature of half of the calibration images exceeds.
    """

    features: F32
    distances: F32
    usual: float


def options_of(
    bundle: Bundle, memory: int | None = None, threads: int | None = None, device: str = "auto"
) -> LearnOptions:
    """What ``bundle`` was learnt with.

    Args:
        bundle: of ``learn``.
        memory: how many features are kept from now on, at most; None: as before.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.

    Raises:
        InputError: the bundle was trained, not learnt; a memory without a feature.
    """
    manifest, told = bundle.manifest, bundle.manifest.provenance.get("learn")
    if not isinstance(told, Mapping) or MODEL not in manifest.files or not manifest.memories:
        raise InputError(
            f"bundle {bundle.path} was trained (method {manifest.method}), not learnt: what it "
            "knows is in its network, to which nothing can be added; train again with these "
            "images, or make a bundle with edgead learn"
        )
    bound = memory if memory is not None else told.get("memory", told.get("kept"))
    return LearnOptions(
        size=manifest.preprocess.size,
        memory=int(bound),
        bit_depth=manifest.preprocess.bit_depth,
        tiling=manifest.tiling,
        threads=threads,
        device=device,
        seed=int(told.get("seed", 0)),
    )


def add_images(
    bundle: Bundle,
    added: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    rate: float,
    out: Path,
    options: LearnOptions,
    *,
    precisions: Collection[str] | None = None,
    provenance: Mapping[str, Any],
    progress: Progress = silent,
) -> Addition:
    """Add images of good parts to a bundle, and calibrate it.

    Args:
        bundle: of ``learn``; it stays as it is, and is what ``lineage.forget`` brings back.
        added: at least one.
        calibration: a random sample of all good parts, none of them learnt from or added.
        rate: share of good parts that may be called anomalous, which they can promise.
        out: the bundle to write.
        options: of ``options_of``.
        precisions: of which the bundle's graphs are kept besides float32; None: all.
        provenance: of the new bundle, but for what is said here.
        progress: shows how far each step is.

    Returns:
        The bundle, for ``write_qualified``.

    Raises:
        InputError: a precision that the bundle has no graph in.
        BundleError: the bundle changed since it was opened.
        DeviceError: the engine fails, or offers no precision of a graph.
        QualificationError: a graph costs too much now; says the numbers.
    """
    models = _models(bundle, precisions)
    engine = learning_engine(bundle, options.device, options.threads)
    places = Places(bundle, bundle.manifest.provenance["learn"]["images"])
    far = _far(bundle, engine, added, calibration, places, progress)
    told = _told(bundle, len(added), options)
    begun = _begun(bundle, models, out, provenance)
    most, full, tried = int(MOST * options.memory), False, list[Addition]()
    for raising, (share, weight) in product((True, False), FINER):
        fresh = _cover(far, share * far.usual, most)
        if share == 1 or not places.learnt:  # finer is no need where places may be the reason
            full = len(fresh) >= most
        memory = _chosen(fresh, bundle.read_array(MEMORY), options, progress)
        about = {**begun.manifest.provenance, "learn": {**told, "kept": len(memory)}}
        draft = replace(begun, manifest=replace(begun.manifest, provenance=about))
        draft = with_files(draft, {MEMORY: npy(memory), **places.files(weight)})
        draft = calibrated(draft, calibration, rate, options, progress, raising=raising)
        title = "scores of the added images"
        scores = scores_of(draft, added, progress, title, options.threads, options.device)
        rejected = scores > limit_of(draft)
        told_of = tuple(scores.tolist()), tuple(rejected.tolist())
        tried.append(Addition(draft, len(fresh), *told_of, full))
        if not rejected.any():
            break
    best = min(tried, key=lambda one: sum(one.rejected))  # the finest is not always the best
    draft = _with_graphs(best.draft, bundle, models, calibration, options, progress)
    return replace(best, draft=draft, full=full)


def _told(bundle: Bundle, added: int, options: LearnOptions) -> dict[str, Any]:
    """What the provenance says of learning, but for what the graph in int8 costs from now on."""
    told = {k: v for k, v in bundle.manifest.provenance["learn"].items() if k != "int8"}
    return told | {"images": told["images"] + added, "memory": options.memory}


def _begun(
    bundle: Bundle, models: Mapping[str, str], out: Path, provenance: Mapping[str, Any]
) -> Draft:
    """What stays of ``bundle``, and what brings it back."""
    files, parent = of_parent(bundle, models.values())
    manifest = replace(
        bundle.manifest,
        name=out.stem,
        models={"float32": MODEL},  # the others follow, with tolerances and a calibration anew
        tolerance={"float32": bundle.manifest.tolerance["float32"]},
        calibration=replace(bundle.manifest.calibration, own={}),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgead_version=__version__,
        provenance={**provenance, **parent},
    )
    return Draft(out, manifest, "", files | lasting_files(bundle, models.values()))


def _models(bundle: Bundle, precisions: Collection[str] | None) -> dict[str, str]:
    """The graphs of ``bundle`` that are kept. Raises: InputError for one that it does not have."""
    held = bundle.manifest.models
    if precisions is None:
        return dict(held)
    if absent := [name for name in precisions if name not in held]:
        raise InputError(
            f"bundle {bundle.path} has no graph in {absent[0]}, only in {', '.join(held)}: learn "
            "again to have one"
        )
    return {name: model for name, model in held.items() if name in ("float32", *precisions)}


def _with_graphs(
    draft: Draft,
    bundle: Bundle,
    models: Mapping[str, str],
    calibration: Sequence[GoodImage],
    options: LearnOptions,
    progress: Progress,
) -> Draft:
    """With the graphs of ``bundle`` as they are, calibrated and judged beside float32 again."""
    graphs: dict[str, MakeGraph] = {
        precision: lambda _, name=name: bundle.read(name)  # type: ignore[misc]
        for precision, name in models.items()
        if precision != "float32"
    }
    try:
        return with_graphs(draft, graphs, (), calibration, options.threads, progress)
    except DeviceError as error:
        raise type(error)(
            f"{error}. The bundle has graphs in {', '.join(models)}: --precision NAME says which "
            "one to keep, and float32 is always kept"
        ) from error


def _far(
    bundle: Bundle,
    engine: Engine,
    added: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    places: Places,
    progress: Progress,
) -> _Far:
    """The features of the added images that are farthest from the memory."""
    title = "features of the calibration images"
    pairs = _distances(features_of(calibration, bundle, engine, progress, title), bundle, engine)
    usual = float(np.median([distances.max() for _, distances in pairs]))
    each = -(-CANDIDATES // len(added))
    features, near = [], []
    title = "features of the added images"
    watched = places.watch(features_of(added, bundle, engine, progress, title))
    for values, distances in _distances(watched, bundle, engine):
        order = np.argsort(-distances, kind="stable")[:each]
        features.append(values[order])
        near.append(distances[order])
    return _Far(np.concatenate(features), np.concatenate(near), usual)


def _distances(
    features: Iterator[F32], bundle: Bundle, engine: Engine
) -> Iterator[tuple[F32, F32]]:
    """The features of each image with their squared distances to the memory, [positions]."""
    entry = bundle.manifest.memories[0]
    read = read_memories(bundle)[0]
    nearest, shares = Nearest(NearestMemory(read.rows), entry.size), read.shares
    shape = (-1, *entry.size, entry.channels)  # of a frame's tiles, or of all of it
    for values in features:
        if shares is not None:
            values = values * shares.reshape(-1, 1)
        tiles = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in values.reshape(shape))
        yield values, np.concatenate([nearest.run(tile[None]).ravel() for tile in tiles])


def _cover(far: _Far, radius: float, most: int) -> F32:
    """Features that leave none farther than ``radius``, the farthest first; at most ``most``."""
    points, distances = far.features, far.distances.copy()
    chosen: list[F32] = []
    while len(chosen) < most:
        if len(chosen) % TOGETHER == 0:  # what is covered needs no further look
            open_rows = distances > radius
            points, distances = points[open_rows], distances[open_rows]
        if not len(points) or distances.max() <= radius:
            break
        chosen.append(points[distances.argmax()])
        difference = points - chosen[-1]
        np.minimum(distances, np.einsum("ij,ij->i", difference, difference), out=distances)
    return np.array(chosen, np.float32).reshape(-1, far.features.shape[1])


def _chosen(
    fresh: F32, kept: NDArray[Any], options: LearnOptions, progress: Progress
) -> NDArray[np.float16]:
    """The fresh features and those kept before that are farthest from them and each other."""
    rows = np.concatenate([fresh, kept.astype(np.float32)])
    show = progress("choosing what is kept")
    chosen = choose_coreset(rows, options.memory, options.seed, show, first=len(fresh))
    return rows[chosen].astype(np.float16)
