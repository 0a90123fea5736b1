"""Graphs of a learnt bundle in other precisions, and what they cost beside float32.

What is learnt stays: features in another precision are compared with the same memory. float16 has
the calibration of float32, as in every bundle; int8 moves scores further and has its own. Where
places are used, what int8 rounds at a place is much the same in all good parts, and a whitening
magnifies it in directions in which they vary little; so its mean is taken off in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import OwnCalibration, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Draft
from edgead.calibration import threshold
from edgead.engine.interface import FramePipeline
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError, QualificationError
from edgead.learning.golden import synthetic_defect
from edgead.learning.good_image import GoodImage
from edgead.learning.int8_cost import INT8_BOUNDS, Cost, faults
from edgead.learning.onnx_bytes import with_offsets
from edgead.learning.tolerance import BOUNDS, spread
from edgead.preprocess import Preprocessor
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.serving.qualification import check_golden, qualify
from edgead.tiling import middle

F32 = NDArray[np.float32]

MODELS = {"float16": "model.fp16.onnx", "int8": "model.int8.onnx"}

MOST_RANGES = 64
"""Images at most that set the ranges of int8, evenly chosen."""

TIES = 2.0
"""The ties of float16 over the largest difference from float32: its arithmetic rounds as well."""

MOST_HALF = 2.0
"""How many times the usual tolerance of float16 a graph may differ by: a tenth of the spread. Few
calibration images have no spread to speak of, and then what was measured is the tolerance."""

Ranges = Sequence[F32]
"""Images [1, 3, H, W] float32, preprocessed, of what was learnt from."""

MakeGraph = Callable[[Ranges], bytes]
"""The network in another precision, as ONNX."""

Show = Callable[[int, int], None]


def with_graphs(
    draft: Draft,
    graphs: Mapping[str, MakeGraph],
    images: Sequence[GoodImage],
    calibration: Sequence[GoodImage],
    threads: int | None,
    progress: Callable[[str], Show],
) -> Draft:
    """Add graphs in other precisions, each with its tolerance.

    Args:
        draft: whole, calibrated in float32.
        graphs: how each is made, of "float16" and "int8".
        images: that were learnt from; some of them set the ranges of int8.
        calibration: that ``draft`` was calibrated with.
        threads: of the engine, None for its own choice.
        progress: shows how far each step is.

    Returns:
        ``draft`` with the graphs, and int8's own calibration.

    Raises:
        DeviceError: the processor has no int8, or OpenVINO does not really compute in it.
        QualificationError: float16 differs too much, or int8 costs more than ``INT8_BOUNDS``; says
            the numbers.
        EdgeadError: as ``graphs``.
    """
    if not graphs:
        return draft
    ranges = _ranges(draft.manifest, images)
    for precision, make in graphs.items():
        show = progress(f"the graph in {precision}")
        show(0, 1)
        held, bound = draft.manifest.calibration, BOUNDS["float16"]
        tolerance = Tolerance(
            bound.score * spread(np.array(held.scores)), bound.map * spread(np.array(held.peaks))
        )
        draft = _added(draft, precision, make(ranges), tolerance)
        if precision == "int8" and ranges:
            draft = _with_offsets(draft, ranges, threads)
        show(1, 1)
    if "float16" in graphs:
        draft = _rounded(draft, calibration, threads, progress("float16 beside float32"))
    if "int8" in graphs:
        draft = _judged(draft, calibration, threads, progress("what int8 costs"))
        qualify(draft, open_engine(draft, "cpu", threads, precision="int8"))
    return draft


def _ranges(manifest: Manifest, images: Sequence[GoodImage]) -> list[F32]:
    """Some of the images as the network sees them; of tiled ones, the middle tile."""
    at = np.linspace(0, len(images) - 1, min(MOST_RANGES, len(images))).astype(int)
    preprocess, tiling = Preprocessor(manifest.preprocess), manifest.tiling
    frames = (images[index].read() for index in at)
    seen = (frame if tiling is None else middle(frame, tiling.size) for frame in frames)
    return [np.array(preprocess.run(frame)[None]) for frame in seen]


def _added(draft: Draft, precision: str, model: bytes, tolerance: Tolerance) -> Draft:
    manifest, name = draft.manifest, MODELS[precision]
    manifest = replace(
        manifest,
        models={**manifest.models, precision: name},
        tolerance={**manifest.tolerance, precision: tolerance},
    )
    return replace(draft, manifest=manifest, files={**draft.files, name: model})


def _with_offsets(draft: Draft, ranges: Ranges, threads: int | None) -> Draft:
    """With what int8 is off by at each place taken off in its graph, where places are used."""
    manifest, name = draft.manifest, MODELS["int8"]
    output = manifest.memories[0].features
    try:
        plain = with_offsets(draft.read(name), output, None)
    except ValueError as error:
        raise BundleError(
            f"the graph in int8 is not an ONNX file, or is truncated ({error}): leave --precision "
            "int8 out, or take the network of another bundle"
        ) from error
    draft = replace(draft, files={**draft.files, name: plain})
    if not manifest.whitenings:
        return draft
    engines = (open_engine(draft, "cpu", threads, precision=p) for p in ("float32", "int8"))
    means = []
    for engine in engines:
        session, total = engine.session(), np.zeros(manifest.tensors()[output])
        for image in ranges:
            session.image[:] = image
            session.infer()
            total += session.features[0]
        means.append(total / len(ranges))
    model = with_offsets(plain, output, (means[1] - means[0]).astype(np.float32))
    return replace(draft, files={**draft.files, name: model})


class _Beside(NamedTuple):
    """Two engines on the calibration images, and on a synthetic defect in each."""

    scores: NDArray[np.float64]  # [n, 2]
    defects: NDArray[np.float64]  # [n, 2], scores
    peaks: tuple[float, ...]  # of the second's maps
    map_gap: float  # the largest on an image without a defect


def _beside(
    pipelines: tuple[FramePipeline, FramePipeline],
    calibration: Sequence[GoodImage],
    bit_depth: int | None,
    show: Show,
) -> _Beside:
    scores, defects, peaks, gap = [], [], [], 0.0
    for done, image in enumerate(calibration, 1):
        frame = image.read()
        (exact, first), (coarse, second) = (_run(one, frame) for one in pipelines)
        scores.append((first, second))
        peaks.append(float(coarse.max()))
        gap = max(gap, float(np.abs(exact - coarse).max()))
        defects.append([_run(one, synthetic_defect(frame, bit_depth))[1] for one in pipelines])
        show(done, len(calibration))
    for one in pipelines:
        one.close()
    return _Beside(np.array(scores), np.array(defects), tuple(peaks), gap)


def _rounded(
    draft: Draft, calibration: Sequence[GoodImage], threads: int | None, show: Show
) -> Draft:
    """With ties and a tolerance that hold what the graph in float16 differs by.

    No CPU tried so far computes in float16: its weights are seen in the arithmetic of float32.

    Raises: QualificationError for a graph that differs by a tenth of what good images do.
    """
    manifest, held = draft.manifest, draft.manifest.calibration
    stored = replace(
        manifest,
        models={"float32": manifest.models["float16"]},
        tolerance={"float32": manifest.tolerance["float16"]},
        calibration=replace(held, own={}),
    )
    shown = replace(draft, manifest=stored)
    engine = open_engine(shown, "cpu", threads)
    exact = open_pipeline(draft, open_engine(draft, "cpu", threads))
    pipelines = exact, open_pipeline(shown, engine)
    found = _beside(pipelines, calibration, manifest.preprocess.bit_depth, show)
    checks = check_golden(shown, engine)
    usual = manifest.tolerance["float16"]
    # Of a golden frame beyond the good ones a tolerance grows, so its difference counts as less.
    score = max(
        float(np.ptp(found.scores, axis=1).max()),
        *(c.score_difference * usual.score / c.tolerance.score for c in checks),
    )
    map_ = max(found.map_gap, *(c.map_difference * usual.map / c.tolerance.map for c in checks))
    if not (score <= usual.score * MOST_HALF and map_ <= usual.map * MOST_HALF):
        raise QualificationError(
            f"the graph in float16 is not what float32 is: the score differs by {score:.3g}, "
            f"allowed {usual.score * MOST_HALF:.3g}, the map by {map_:.3g}, allowed "
            f"{usual.map * MOST_HALF:.3g}. Nothing was written; leave float16 out (--precision)"
        )
    before = manifest.calibration_of("float32").ties
    manifest = replace(
        manifest,
        tolerance={
            **manifest.tolerance,
            "float16": Tolerance(max(usual.score, TIES * score), max(usual.map, TIES * map_)),
        },
        calibration=replace(
            held,
            ties=Tolerance(max(before.score, TIES * score), max(before.map, TIES * map_)),
        ),
    )
    return replace(draft, manifest=Manifest.loads(manifest.dumps()))


def _judged(
    draft: Draft, calibration: Sequence[GoodImage], threads: int | None, show: Show
) -> Draft:
    """With int8's own calibration and tolerance. Raises: QualificationError for too high a cost."""
    bounds, held = INT8_BOUNDS, draft.manifest.calibration
    int8 = open_engine(draft, "cpu", threads, precision="int8")
    pipelines = open_pipeline(draft, open_engine(draft, "cpu", threads)), open_pipeline(draft, int8)
    beside = _beside(pipelines, calibration, draft.manifest.preprocess.bit_depth, show)
    checks = check_golden(draft, int8)
    gap = max(
        float(np.ptp(beside.scores, axis=1).max()), *(check.score_difference for check in checks)
    )
    map_gap = max(beside.map_gap, *(check.map_difference for check in checks))
    ties = Tolerance(bounds.ties * gap, bounds.ties * map_gap)
    both = draft.manifest.calibration_of("float32").ties.score, ties.score
    limits = [
        threshold(scores.tolist(), held.false_reject_rate, tie)
        for scores, tie in zip(beside.scores.T, both, strict=True)
    ]
    verdicts, found = beside.scores > limits, (beside.defects > limits).sum(axis=0)
    cost = Cost(
        score_largest=gap,
        map_largest=map_gap,
        score_spread=spread(np.array(held.scores)),
        map_spread=spread(np.array(held.peaks)),
        found=(int(found[0]), int(found[1])),
        painted=len(beside.defects),
        verdicts_changed=int((verdicts[:, 0] != verdicts[:, 1]).sum()),
        images=len(beside.scores),
    )
    if over := faults(cost, bounds):
        raise QualificationError(
            f"int8 costs too much: {'; '.join(over)}. Nothing was written; learn from more images, "
            "or leave int8 out (--precision)"
        )
    exact, coarse = beside.scores.T  # float32 as it was measured; int8 is raised as that was
    shares = np.divide(held.scores, exact, out=np.ones(len(exact)), where=exact > 0)
    own = OwnCalibration(
        tuple((coarse * shares).tolist()), tuple((np.array(beside.peaks) * shares).tolist()), ties
    )
    tolerance = Tolerance(bounds.margin * gap, bounds.margin * map_gap)
    learnt = {**draft.manifest.provenance.get("learn", {}), "int8": asdict(cost)}
    manifest = replace(
        draft.manifest,
        tolerance={**draft.manifest.tolerance, "int8": tolerance},
        calibration=replace(held, own={**held.own, "int8": own}),
        provenance={**draft.manifest.provenance, "learn": learnt},
    )
    return replace(draft, manifest=Manifest.loads(manifest.dumps()))


def _run(pipeline: FramePipeline, frame: NDArray[np.generic]) -> tuple[F32, float]:
    found = pipeline.run(frame)
    return as_array(found.map), found.score
