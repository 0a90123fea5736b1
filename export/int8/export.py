"""An int8 graph for a bundle: which layers are int8, and whether that costs too much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from edgead.bundle.entries import OwnCalibration, Tolerance
from edgead.bundle.storage import Draft
from edgead.errors import ExportError
from edgead.learning.int8_cost import INT8_BOUNDS

from ..census import check_precision, take_census
from ..options import Frames, Log, Ranges
from ..variants import onnx_path
from .graph import layers, part_concats, quantise, restore
from .images import evenly
from .judge import Judged, Shown, faults, judge, score, show
from .sums import check_sums, qualify_without_vnni

FILE = "model.int8.onnx"

KEPT_SHARES = (0.0, 1 / 16, 1 / 8, 1 / 4)
"""Shares of the layers that are tried in float32, the most sensitive first, when all in int8 costs
too much. With over a quarter in float32 there is little speed left to gain."""

PROBES = 4
"""Frames on which each layer's sensitivity is measured, half of them with a synthetic defect."""


def with_int8(draft: Draft, frames: Frames, ranges: Ranges, log: Log) -> Draft:
    """Add an int8 graph, its tolerance, calibration and provenance to a bundle.

    Args:
        draft: whole and calibrated.
        frames: the calibration images.
        ranges: images [1, 3, H, W] float32, preprocessed, that set the ranges of activations; none
            of ``frames``: fitted to these, int8 would look better than it is.
        log: called with each line for people.

    Returns:
        ``draft`` with ``model.int8.onnx``.

    Raises:
        ExportError: int8 costs more than ``INT8_BOUNDS`` whatever stays float32, with the numbers;
            a processor without VNNI would compute something else.
    """
    graph = part_concats(draft.files[draft.manifest.models["float32"]])
    reasons = layers(graph)
    free = [name for name, reason in reasons.items() if not reason]
    if not free:
        raise ExportError(
            f"{draft.manifest.method} has no layer that can be int8; leave --precision int8 out"
        )
    model = quantise(graph, ranges, free)
    bit_depth = draft.manifest.preprocess.bit_depth
    made, judged, kept = _within_bounds(draft, graph, model, free, show(frames, bit_depth), log)
    census = take_census(made.files[FILE])
    check_precision(census, "int8")
    check_sums(made.files[FILE])
    log(
        f"made   {FILE}: {len(made.files[FILE]) / 1e6:.1f} MB, {len(free) - len(kept)} of "
        f"{len(reasons)} layers compute in int8"
    )
    _tell(judged, log)
    export = dict(made.manifest.provenance.get("export", {}))
    export["census"] = {**export.get("census", {}), "int8": asdict(census)}
    export["int8"] = {
        "ranges": {"images": len(ranges), "method": "largest magnitude"},
        "layers": len(reasons),
        "float32_layers": {
            **{name: reason for name, reason in reasons.items() if reason},
            **dict.fromkeys(kept, "sensitive"),
        },
        "judged": asdict(judged),
        "bounds": asdict(INT8_BOUNDS),
    }
    provenance = {**made.manifest.provenance, "export": export}
    whole = replace(made, manifest=replace(made.manifest, provenance=provenance))
    if qualify_without_vnni(whole):
        log("       qualified with AVX2 and without VNNI too, not tried on aarch64")
    else:
        log("       not tried on x86 without VNNI, which this processor cannot act as")
    return whole


def _within_bounds(
    draft: Draft, graph: bytes, model: bytes, free: Sequence[str], shown: Shown, log: Log
) -> tuple[Draft, Judged, list[str]]:
    """The first of ``KEPT_SHARES`` that keeps the bounds: the draft, its cost, what is float32."""
    exact = score(draft, "float32", shown)
    good = ~shown.synthetic
    order: list[str] = []
    found: list[str] = []
    for share in KEPT_SHARES:
        if share and not order:
            log(f"int8   {'; '.join(found)}: measuring how sensitive each layer is")
            order = by_sensitivity(draft, graph, model, free, shown)
        kept = order[: math.ceil(share * len(free))]
        made = _add(draft, restore(model, graph, kept), Tolerance(0.0, 0.0))
        coarse = score(made, "int8", shown)
        judged = judge(made, exact, coarse, shown, INT8_BOUNDS)
        found = faults(judged, INT8_BOUNDS)
        if not found:
            peaks = tuple(float(coarse.maps[row].max()) for row in np.flatnonzero(good))
            own = OwnCalibration(tuple(coarse.scores[good].tolist()), peaks, judged.ties)
            return _add(draft, made.files[FILE], judged.tolerance, own), judged, kept
    raise ExportError(
        f"int8 costs too much: {'; '.join(found)}; with the {len(kept)} most sensitive of "
        f"{len(free)} layers in float32. Nothing was written; train longer (scores of a model that "
        "was hardly trained lie close together), give other images with --calibration, or leave "
        "--precision int8 out"
    )


def by_sensitivity(
    draft: Draft, graph: bytes, model: bytes, free: Sequence[str], shown: Shown
) -> list[str]:
    """``free``, first the layer that alone in int8 moves the maps of ``PROBES`` frames most.

    ``model`` is ``graph`` with all of ``free`` in int8.
    """
    both = [np.flatnonzero(shown.synthetic == kind).tolist() for kind in (False, True)]
    frames = [shown.frames[row] for rows in both for row in evenly(rows, PROBES // 2)]
    exact = [onnx_path(graph, "float32", draft).run(frame)[0] for frame in frames]
    moved = {}
    for name in free:
        alone = restore(model, graph, [other for other in free if other != name])
        path = onnx_path(alone, "int8", draft)
        gaps = [np.abs(path.run(f)[0] - e).mean() for f, e in zip(frames, exact, strict=True)]
        moved[name] = float(np.mean(gaps))
    return sorted(free, key=lambda name: -moved[name])


def _add(
    draft: Draft, model: bytes, tolerance: Tolerance, own: OwnCalibration | None = None
) -> Draft:
    """``draft`` with an int8 graph and, once that is settled, its own calibration."""
    held = draft.manifest.calibration
    manifest = replace(
        draft.manifest,
        models={**draft.manifest.models, "int8": FILE},
        tolerance={**draft.manifest.tolerance, "int8": tolerance},
        calibration=held if own is None else replace(held, own={**held.own, "int8": own}),
    )
    return replace(draft, manifest=manifest, files={**draft.files, FILE: model})


def _tell(judged: Judged, log: Log) -> None:
    """For people: what int8 costs."""
    (image, image8), (pixel, pixel8) = judged.image_auroc, judged.pixel_auroc
    log(
        f"int8   on {judged.images} calibration images and {judged.painted} synthetic defects, "
        f"float32 -> int8: image AUROC {image:.4f} -> {image8:.4f}, pixel AUROC {pixel:.4f} -> "
        f"{pixel8:.4f}"
    )
    log(
        f"       synthetic defects found {judged.found[0]} -> {judged.found[1]}, verdicts on "
        f"calibration images changed: {judged.verdicts_changed}; score off by up to "
        f"{judged.score_largest / judged.score_spread:.1%} of the spread"
    )
