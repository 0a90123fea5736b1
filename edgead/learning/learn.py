"""Learn from images of good parts in seconds, without training: what their features look like.

A frozen backbone, run by the engine that will serve, turns each image into features; a coreset of
them is kept in the bundle as its memory. A frame is as anomalous as its features are far from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import MapParams
from edgead.bundle.card import with_card
from edgead.bundle.entries import Calibration, Golden, Memory, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, Draft, check_out, npy, write_bundle
from edgead.calibration import chosen_false_reject_rate
from edgead.engine.interface import Engine
from edgead.errors import BundleError, InputError, printable
from edgead.learning.backbone import AGAIN, Backbone
from edgead.learning.coreset import choose_coreset
from edgead.learning.engines import learning_engine, qualify_on
from edgead.learning.features import Held, features_of, most_images, named
from edgead.learning.golden import golden_files, with_defect
from edgead.learning.good_image import GoodImage, counted, parts_shown
from edgead.learning.own_level import raised, unraised
from edgead.learning.placement import PLACEMENTS, UNKNOWN, Placement
from edgead.learning.progress import Progress, silent
from edgead.learning.scoring import Scorer
from edgead.learning.signals import PLACES, border_share, signals_of
from edgead.learning.tolerance import BOUNDS, spread
from edgead.learning.variants import MakeGraph, with_graphs
from edgead.monitoring.health import Observations
from edgead.tiling import Tiling, middle

F32 = NDArray[np.float32]

METHOD = "instant"
MODEL, MEMORY = "model.onnx", "memory.npy"
CANDIDATES = 40_000  # features that the memory is chosen from, evenly over the images
MOST_TILES = 4096  # learnt from, over all images, as in training
BLUR_SIGMA = 4.0  # pixels at 256, as PatchCore


@dataclass(frozen=True)
class LearnOptions:
    """What ``learn`` may be told.

    Args:
        size: (height, width) that frames are brought to, multiples of what the backbone needs.
        memory: how many features are kept, at most.
        false_reject_rate: share of good parts that may be called anomalous, in (0, 1); None for
            0.05, or the best that the calibration images can promise.
        tiling: of frames that are seen in tiles of that size; None: frames are seen whole.
        bit_depth: of 16-bit images, 9 to 16; None: not declared.
        threads: of the engine while it learns, None for its own choice.
        device: that gives the features and qualifies the bundle: "auto", "cpu", "cuda" or "cuda:N",
            as for ``Detector``.
        seed: of the choice of features, at least 0.
        placement: how the part lies, "aligned", "loose", "filling", or "unknown" for a memory
            alone; None: it is found.

    Raises:
        InputError: a number out of its range, or another word.
    """

    size: tuple[int, int] = (256, 256)
    memory: int = 4096
    false_reject_rate: float | None = None
    tiling: Tiling | None = None
    bit_depth: int | None = None
    threads: int | None = None
    seed: int = 0
    placement: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        numbers = (("memory", self.memory, 1), ("seed", self.seed, 0), ("threads", self.threads, 1))
        for name, value, least in numbers:
            if value is not None and value < least:
                raise InputError(f"{name}={value}: expected a whole number of at least {least}")
        rate = self.false_reject_rate
        if rate is not None and not 0 < rate < 1:
            raise InputError(f"false-reject rate {rate}: expected a number between 0 and 1")
        if self.placement not in (None, *PLACEMENTS, UNKNOWN):
            words = ", ".join((*PLACEMENTS, UNKNOWN))
            raise InputError(f"placement={self.placement!r}: expected one of {words}, or None")
        if self.placement not in (None, UNKNOWN) and self.tiling is not None:
            raise InputError(
                "how the part lies does not count in tiles: leave placement or tiling out"
            )


def learn(
    images: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    backbone: Backbone,
    out: str | os.PathLike[str],
    options: LearnOptions = LearnOptions(),
    *,
    graphs: Mapping[str, MakeGraph] = MappingProxyType({}),
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    refine: Callable[[Draft], Draft] | None = None,
) -> Bundle:
    """Learn from images of good parts, and write a qualified bundle.

    Args:
        images: to learn from, at least one.
        calibration: of other good parts, at least one: their scores set the threshold.
        backbone: what ``read_backbone`` found.
        out: the bundle to write, NAME.edgead; an old one there is replaced in one step.
        options: see ``LearnOptions``.
        graphs: how the network is made in "float16" and "int8", where the bundle shall have it.
        provenance: plain JSON about the images.
        progress: shows how far each step is.
        refine: is given what was learnt, before it is calibrated.

    Returns:
        The bundle as it was written.

    Raises:
        InputError: no image, one smaller than a tile, a size that the backbone does not take, or
            a graph that does not give what its facts say.
        CalibrationError: a rate that the calibration images cannot promise.
        BundleError: ``out`` cannot be written.
        DeviceError: the engine refuses the backbone, or does not repeat itself.
        QualificationError: int8 costs too much; says the numbers.
    """
    draft = learnt_draft(
        images,
        calibration,
        backbone,
        out,
        options,
        graphs=graphs,
        provenance=provenance,
        progress=progress,
        refine=refine,
    )
    return write_qualified(draft, options.threads, options.device)


def learnt_draft(
    images: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    backbone: Backbone,
    out: str | os.PathLike[str],
    options: LearnOptions = LearnOptions(),
    *,
    graphs: Mapping[str, MakeGraph] = MappingProxyType({}),
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    held: Held | None = None,
    refine: Callable[[Draft], Draft] | None = None,
) -> Draft:
    """What ``learn`` writes, in memory: to be looked at before ``write_qualified``.

    ``held``: of ``cross_fit`` with the same backbone and options, so that no image is seen twice.
    ``refine``: is given what was learnt, before it is calibrated.
    """
    path = check_out(out)
    if not images or not calibration:
        raise InputError(
            f"{len(images)} images to learn from and {len(calibration)} to calibrate with; "
            "expected at least one of each, and better 50 and 20"
        )
    rate = chosen_false_reject_rate(options.false_reject_rate, *counted(calibration))
    draft = empty_draft(path, backbone, options)
    draft, placement = _learnt(images, draft, backbone, options, progress, held)
    if refine is not None:
        draft = refine(draft)
    kept = len(draft.read_array(MEMORY))
    facts = {k: v for k, v in backbone.facts.to_json().items() if k not in ("levels", "features")}
    told = {"backbone": facts, "images": len(images), "kept": kept, "seed": options.seed}
    if options.tiling is None:  # in tiles it does not count
        told["placement"] = _told(placement, options)
    told["memory"] = options.memory  # the bound, which --add keeps to
    manifest = replace(draft.manifest, provenance={**(provenance or {}), "learn": told})
    draft = with_files(replace(draft, manifest=manifest), {})
    draft = calibrated(draft, calibration, rate, options, progress)
    return with_graphs(draft, graphs, images, calibration, options.threads, progress)


def write_qualified(draft: Draft, threads: int | None = None, device: str = "cpu") -> Bundle:
    """Write a bundle that its own engine reproduces, in place of an older one.

    Args:
        draft: of ``learnt_draft`` or ``calibrated``; it is written to its path.
        threads: of the engine.
        device: that has to reproduce it, as for ``Detector``.

    Raises:
        BundleError: it cannot be written.
        DeviceError: the engine does not repeat itself.
    """
    qualify_on(draft, device, threads)
    return write_bundle(draft.path, draft.manifest, with_card(draft.manifest, draft.files))


def empty_draft(path: Path, backbone: Backbone, options: LearnOptions) -> Draft:
    """The bundle so far: a memory of one feature, and what is not measured yet, hold places."""
    features, height, width = backbone.facts.features, *options.size
    params = replace(backbone.params(options.size), bit_depth=options.bit_depth)
    size = (height // features.stride, width // features.stride)
    entry = Memory(features.name, features.channels, size, MEMORY, PLACES)
    manifest = Manifest(
        name=path.stem,
        method=METHOD,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        preprocess=params,
        pairs=(),
        memories=(entry,),
        map=MapParams(options.size, "l1", (1.0,), blur_sigma=BLUR_SIGMA * height / 256),
        models={"float32": MODEL},
        calibration=Calibration((0.0,), (0.0,), 0.5),
        tolerance={"float32": Tolerance(0.0, 0.0)},
        golden=(Golden("golden/0.png", "golden/0.npy", 0.0),),
        tiling=options.tiling,
        schema_version=2,
    )
    files = {
        MODEL: backbone.model,
        MEMORY: npy(np.zeros((1, features.channels), np.float32)),
        PLACES: npy(border_share(size)),
    }
    return Draft(path, manifest, "", files)


def _told(placement: Placement, options: LearnOptions) -> dict[str, Any]:
    """What was found, for the provenance."""
    told = {
        "name": placement.name,
        "means": placement.meaning(),
        "given": options.placement is not None,
    }
    for key, value in (("border", placement.border), ("gain", placement.gain)):
        if value is not None:
            told[key] = round(value, 3)
    return told


def opened(draft: Draft, backbone: Backbone, options: LearnOptions) -> Engine:
    """The engine of the backbone. Raises: InputError for a graph that its facts do not describe."""
    try:
        return learning_engine(draft, options.device, options.threads)
    except BundleError as error:
        facts = backbone.facts
        raise InputError(
            f"backbone {printable(facts.name)}: its graph is not what its metadata says, one "
            f"output {printable(facts.features.name)} of {facts.features.channels} channels at "
            f"stride {facts.features.stride}; {AGAIN}"
        ) from error


def _learnt(
    images: Sequence[GoodImage],
    draft: Draft,
    backbone: Backbone,
    options: LearnOptions,
    progress: Progress,
    held: Held | None,
) -> tuple[Draft, Placement]:
    """With a memory and whitenings, as the part lies; of frames in tiles, with a memory alone."""
    engine, memory = opened(draft, backbone, options), draft.manifest.memories[0]
    if draft.manifest.tiling is not None:  # a place in a tile is no place of the part
        each, most = -(-max(CANDIDATES, options.memory) // len(images)), MOST_TILES // len(images)
        rows = features_of(images, draft, engine, progress, most=max(1, most))
        kept = _remember(rows, each, options, progress)
        return with_files(draft, {MEMORY: npy(kept)}), Placement(UNKNOWN)
    some = min(len(images), most_images(memory.channels, memory.size))
    at = np.linspace(0, len(images) - 1, some).astype(int)
    images = [images[index] for index in at]  # evenly chosen where there are more
    features = np.empty((len(images), memory.channels, *memory.size), np.float16)
    for index, values in enumerate(features_of(images, draft, engine, progress, held=held)):
        features[index] = values.T.reshape(features.shape[1:])
    parts = [image.part or f"{index}" for index, image in enumerate(images)]
    found = signals_of(
        draft.manifest, backbone.facts, features, parts, options.placement, options.seed, progress
    )
    shares = found.shares
    rows = (
        (x if shares is None else x * shares).astype(np.float32).reshape(len(x), -1).T
        for x in features
    )
    each = -(-max(CANDIDATES, options.memory) // len(images))
    kept = _remember(rows, each, options, progress)
    draft = replace(draft, manifest=found.manifest)
    return with_files(draft, {**found.files, MEMORY: npy(kept)}), found.placement


def _remember(
    rows: Iterable[F32], each: int, options: LearnOptions, progress: Progress
) -> NDArray[np.float16]:
    """A coreset [rows, channels] of ``each`` features of every image, drawn at random."""
    generator = np.random.default_rng(options.seed)
    parts = [features[generator.permutation(len(features))[:each]] for features in rows]
    candidates = np.ascontiguousarray(np.concatenate(parts))
    show = progress("choosing what is kept")
    chosen = choose_coreset(candidates, options.memory, options.seed, show)
    return candidates[chosen].astype(np.float16)


def calibrated(
    draft: Draft,
    calibration: Sequence[GoodImage],
    rate: float,
    options: LearnOptions,
    progress: Progress,
    *,
    raising: bool = True,
) -> Draft:
    """With scores, tolerance, golden frames and health limits of the calibration images.

    ``raising``: whether frames are raised between the own levels of these.
    """
    draft, shares = unraised(draft), np.ones(len(calibration))
    if raising:
        draft, shares = raised(draft, calibration, progress, options.threads, options.device)
    run = Scorer(draft, options.threads, options.device)
    observations = Observations(options.bit_depth)
    scores, peaks, show = [], [], progress("scores of the calibration images")
    for done, (image, share) in enumerate(zip(calibration, shares, strict=True), 1):
        frame = image.read()
        observations.add(frame)
        with named(image):
            values, score = run(frame)
        scores.append(score * share)
        peaks.append(float(values.max()) * share)
        show(done, len(calibration))
    health, reference = observations.limits()
    shown = with_defect(
        np.array(scores), lambda i: _golden_piece(calibration[i], options), options.bit_depth
    )
    files, golden = golden_files(run, shown, run.scored)
    bounds = BOUNDS["float32"]
    tolerance = Tolerance(
        bounds.score * spread(np.array(scores)), bounds.map * spread(np.array(peaks))
    )
    manifest = replace(
        draft.manifest,
        calibration=Calibration(
            tuple(scores), tuple(peaks), rate, tolerance, parts=parts_shown(calibration)
        ),
        tolerance={"float32": tolerance},
        golden=golden,
        health=health,
    )
    return with_files(replace(draft, manifest=manifest), {**files, health.reference: reference})


def _golden_piece(image: GoodImage, options: LearnOptions) -> NDArray[Any]:
    """All of an image; of a tiled one two by two tiles, so that stitching is proven too."""
    if options.tiling is None:
        return image.read()
    tall, wide = (2 * side - options.tiling.overlap for side in options.tiling.size)
    return middle(image.read(), (tall, wide))


def with_files(draft: Draft, files: Mapping[str, bytes]) -> Draft:
    """With more files, and the manifest that an engine will read from its bytes."""
    manifest = Manifest.loads(draft.manifest.dumps())
    return Draft(draft.path, manifest, "", {**draft.files, **files})
