"""From a training run to a bundle: export, compare, calibrate, qualify, write.

Of a tiled run, torch and the graphs are compared on one tile of each calibration image: they never
see more at once. Calibration scores are of whole frames. Golden frames are pieces of two by two
tiles, so that qualification covers the stitching too without large frames in every bundle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from edgead_training.data.splitting import check_rate_of_parts
from edgead_training.methods import Method
from edgead_training.processes import bound_threads
from edgead_training.run import load_run
from numpy.typing import NDArray
from tqdm import tqdm

from edgead.bundle.card import with_card
from edgead.bundle.entries import Calibration, Golden, Tolerance
from edgead.bundle.known_images import calibrated_with
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, Draft, check_out, write_bundle
from edgead.calibration import chosen_false_reject_rate
from edgead.errors import ExportError
from edgead.learning.golden import golden_files, with_defect
from edgead.learning.good_image import counted, parts_shown
from edgead.learning.tolerance import spread
from edgead.monitoring.health import Observations
from edgead.preprocess import preprocess
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import qualify
from edgead.tiling import Tiling, middle

from . import compare
from .calibration_frames import different, images_of
from .census import Census, check_precision, take_census
from .compare import BOUNDS, HALF_PEAK, Comparison, ScoringPath
from .graph import half
from .half_arithmetic import HalfArithmetic
from .int8.export import with_int8
from .int8.images import range_images
from .int8.judge import tell_test_set
from .joined.export import export_joined
from .onnx import to_onnx
from .options import CalibrationFrame, ExportOptions, Frames, Log, Ranges
from .paths import without_paths
from .variants import engine_path, half_path, one_thread, onnx_infer, onnx_path, torch_path

MODELS = {"float32": "model.onnx", "float16": "model.fp16.onnx"}
DEFAULTS = ExportOptions()
Shown = Sequence[NDArray[Any]]


def export_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ExportOptions = DEFAULTS,
    *,
    log: Log = print,
) -> Bundle:
    """Export a training run to a bundle.

    Args:
        run_dir: folder that ``edgead train`` wrote.
        out: the bundle to write, NAME.edgead.
        options: see ``ExportOptions``.
        log: called with each line for people.

    Returns:
        The bundle as it was written.

    Raises:
        TrainingError: ``run_dir`` is not a finished run.
        ExportError, CalibrationError, BundleError: as ``export_method``.
    """
    out = check_out(out)
    if not os.path.isdir(run_dir):
        kind = "is a file" if os.path.exists(run_dir) else "does not exist"
        raise ExportError(
            f"run {os.fspath(run_dir)} {kind}; expected the directory of edgead train"
        )
    bound_threads()
    run = load_run(run_dir, options.data)
    log(
        f"read   {os.fspath(run_dir)}: {run.method.name}, {len(run.calibration)} calibration images"
    )
    for warning in run.warnings:
        log(f"warning: {warning}")
    if parts := run.provenance["data"].get("parts"):
        check_rate_of_parts(options.false_reject_rate, parts["calibration"])
    run = replace(run, provenance={**run.provenance, **options.card})
    if options.joined:
        return export_joined(run, out, options, log)
    frames = images_of(run, run.calibration)
    ranges = None
    if options.int8:
        params = run.method.preprocess_params()
        ranges = range_images(run.train, run.calibration, params, run.tiling, options.calibration)
        log(f"read   {len(ranges)} images for the ranges of int8")
    given = {"provenance": run.provenance, "ranges": ranges, "tiling": run.tiling}
    bundle = export_method(run.method, frames, out, options, **given, log=log)
    if options.int8 and run.test:
        tell_test_set(bundle, run.test, log)
    return bundle


@one_thread()
def export_method(
    method: Method,
    frames: Frames,
    out: str | os.PathLike[str],
    options: ExportOptions = DEFAULTS,
    *,
    provenance: Mapping[str, Any] | None = None,
    ranges: Ranges | None = None,
    tiling: Tiling | None = None,
    log: Log = print,
) -> Bundle:
    """Export a method to a bundle, which replaces the one at ``out`` once every check has passed.

    Args:
        method: the trained method.
        frames: calibration images, which training never saw; at least one. Copies count once.
        out: the bundle to write, NAME.edgead.
        options: ``false_reject_rate``, ``opset`` and ``float16`` of ``ExportOptions``.
        provenance: plain JSON about the training; absolute paths in it are cut.
        ranges: images [1, 3, H, W] float32, preprocessed, that set the ranges of an int8 graph;
            None: no int8 graph.
        tiling: of the tiles that the method has learnt from; None when it sees whole frames.
        log: called with each line for people.

    Returns:
        The bundle as it was written.

    Raises:
        ExportError: a check failed; says the numbers.
        CalibrationError: a rate that the images cannot promise.
        DataError: images that are all copies of one, or show nothing.
        BundleError: ``out`` cannot be written.
    """
    out, method = check_out(out), method.eval()
    frames, calibrated = different(frames, log, method.bit_depth)
    rate = _false_reject_rate(options.false_reject_rate, frames)
    half_method = half(method) if options.float16 else None
    models = {"float32": to_onnx(method, options.opset)}
    if half_method is not None:
        models["float16"] = to_onnx(half_method, options.opset)
    census = _count_precisions(models, options.opset, log)
    draft = _draft(method, out, models)
    embedded = engine_path(open_engine(draft, "cpu"), draft)
    seen = frames if tiling is None else [_middle_tile(frame, tiling) for frame in frames]
    comparison = _compare(method, half_method, draft, embedded, seen)
    for line in compare.table(comparison.found, comparison.spreads["score"]):
        log(line)
    made = _provenance(options.opset, census, comparison)
    manifest = replace(
        _calibrated(draft.manifest, comparison, rate, parts_shown(frames)),
        provenance={**calibrated_with(without_paths(provenance or {}), calibrated), "export": made},
    )
    draft = replace(draft, manifest=manifest)
    whole = _with_frames(draft, embedded, comparison.shown, frames, tiling, log)
    return _write(whole, frames, ranges, log)


def _with_frames(
    draft: Draft,
    embedded: ScoringPath,
    shown: Shown,
    frames: Frames,
    tiling: Tiling | None,
    log: Log,
) -> Draft:
    """``draft`` with golden frames, what health compares with, and the calibration of tiles."""
    bit_depth = draft.manifest.preprocess.bit_depth
    if tiling is not None:
        draft = replace(draft, manifest=replace(draft.manifest, tiling=tiling))
        embedded = engine_path(open_engine(draft, "cpu"), draft)
        maps, scores = zip(*(embedded.run(frame.read()) for frame in frames), strict=True)
        peaks = tuple(float(values.max()) for values in maps)
        calibration = replace(draft.manifest.calibration, scores=scores, peaks=peaks)
        draft = replace(draft, manifest=replace(draft.manifest, calibration=calibration))
        tall, wide = (2 * side - tiling.overlap for side in tiling.size)
        shown = with_defect(
            np.array(scores), lambda i: middle(frames[i].read(), (tall, wide)), bit_depth
        )
    observations = Observations(bit_depth)
    for frame in frames:
        observations.add(frame.read())
    if concern := observations.used.concern("train again with"):
        log(f"warning: {concern}")
    health, reference = observations.limits()
    golden, entries = golden_files(embedded.run, shown)
    manifest = replace(draft.manifest, health=health, golden=entries)
    files = {**draft.files, **golden, health.reference: reference}
    return _as_read_back(Draft(draft.path, manifest, "", files))


def _middle_tile(frame: CalibrationFrame, tiling: Tiling) -> CalibrationFrame:
    name = f"the middle tile of {frame.name}"
    return CalibrationFrame(name, lambda: middle(frame.read(), tiling.size))


def _write(whole: Draft, frames: Frames, ranges: Ranges | None, log: Log) -> Bundle:
    """Qualify, add the int8 graph, and only then take the place of an old bundle."""
    qualify(whole, open_engine(whole, "cpu"))
    if ranges is not None:
        whole = with_int8(whole, frames, ranges, log)
        qualify(whole, open_engine(whole, "cpu", precision="int8"))
    # Reads every file back against the digest of the bytes that were qualified.
    bundle = write_bundle(whole.path, whole.manifest, with_card(whole.manifest, whole.files))
    size, count = sum(map(len, whole.files.values())), len(whole.manifest.golden)
    log(f"wrote  {whole.path} ({size / 1e6:.1f} MB), qualified on {count} golden frames")
    return bundle


def _false_reject_rate(asked: float | None, frames: Frames) -> float:
    if not frames:
        raise ExportError(
            "there is no calibration image, so no threshold can be promised; train again with at "
            "least two good images"
        )
    return chosen_false_reject_rate(asked, *counted(frames))


def _count_precisions(models: Mapping[str, bytes], opset: int, log: Log) -> dict[str, Census]:
    """The census of each graph, held against the precision of its name."""
    census = {name: take_census(model) for name, model in models.items()}
    for name, taken in census.items():
        check_precision(taken, name)
        line = f"made   {MODELS[name]}: opset {opset}, {len(models[name]) / 1e6:.1f} MB"
        if name == "float16":
            line += f", {taken.share(name):.1%} of the weights compute in float16"
            if taken.float32_products:
                line += f", {len(taken.float32_products)} product(s) stay float32"
        log(line)
    return census


def _draft(method: Method, out: Path, models: Mapping[str, bytes]) -> Draft:
    """The bundle so far: what is not measured yet holds a place."""
    manifest = Manifest(
        name=out.stem,
        method=method.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        preprocess=method.preprocess_params(),
        pairs=method.pairs(),
        map=method.map_params(),
        models={name: MODELS[name] for name in models},
        calibration=Calibration((0.0,), (0.0,), 0.5),
        tolerance=dict.fromkeys(models, Tolerance(0.0, 0.0)),
        golden=(Golden("golden/0.png", "golden/0.npy", 0.0),),
    )
    files = {MODELS[name]: model for name, model in models.items()}
    return _as_read_back(Draft(out, manifest, "", files))


def _as_read_back(draft: Draft) -> Draft:
    """With the manifest that an engine will read from its bytes."""
    return replace(draft, manifest=Manifest.loads(draft.manifest.dumps()))


def _compare(
    method: Method, half_method: Method | None, draft: Draft, embedded: ScoringPath, frames: Frames
) -> Comparison:
    """Every path on every frame and on a synthetic defect, held against the bounds."""
    image = preprocess(frames[0].read(), draft.manifest.preprocess_params())
    # Three images that differ in every respect, also where there is one calibration image only.
    images = np.stack([image, -image, 0.5 * image[:, ::-1]])
    for precision, name in draft.manifest.models.items():
        compare.check_batch(precision, onnx_infer(draft.files[name], draft.manifest), images)
    mode = HalfArithmetic()
    paths = [torch_path(method), embedded]
    if half_method is not None:
        model = draft.files[MODELS["float16"]]
        paths.append(onnx_path(model, "float16", draft))
        paths.append(half_path(half_method, mode))
    bar = tqdm(frames, "compare with torch", unit="image", file=sys.stderr, disable=None)
    scored = compare.score_paths(paths, ((frame.name, frame.read()) for frame in bar))
    shown = with_defect(scored.scores[1], lambda index: frames[index].read(), method.bit_depth)
    usual = {"score": scored.scores[0].max(), "map": scored.peaks[0].max()}
    defect = compare.score_paths(paths, [("the synthetic defect", shown[-1])], usual["map"])
    if not mode.peak <= HALF_PEAK:
        raise ExportError(
            f"in float16 an activation reaches {mode.peak:.4g} ({mode.peak_operator}), allowed "
            f"{HALF_PEAK:g}; it would overflow on a GPU: keep that part of the "
            "method in float32, normalise before it, or omit float16 with --float32-only"
        )
    spreads = {"score": spread(scored.scores[0]), "map": spread(scored.peaks[0])}
    found = compare.differences(compare.join(scored, defect), usual["score"])
    compare.check_differences(found, spreads["score"], spreads["map"])
    half_peak = None if half_method is None else mode.peak
    return Comparison(scored, found, spreads, half_peak, shown)


def _calibrated(
    manifest: Manifest, comparison: Comparison, rate: float, parts: tuple[int, ...] | None
) -> Manifest:
    """With the calibration by the embedded engine, and the tolerance of each precision."""
    scored, spreads = comparison.scored, comparison.spreads
    scores = tuple(scored.scores[1].tolist())
    ties = compare.agreeing_ties(scored, scores, rate, spreads["score"], spreads["map"], parts)
    tolerance = {
        name: Tolerance(BOUNDS[name].score * spreads["score"], BOUNDS[name].map * spreads["map"])
        for name in manifest.models
    }
    peaks = tuple(scored.peaks[1].tolist())
    calibration = Calibration(scores, peaks, rate, ties, parts=parts)
    return replace(manifest, calibration=calibration, tolerance=tolerance)


def _provenance(opset: int, census: Mapping[str, Census], comparison: Comparison) -> dict[str, Any]:
    return {
        "opset": opset,
        "versions": {m.__name__: str(m.__version__) for m in (torch, onnx, onnxruntime)},
        "comparison": {
            "spread": comparison.spreads,
            "paths": [vars(difference) for difference in comparison.found],
        },
        "half_peak": comparison.half_peak,
        "census": {name: asdict(taken) for name, taken in census.items()},
    }
