"""Good parts that were rejected, added to what a bundle has learnt.

The memory is chosen again from its own rows and the features of the added images, under the same
bound. First come features of the added images, each the farthest from all kept so far, until none
is farther than good parts usually are; the greedy choice of ``coreset`` fills the rest. No distance
is above the largest one, and a map only blurs them: an image whose features are all that near is
no longer rejected. Whether so is looked at, and if not, the added images are covered more finely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, Draft, npy
from edgead.engine.interface import Engine
from edgead.errors import DeviceError, InputError, QualificationError
from edgead.installation import __version__
from edgead.learning.coreset import choose_coreset
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import (
    CANDIDATES,
    MEMORY,
    MODEL,
    LearnOptions,
    calibrated,
    features_of,
    with_files,
)
from edgead.learning.lineage import of_parent, own_files
from edgead.learning.progress import Progress, silent
from edgead.learning.scoring import limit_of, scores_of
from edgead.learning.variants import with_graphs
from edgead.nearest import Nearest
from edgead.serving.open_engine import open_engine

F32 = NDArray[np.float32]

FINER = (1.0, 0.25, 0.06)
"""Shares of the usual distance within which the added images are covered, one after the other."""
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
        left: precisions whose graphs the draft does not take over, and why.
    """

    draft: Draft
    new: int
    scores: tuple[float, ...]
    rejected: tuple[bool, ...]
    left: Mapping[str, str]


@dataclass(frozen=True)
class _Far:
    """Features of the added images, [n, channels], and their squared distances to the memory.

    ``usual``: the distance that the farthest feature of half of the calibration images exceeds.
    """

    features: F32
    distances: F32
    usual: float


def options_of(
    bundle: Bundle, memory: int | None = None, threads: int | None = None
) -> LearnOptions:
    """What ``bundle`` was learnt with.

    Args:
        bundle: of ``learn``.
        memory: how many features are kept from now on, at most; None: as before.
        threads: of the engine.

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
        tiling=manifest.tiling,
        bit_depth=manifest.preprocess.bit_depth,
        threads=threads,
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
        provenance: of the new bundle, but for what is said here.
        progress: shows how far each step is.

    Returns:
        The bundle, for ``write_qualified``.

    Raises:
        BundleError: the bundle changed since it was opened.
        DeviceError: the engine fails.
    """
    engine = open_engine(bundle, "cpu", options.threads)
    far = _far(bundle, engine, added, calibration, progress)
    files, parent = of_parent(bundle)
    files |= own_files(bundle)
    told = dict(bundle.manifest.provenance["learn"])
    told.pop("int8", None)  # what its graph costs is measured again
    told |= {"images": told["images"] + len(added), "memory": options.memory}
    manifest = replace(
        bundle.manifest,
        name=out.stem,
        models={"float32": MODEL},
        tolerance={"float32": bundle.manifest.tolerance["float32"]},
        calibration=replace(bundle.manifest.calibration, own={}),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgead_version=__version__,
        provenance={**provenance, **parent},
    )
    for share in FINER:
        fresh = _cover(far, share * far.usual, int(MOST * options.memory))
        memory = _chosen(fresh, bundle.read_array(MEMORY), options, progress)
        about = {**manifest.provenance, "learn": {**told, "kept": len(memory)}}
        manifest = replace(manifest, provenance=about)
        draft = with_files(Draft(out, manifest, "", files), {MEMORY: npy(memory)})
        draft = calibrated(draft, calibration, rate, options, progress)
        scores = scores_of(draft, added, progress, "scores of the added images", options.threads)
        rejected = scores > limit_of(draft)
        if not rejected.any():
            break
    draft, left = _with_graphs_of(bundle, draft, calibration, options, progress)
    return Addition(draft, len(fresh), tuple(scores.tolist()), tuple(rejected.tolist()), left)


def _with_graphs_of(
    bundle: Bundle,
    draft: Draft,
    calibration: Sequence[GoodImage],
    options: LearnOptions,
    progress: Progress,
) -> tuple[Draft, dict[str, str]]:
    """``draft`` with the graphs of ``bundle`` in other precisions; which are left out, and why."""
    left: dict[str, str] = {}
    for precision, name in bundle.manifest.models.items():
        if precision == "float32":
            continue
        graphs = {precision: lambda _, name=name: bundle.read(name)}
        try:
            draft = with_graphs(draft, graphs, calibration, calibration, options.threads, progress)
        except (DeviceError, QualificationError) as error:
            left[precision] = str(error)
    return draft, left


def _far(
    bundle: Bundle,
    engine: Engine,
    added: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    progress: Progress,
) -> _Far:
    """The features of the added images that are farthest from the memory."""
    title = "features of the calibration images"
    pairs = _distances(features_of(calibration, bundle, engine, progress, title), bundle, engine)
    usual = float(np.median([distances.max() for _, distances in pairs]))
    each = -(-CANDIDATES // len(added))
    features, near = [], []
    title = "features of the added images"
    for values, distances in _distances(
        features_of(added, bundle, engine, progress, title), bundle, engine
    ):
        order = np.argsort(-distances, kind="stable")[:each]
        features.append(values[order])
        near.append(distances[order])
    return _Far(np.concatenate(features), np.concatenate(near), usual)


def _distances(
    features: Iterator[F32], bundle: Bundle, engine: Engine
) -> Iterator[tuple[F32, F32]]:
    """The features of each image with their squared distances to the memory, [positions]."""
    entry = bundle.manifest.memories[0]
    nearest, shares = Nearest(engine.memories[0].index, entry.size), engine.memories[0].shares
    shape = (-1, *entry.size, entry.channels)  # of a frame's tiles, or of all of it
    for values in features:
        if shares is not None:
            values = values * shares.reshape(-1, 1)
        tiles = np.ascontiguousarray(values.reshape(shape).transpose(0, 3, 1, 2))
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
