"""From a training run to a bundle: export, compare, calibrate, write, prove."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Calibration, Golden, HealthLimits, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, Draft, check_out, write_bundle
from edgead.calibration import check_false_reject_rate, default_false_reject_rate
from edgead.errors import ExportError
from edgead.images import read_image
from edgead.monitoring.health import Observations
from edgead.preprocess import preprocess
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import qualify
from edgead.tiling import Tiling

from . import compare, golden
from .census import Census, check_precision, take_census
from .compare import Comparison
from .frames import CalibrationFrame
from .golden import golden_files
from .graph import half
from .half_arithmetic import HalfArithmetic
from .int8.export import with_int8
from .int8.images import range_images
from .int8.judge import tell_test_set
from .onnx import OPSET, to_onnx
from .provenance import export_provenance, without_paths
from .tiles import middle_tile, with_tiling
from .variants import engine_path, half_path, one_thread, onnx_infer, onnx_path, torch_path

if TYPE_CHECKING:
    from edgead_training.methods.base import Method

Log = Callable[[str], None]

MODELS = {"float32": "model.onnx", "float16": "model.fp16.onnx"}


def export_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    false_reject_rate: float | None = None,
    opset: int = OPSET,
    float16: bool = True,
    int8: bool = False,
    calibration: str | os.PathLike[str] | None = None,
    log: Log = print,
) -> Bundle:
    """Export the training run at ``run_dir`` to the bundle ``out`` (``NAME.edgead``).

    ``data``: where the images of the run lie now, None for where they lay in training. ``int8``:
    whether an int8 graph goes in; ``calibration``: a folder of images of good parts that set its
    ranges, None for the run's training images. The rest is as in ``export_method``.

    Errors: TrainingError for what is not a finished run; else as ``export_method``.
    """
    from edgead_training.run import load_run

    check_out(out)
    if calibration is not None and not int8:
        raise ExportError("--calibration sets the ranges of an int8 graph: add --precision int8")
    if not os.path.isdir(run_dir):
        kind = "is a file" if os.path.exists(run_dir) else "does not exist"
        raise ExportError(
            f"run {os.fspath(run_dir)} {kind}; expected the directory of edgead train"
        )
    run = load_run(run_dir, data)
    frames = [
        CalibrationFrame(sample.name or sample.path.name, lambda path=sample.path: read_image(path))
        for sample in run.calibration
    ]
    log(f"read   {os.fspath(run_dir)}: {run.method.name}, {len(frames)} calibration images")
    ranges = None
    if int8:
        params = run.method.preprocess_params()
        ranges = range_images(run.train, run.calibration, params, run.tiling, calibration)
        log(f"read   {len(ranges)} images for the ranges of int8")
    bundle = export_method(
        run.method,
        frames,
        out,
        provenance=run.provenance,
        false_reject_rate=false_reject_rate,
        opset=opset,
        float16=float16,
        ranges=ranges,
        tiling=run.tiling,
        log=log,
    )
    if int8 and run.test:
        tell_test_set(bundle, run.test, log)
    return bundle


def export_method(
    method: Method,
    frames: Sequence[CalibrationFrame],
    out: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any] | None = None,
    false_reject_rate: float | None = None,
    opset: int = OPSET,
    float16: bool = True,
    ranges: Sequence[NDArray[np.float32]] | None = None,
    tiling: Tiling | None = None,
    log: Log = print,
) -> Bundle:
    """Export ``method`` with calibration ``frames`` to the bundle ``out``.

    ``float16``: whether the float16 graph goes in. ``ranges``: images [1, 3, H, W], preprocessed,
    that set the ranges of an int8 graph; None: no int8 graph.
    ``tiling``: of the tiles that the method has learnt from; None when it sees whole frames. Torch
    and the graphs are then compared on the middle tile of each image.

    Writes nothing until every check has passed: the precision census, torch against both graphs on
    every calibration image and a synthetic defect, the verdicts, the batch axis. The old bundle at
    ``out`` stays whole whatever fails.

    Errors: ExportError with the numbers of a check that failed; CalibrationError for a rate that
    the images cannot promise; BundleError when ``out`` cannot be written.
    """
    out = check_out(out)
    rate = _rate(false_reject_rate, len(frames))
    method.eval()
    with one_thread():
        return _export(
            method, frames, out, provenance or {}, rate, opset, float16, ranges, tiling, log
        )


def _export(
    method: Method,
    frames: Sequence[CalibrationFrame],
    out: Path,
    provenance: Mapping[str, Any],
    rate: float,
    opset: int,
    float16: bool,
    ranges: Sequence[NDArray[np.float32]] | None,
    tiling: Tiling | None,
    log: Log,
) -> Bundle:
    """``export_method`` behind its door."""
    half_method = half(method) if float16 else None
    methods = {"float32": method, "float16": half_method}
    models = {name: to_onnx(made, opset) for name, made in methods.items() if made is not None}
    census = {name: take_census(model) for name, model in models.items()}
    for name, counted in census.items():
        check_precision(counted, name)
        log(_model_line(name, models[name], counted, opset))
    draft = _draft(method, out, models)
    seen = frames if tiling is None else [middle_tile(frame, tiling) for frame in frames]
    comparison, shown_files, golden_frames = _compare(method, half_method, draft, seen)
    for line in compare.table(comparison.found, comparison.spreads["score"]):
        log(line)
    manifest = _manifest(draft, comparison, golden_frames, rate)
    provenance = {
        **without_paths(provenance),
        "export": export_provenance(opset, census, comparison),
    }
    health, reference = _look_at(frames)
    manifest = replace(manifest, provenance=provenance, health=health)
    if tiling is not None:
        draft, shown = with_tiling(replace(draft, manifest=manifest), tiling, frames)
        shown_files, golden_frames = golden_files(
            engine_path(open_engine(draft, "cpu"), draft), shown
        )
        manifest = replace(draft.manifest, golden=golden_frames)
    files = {MODELS[name]: model for name, model in models.items()}
    files.update({**shown_files, health.reference: reference})
    whole = Draft(out, Manifest.loads(manifest.dumps()), "", files)
    qualify(whole, open_engine(whole, "cpu"))  # before anything takes the old bundle's place
    if ranges is not None:
        whole = with_int8(whole, frames, ranges, log)
        qualify(whole, open_engine(whole, "cpu", precision="int8"))
    bundle = write_bundle(out, whole.manifest, whole.files)
    _prove(bundle)
    size = sum(map(len, whole.files.values()))
    log(f"wrote  {out} ({size / 1e6:.1f} MB), qualified on {len(golden_frames)} golden frames")
    return bundle


def _rate(asked: float | None, count: int) -> float:
    if not count:
        raise ExportError(
            "there is no calibration image, so no threshold can be promised; train again with at "
            "least two good images"
        )
    if asked is None:
        return default_false_reject_rate(count)
    return check_false_reject_rate(asked, count)


def _draft(method: Method, out: Path, models: Mapping[str, bytes]) -> Draft:
    """The bundle so far, read back from the bytes of its manifest as an engine will read it."""
    none = Tolerance(0.0, 0.0)
    manifest = Manifest(
        name=out.stem,
        method=method.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        preprocess=method.preprocess_params(),
        pairs=method.pairs(),
        map=method.map_params(),
        models={name: MODELS[name] for name in models},
        calibration=Calibration((0.0,), (0.0,), 0.5),
        tolerance=dict.fromkeys(models, none),
        golden=(Golden("golden/0.png", "golden/0.npy", 0.0),),
    )
    files = {MODELS[name]: model for name, model in models.items()}
    return Draft(out, Manifest.loads(manifest.dumps()), "", files)


def _compare(
    method: Method, half_method: Method | None, draft: Draft, frames: Sequence[CalibrationFrame]
) -> tuple[Comparison, dict[str, bytes], tuple[Golden, ...]]:
    """Every path on every frame, held against the bounds; and the golden frames.

    Errors: ExportError, see the functions of ``compare``.
    """
    manifest, models = draft.manifest, draft.files
    _check_batches(draft, frames)
    mode = HalfArithmetic()
    embedded = engine_path(open_engine(draft, "cpu"), draft)
    paths = [torch_path(method), embedded]
    if half_method is not None:
        paths.append(onnx_path(models[MODELS["float16"]], "float16", manifest))
        paths.append(half_path(half_method, mode, manifest))
    measured = compare.measure(paths, _progress(frames))
    kept = [frames[i] for i in golden.spread_over(measured.scores[1])]
    shown = [frame.read() for frame in kept]
    shown.append(golden.synthetic_defect(shown[len(shown) // 2]))
    usual = {"score": measured.scores[0].max(), "map": measured.peaks[0].max()}
    defect = compare.measure(paths, [("the synthetic defect", shown[-1])], usual["map"])
    _check_half_peak(mode)
    spreads = {
        "score": compare.spread(measured.scores[0]),
        "map": compare.spread(measured.peaks[0]),
    }
    found = compare.differences(compare.join(measured, defect), usual["score"])
    compare.check_differences(found, spreads["score"], spreads["map"])
    files, golden_frames = golden_files(embedded, shown)
    half_peak = None if half_method is None else mode.peak
    return Comparison(measured, found, spreads, half_peak), files, golden_frames


def _check_batches(draft: Draft, frames: Sequence[CalibrationFrame]) -> None:
    params = draft.manifest.preprocess_params()
    image = preprocess(frames[0].read(), params)
    # Three images that differ in every respect, also where there is one calibration image only.
    images = np.stack([image, -image, 0.5 * image[:, ::-1]])
    for precision, name in draft.manifest.models.items():
        compare.check_batch(precision, onnx_infer(draft.files[name], draft.manifest), images)


def _check_half_peak(mode: HalfArithmetic) -> None:
    if not mode.peak <= compare.BOUNDS.half_peak:
        raise ExportError(
            f"in float16 an activation reaches {mode.peak:.4g} ({mode.peak_operator}), allowed "
            f"{compare.BOUNDS.half_peak:g}; it would overflow on a GPU: keep that part of the "
            "method in float32, normalise before it, or leave float16 out with --float32-only"
        )


def _manifest(
    draft: Draft, comparison: Comparison, golden_frames: tuple[Golden, ...], rate: float
) -> Manifest:
    """The final manifest: calibration by the embedded engine, ties that keep verdicts."""
    measured, spreads = comparison.measured, comparison.spreads
    scores = tuple(measured.scores[1].tolist())
    ties = compare.agreeing_ties(measured, scores, rate, spreads["score"], spreads["map"])
    return replace(
        draft.manifest,
        calibration=Calibration(scores, tuple(measured.peaks[1].tolist()), rate, ties),
        tolerance={
            name: Tolerance(
                compare.BOUNDS.score(name) * spreads["score"],
                compare.BOUNDS.map(name) * spreads["map"],
            )
            for name in draft.manifest.models
        },
        golden=golden_frames,
    )


def _look_at(frames: Sequence[CalibrationFrame]) -> tuple[HealthLimits, bytes]:
    """What the calibration images say of the camera, see ``edgead.monitoring.health``."""
    observations = Observations()
    for frame in frames:
        observations.add(frame.read())
    return observations.limits()


def _prove(bundle: Bundle) -> None:
    """Open the written bundle as a user does; its constructor qualifies it on the golden frames."""
    from edgead.detector import Detector

    for precision in {"float32", "int8"} & set(bundle.manifest.models):
        Detector(bundle, device="cpu", precision=precision)


def _model_line(name: str, model: bytes, counted: Census, opset: int) -> str:
    line = f"made   {MODELS[name]}: opset {opset}, {len(model) / 1e6:.1f} MB"
    if name == "float16":
        line += f", {counted.half_share:.1%} of the weights compute in float16"
        if counted.float32_products:
            line += f", {len(counted.float32_products)} product(s) stay float32"
    return line


def _progress(frames: Sequence[CalibrationFrame]) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, frame) one after the other, with a bar on stderr where a person looks on."""
    from tqdm import tqdm

    bar = tqdm(frames, "compare with torch", unit="image", file=sys.stderr, disable=None)
    for frame in bar:
        yield frame.name, frame.read()
