"""Graphs of a learnt bundle in other precisions, and what they cost beside float32.

What is learnt stays: features in another precision are compared with the same memory. float16 has
the calibration of float32, as in every bundle; int8 moves scores further and has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import OwnCalibration, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Draft
from edgead.calibration import threshold
from edgead.engine.interface import FramePipeline
from edgead.engine.lazy_array import as_array
from edgead.errors import QualificationError
from edgead.learning.golden import synthetic_defect
from edgead.learning.good_image import GoodImage
from edgead.learning.int8_cost import INT8_BOUNDS, Cost, faults
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
        QualificationError: int8 costs more than ``INT8_BOUNDS``; says the numbers.
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
        show(1, 1)
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


def _judged(
    draft: Draft, calibration: Sequence[GoodImage], threads: int | None, show: Show
) -> Draft:
    """With int8's own calibration and tolerance. Raises: QualificationError for too high a cost."""
    bounds, held = INT8_BOUNDS, draft.manifest.calibration
    int8 = open_engine(draft, "cpu", threads, precision="int8")
    exact = open_pipeline(draft, open_engine(draft, "cpu", threads))
    coarse = open_pipeline(draft, int8)
    good, painted, peaks, map_gap = [], [], [], 0.0
    for done, image in enumerate(calibration, 1):
        frame = image.read()
        (map32, score32), (map8, score8) = (_run(one, frame) for one in (exact, coarse))
        good.append((score32, score8))
        peaks.append(float(map8.max()))
        map_gap = max(map_gap, float(np.abs(map32 - map8).max()))
        defect = synthetic_defect(frame, draft.manifest.preprocess.bit_depth)
        painted.append([_run(one, defect)[1] for one in (exact, coarse)])
        show(done, len(calibration))
    exact.close()
    coarse.close()
    checks = check_golden(draft, int8)
    scores, defects = np.array(good), np.array(painted)
    gap = max(float(np.abs(np.ptp(scores, axis=1)).max()), *(c.score_difference for c in checks))
    map_gap = max(map_gap, *(check.map_difference for check in checks))
    ties = Tolerance(bounds.ties * gap, bounds.ties * map_gap)
    exact_ties = draft.manifest.calibration_of("float32").ties
    limits = np.array([
        threshold(scores[:, 0].tolist(), held.false_reject_rate, exact_ties.score),
        threshold(scores[:, 1].tolist(), held.false_reject_rate, ties.score),
    ])  # fmt: skip
    verdicts, found = scores > limits, (defects > limits).sum(axis=0)
    cost = Cost(
        score_largest=gap,
        map_largest=map_gap,
        score_spread=spread(np.array(held.scores)),
        map_spread=spread(np.array(held.peaks)),
        found=(int(found[0]), int(found[1])),
        painted=len(defects),
        verdicts_changed=int((verdicts[:, 0] != verdicts[:, 1]).sum()),
        images=len(scores),
    )
    if over := faults(cost, bounds):
        raise QualificationError(
            f"int8 costs too much: {'; '.join(over)}. Nothing was written; learn from more images, "
            "or leave --precision int8 out"
        )
    own = OwnCalibration(tuple(scores[:, 1].tolist()), tuple(peaks), ties)
    learnt = {**draft.manifest.provenance.get("learn", {}), "int8": asdict(cost)}
    manifest = replace(
        draft.manifest,
        tolerance={
            **draft.manifest.tolerance,
            "int8": Tolerance(bounds.margin * gap, bounds.margin * map_gap),
        },
        calibration=replace(held, own={**held.own, "int8": own}),
        provenance={**draft.manifest.provenance, "learn": learnt},
    )
    return replace(draft, manifest=Manifest.loads(manifest.dumps()))


def _run(pipeline: FramePipeline, frame: NDArray[np.generic]) -> tuple[F32, float]:
    found = pipeline.run(frame)
    return as_array(found.map), found.score
