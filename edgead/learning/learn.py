"""Learn from images of good parts in seconds, without training: what their features look like.

A frozen backbone, run by the engine that will serve, turns each image into features; a coreset of
them is kept in the bundle as its memory. A frame is as anomalous as its features are far from it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import MapParams
from edgead.bundle.entries import Calibration, Golden, Memory, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, Draft, check_out, npy, write_bundle
from edgead.calibration import chosen_false_reject_rate
from edgead.engine.interface import Engine
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError, InputError, printable
from edgead.learning.backbone import AGAIN, Backbone
from edgead.learning.coreset import choose_coreset
from edgead.learning.golden import golden_files, with_defect
from edgead.learning.good_image import GoodImage
from edgead.learning.lie import LIES, REGION, Lie, study
from edgead.learning.signals import PLACES, background_share, counted, whitenings_of
from edgead.learning.tolerance import BOUNDS, spread
from edgead.monitoring.health import Observations
from edgead.preprocess import Preprocessor
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.serving.qualification import qualify

F32 = NDArray[np.float32]

METHOD = "instant"
MODEL, MEMORY = "model.onnx", "memory.npy"
CANDIDATES = 40_000  # features that the memory is chosen from, evenly over the images
MOST_BYTES = 128 << 20  # of features that are held while they are learnt from
BLUR_SIGMA = 4.0  # pixels at 256, as PatchCore


@dataclass(frozen=True)
class LearnOptions:
    """What ``learn`` may be told.

    Args:
        size: (height, width) that frames are brought to, multiples of what the backbone needs.
        memory: how many features are kept, at most.
        false_reject_rate: share of good parts that may be called anomalous, in (0, 1); None for
            0.05, or the best that the calibration images can promise.
        bit_depth: of 16-bit images, 9 to 16; None: not declared.
        threads: of the engine while it learns, None for its own choice.
        seed: of the choice of features.
        lie: how the part lies, "aligned", "loose" or "filling"; None: it is found.

    Raises:
        InputError: a memory without a feature, or another word.
    """

    size: tuple[int, int] = (256, 256)
    memory: int = 4096
    false_reject_rate: float | None = None
    bit_depth: int | None = None
    threads: int | None = None
    seed: int = 0
    lie: str | None = None

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise InputError(f"memory={self.memory}: expected at least one feature, such as 4096")
        if self.lie not in (None, *LIES):
            raise InputError(f"lie={self.lie!r}: expected one of {', '.join(LIES)}, or None")


Progress = Callable[[str], Callable[[int, int], None]]
"""What is done, to a function that is told (done, total) now and then."""


def _silent(_title: str) -> Callable[[int, int], None]:
    return lambda _done, _total: None


def learn(
    images: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    backbone: Backbone,
    out: str | os.PathLike[str],
    options: LearnOptions = LearnOptions(),
    *,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = _silent,
) -> Bundle:
    """Learn from images of good parts, and write a qualified bundle.

    Args:
        images: to learn from, at least one.
        calibration: of other good parts, at least one: their scores set the threshold.
        backbone: what ``read_backbone`` found.
        out: the bundle to write, NAME.edgead; an old one there is replaced in one step.
        options: see ``LearnOptions``.
        provenance: plain JSON about the images.
        progress: shows how far each step is.

    Returns:
        The bundle as it was written.

    Raises:
        InputError: no image, a size that the backbone does not take, or a graph that does not
            give what its facts say.
        CalibrationError: a rate that the calibration images cannot promise.
        BundleError: ``out`` cannot be written.
        DeviceError: the engine refuses the backbone, or does not repeat itself.
    """
    path = check_out(out)
    if not images or not calibration:
        raise InputError(
            f"{len(images)} images to learn from and {len(calibration)} to calibrate with; "
            "expected at least one of each, and better 50 and 20"
        )
    rate = chosen_false_reject_rate(options.false_reject_rate, len(calibration))
    draft = _draft(path, backbone, options)
    features = _seen(images, draft, _opened(draft, backbone, options), progress)
    at = np.linspace(0, len(images) - 1, len(features)).astype(int)
    parts = [images[index].part or f"{index}" for index in at]
    draft, lie = _learnt(draft, backbone, features, parts, options, progress)
    kept = len(np.load(io.BytesIO(draft.files[MEMORY]), mmap_mode=None))
    facts = {k: v for k, v in backbone.facts.to_json().items() if k not in ("levels", "features")}
    told = {"backbone": facts, "images": len(images), "kept": kept, "seed": options.seed}
    told["lie"] = _told(lie, options)
    manifest = replace(draft.manifest, provenance={**(provenance or {}), "learn": told})
    draft = _with_files(replace(draft, manifest=manifest), {})
    whole = _calibrated(draft, calibration, rate, options, progress)
    qualify(whole, open_engine(whole, "cpu", options.threads))
    return write_bundle(path, whole.manifest, whole.files)


def _draft(path: Path, backbone: Backbone, options: LearnOptions) -> Draft:
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
        schema_version=2,
    )
    files = {
        MODEL: backbone.model,
        MEMORY: npy(np.zeros((1, features.channels), np.float32)),
        PLACES: npy(np.zeros(size, np.float32)),
    }
    return Draft(path, manifest, "", files)


def _told(lie: Lie, options: LearnOptions) -> dict[str, Any]:
    """What was found, for the provenance."""
    told = {"name": lie.name, "means": lie.meaning(), "given": options.lie is not None}
    for key, value in (("border", lie.border), ("gain", lie.gain)):
        if value is not None:
            told[key] = round(value, 3)
    return told


def _opened(draft: Draft, backbone: Backbone, options: LearnOptions) -> Engine:
    """The engine of the backbone. Raises: InputError for a graph that its facts do not describe."""
    try:
        return open_engine(draft, "cpu", options.threads)
    except BundleError as error:
        facts = backbone.facts
        raise InputError(
            f"backbone {printable(facts.name)}: its graph is not what its metadata says, one "
            f"output {printable(facts.features.name)} of {facts.features.channels} channels at "
            f"stride {facts.features.stride}; {AGAIN}"
        ) from error


def _seen(
    images: Sequence[GoodImage], draft: Draft, engine: Engine, progress: Progress
) -> NDArray[np.float16]:
    """The images' features, [N, channels, height, width]; of many images, of some."""
    session, preprocess = engine.session(), Preprocessor(draft.manifest.preprocess)
    entry = draft.manifest.memories[0]
    room = MOST_BYTES // (2 * entry.channels * entry.size[0] * entry.size[1])
    count = min(len(images), max(1, room))
    chosen = np.linspace(0, len(images) - 1, count).astype(int)
    features = np.empty((count, entry.channels, *entry.size), np.float16)
    show = progress("features of the good images")
    for done, index in enumerate(chosen):
        preprocess.run(images[index].read(), session.image[0])
        session.infer()
        features[done] = session.features[0][0]
        show(done + 1, count)
    return features


def _remember(
    features: NDArray[np.float16], shares: F32 | None, options: LearnOptions, progress: Progress
) -> NDArray[np.float16]:
    """A coreset of the features, [rows, channels]; ``shares``: what they are multiplied by."""
    generator = np.random.default_rng(options.seed)
    each, parts = -(-max(CANDIDATES, options.memory) // len(features)), []
    for values in features:
        whole = values.astype(np.float32) if shares is None else values * shares
        rows = whole.reshape(len(whole), -1).T
        parts.append(rows[generator.permutation(len(rows))[:each]])
    candidates = np.ascontiguousarray(np.concatenate(parts))
    show = progress("choosing what is kept")
    chosen = choose_coreset(candidates, options.memory, options.seed, show)
    return candidates[chosen].astype(np.float16)


def _learnt(
    draft: Draft,
    backbone: Backbone,
    features: NDArray[np.float16],
    parts: Sequence[str],
    options: LearnOptions,
    progress: Progress,
) -> tuple[Draft, Lie]:
    """With memory and whitenings, as the part lies."""
    memory, strides = draft.manifest.memories[0], [x.stride for x in backbone.facts.levels]
    stride = backbone.facts.features.stride
    side = max(1, REGION // stride)
    shares = background_share(memory.size, max(strides) // stride)
    lie = study(
        features,
        parts,
        backbone.facts.levels[0].channels,
        side,
        draft.manifest.map.blur_sigma / stride,
        shares=shares,
        given=options.lie,
        seed=options.seed,
        show=progress("how the part lies"),
    )
    memory, files = counted(memory, lie, shares)
    quiet = None if memory.shares is None else shares
    files[MEMORY] = npy(_remember(features, quiet, options, progress))
    whitenings, more = whitenings_of(memory, lie, side)
    weights = (1.0,) * (1 + sum(one.places is not None for one in whitenings))
    manifest = replace(
        draft.manifest,
        memories=(memory,),
        whitenings=whitenings,
        map=replace(draft.manifest.map, weights=weights),
    )
    return _with_files(replace(draft, manifest=manifest), {**files, **more}), lie


def _calibrated(
    draft: Draft,
    calibration: Sequence[GoodImage],
    rate: float,
    options: LearnOptions,
    progress: Progress,
) -> Draft:
    """With scores, tolerance, golden frames and health limits of the calibration images."""
    pipeline = open_pipeline(draft, open_engine(draft, "cpu", options.threads))

    pooled: list[F32 | None] = [None]

    def run(frame: NDArray[Any]) -> tuple[F32, float]:
        found = pipeline.run(frame)
        pooled[0] = found.scored
        return as_array(found.map), found.score

    observations = Observations(options.bit_depth)
    scores, peaks, show = [], [], progress("scores of the calibration images")
    for done, image in enumerate(calibration, 1):
        frame = image.read()
        observations.add(frame)
        values, score = run(frame)
        scores.append(score)
        peaks.append(float(values.max()))
        show(done, len(calibration))
    health, reference = observations.limits()
    shown = with_defect(np.array(scores), lambda i: calibration[i].read(), options.bit_depth)
    files, golden = golden_files(run, shown, lambda: pooled[0])
    bounds = BOUNDS["float32"]
    tolerance = Tolerance(
        bounds.score * spread(np.array(scores)), bounds.map * spread(np.array(peaks))
    )
    manifest = replace(
        draft.manifest,
        calibration=Calibration(tuple(scores), tuple(peaks), rate, tolerance),
        tolerance={"float32": tolerance},
        golden=golden,
        health=health,
    )
    pipeline.close()
    return _with_files(replace(draft, manifest=manifest), {**files, health.reference: reference})


def _with_files(draft: Draft, files: Mapping[str, bytes]) -> Draft:
    """With more files, and the manifest that an engine will read from its bytes."""
    manifest = Manifest.loads(draft.manifest.dumps())
    return Draft(draft.path, manifest, "", {**draft.files, **files})
