"""From a training run to a bundle that has the method and the statistics: learn, join, qualify."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from edgead_training.features.efficientnet_lite import STRIDES
from edgead_training.methods import Method
from edgead_training.methods.backbone_method import BackboneMethod
from edgead_training.run import Run
from numpy.typing import NDArray

from edgead.bundle.known_images import calibrated_with
from edgead.bundle.storage import Bundle, Draft
from edgead.calibration import chosen_false_reject_rate
from edgead.cli.console import progress_line
from edgead.errors import ExportError
from edgead.learning.backbone import Backbone
from edgead.learning.golden import synthetic_defect
from edgead.learning.good_image import GoodImage, counted
from edgead.learning.learn import LearnOptions, calibrated, learnt_draft, write_qualified
from edgead.learning.tolerance import BOUNDS
from edgead.learning.variants import MakeGraph, with_graphs
from edgead.preprocess import preprocess
from edgead.tiling import Tiling, middle

from ..backbone import write_frozen, write_lite
from ..calibration_frames import different, images_of
from ..census import check_precision, take_census
from ..compare import HALF_PEAK, check_batch
from ..half_arithmetic import HalfArithmetic
from ..int8.features import int8_of
from ..onnx import to_onnx
from ..options import ExportOptions, Frames, Log, Ranges
from ..paths import without_paths
from ..portable import INPUT, onnx_session
from ..variants import one_thread
from .fusion import weighed, with_method
from .graph import JoinedGraph

MULTIPLE = STRIDES[-1]
"""Of the sides of an image that EfficientNet-Lite takes, which stands beside other methods."""

PROBES = 4
"""Images on which the graphs are held against torch, half of them with a synthetic defect."""


def export_joined(run: Run, out: Path, options: ExportOptions, log: Log) -> Bundle:
    """Export a run with the statistics of its training images.

    Args:
        run: a finished run.
        out: the bundle to write, NAME.edgead.
        options: see ``ExportOptions``.
        log: called with each line for people.

    Returns:
        The bundle as it was written.

    Raises:
        EdgeadError: as ``join``.
    """
    parts = [images_of(run, samples) for samples in (run.train, run.calibration)]
    given = {"seed": run.provenance["seed"], "provenance": run.provenance, "tiling": run.tiling}
    return join(run.method, *parts, out, options, **given, log=log)


@one_thread()
def join(
    method: Method,
    images: Sequence[GoodImage],
    frames: Frames,
    out: Path,
    options: ExportOptions,
    *,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
    tiling: Tiling | None = None,
    log: Log = print,
) -> Bundle:
    """Export a method with the statistics of ``images``.

    Args:
        method: trained; it has not seen ``frames``.
        images: of good parts, that the statistics learn from.
        frames: calibration images; copies count once.
        out: the bundle to write, NAME.edgead.
        options: see ``ExportOptions``.
        seed: of what is kept, and of the synthetic defects.
        provenance: plain JSON about the training; absolute paths in it are cut.
        tiling: of the tiles that the method has learnt from; None when it sees whole frames.
        log: called with each line for people.

    Returns:
        The bundle as it was written.

    Raises:
        ExportError: a size that the backbone does not take, a graph that differs from torch, or
            float16 that would overflow.
        CalibrationError: a rate that the images cannot promise.
        QualificationError: float16 or int8 costs too much; says the numbers.
        BundleError: ``out`` cannot be written.
    """
    size = _check_size(method)
    frames, digests = different(frames, log, method.bit_depth)
    rate = chosen_false_reject_rate(options.false_reject_rate, *counted(frames))
    told = LearnOptions(
        size=size, false_reject_rate=rate, tiling=tiling, bit_depth=method.bit_depth, seed=seed
    )
    about = calibrated_with(without_paths(provenance or {}), digests)
    learnt = learnt_draft(
        images, frames, _backbone(method), out, told, provenance=about, progress=progress_line
    )
    _tell_learnt(learnt, log)
    graph = JoinedGraph(method.eval()).eval()
    seen = _preprocessed(graph, images, tiling)
    model = _float32(graph, options.opset, seen, log)
    draft = _weighed(with_method(learnt, graph, model), frames, told, options, log)
    draft = calibrated(draft, frames, rate, told, progress_line)
    graphs = _graphs(graph, model, options, seen)
    draft = with_graphs(draft, graphs, images, frames, None, progress_line)
    bundle = write_qualified(draft)
    total, count = sum(map(len, draft.files.values())), len(draft.manifest.golden)
    log(f"wrote  {draft.path} ({total / 1e6:.1f} MB), qualified on {count} golden frames")
    return bundle


def _check_size(method: Method) -> tuple[int, int]:
    """(height, width) of the method's images. Raises: ExportError: the backbone takes others."""
    height, width = size = method.preprocess_params().size
    if isinstance(method, BackboneMethod):  # which has been held against its own
        return size
    if height % MULTIPLE or width % MULTIPLE:
        raise ExportError(
            f"the run has images of {height} x {width} (height x width), and --with instant takes "
            f"multiples of {MULTIPLE}: train with --set size=[H,W], or export without --with"
        )
    return size


def _weighed(
    draft: Draft, frames: Frames, told: LearnOptions, options: ExportOptions, log: Log
) -> Draft:
    """With what the method counts, and what of it goes to the provenance."""
    draft, found = weighed(draft, frames, told.seed, progress_line("what each signal says"))
    _tell_found(found, log)
    manifest = draft.manifest
    export = {
        "opset": options.opset,
        "versions": {m.__name__: str(m.__version__) for m in (torch, onnxruntime)},
        "census": {"float32": asdict(take_census(draft.files[manifest.models["float32"]]))},
        "with": {"instant": found},
    }
    provenance = {**manifest.provenance, "export": export}
    return replace(draft, manifest=replace(manifest, provenance=provenance))


def _backbone(method: Method) -> Backbone:
    """What the statistics learn with: the method's backbone, else EfficientNet-Lite0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.onnx"
        if not isinstance(method, BackboneMethod):
            return write_lite("lite0", path)
        return write_frozen(method.backbone, method.preprocess_params().size, path)


def _preprocessed(
    graph: JoinedGraph, images: Sequence[GoodImage], tiling: Tiling | None
) -> list[NDArray[np.float32]]:
    params = graph.preprocess_params()
    at = np.linspace(0, len(images) - 1, min(len(images), PROBES)).astype(int)
    frames = [images[index].read() for index in at]
    frames = [frame if tiling is None else middle(frame, tiling.size) for frame in frames]
    frames[1::2] = [synthetic_defect(frame, params.bit_depth) for frame in frames[1::2]]
    return [np.ascontiguousarray(preprocess(frame, params)[None]) for frame in frames]


def _agreement(graph: JoinedGraph, model: bytes, images: Ranges) -> float:
    """The largest difference of an output from torch, as a share of its largest value.

    Raises: ExportError where it is beyond the bound of float32, or where a batch differs.
    """
    session, names = onnx_session(model), list(graph.tensors())

    def infer(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(session.run(names, {INPUT: batch}))

    image = images[0][0]
    check_batch("float32", infer, np.stack([image, -image, 0.5 * image[:, ::-1]]))
    worst = 0.0
    for each in images:
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in graph.graph(torch.from_numpy(each))]
        for name, ours, theirs in zip(names, infer(each), expected, strict=True):
            gap = float(np.abs(np.square(ours) - np.square(theirs)).max() / np.square(theirs).max())
            if not gap <= BOUNDS["float32"].map:
                raise ExportError(
                    f"{name} of the exported graph differs from torch by {gap:.3g} of its largest "
                    f"square, allowed {BOUNDS['float32'].map:g}; train again, or use another "
                    "--opset"
                )
            worst = max(worst, gap)
    return worst


def _float32(graph: JoinedGraph, opset: int, seen: Ranges, log: Log) -> bytes:
    """The graph, held against torch. Raises: ExportError, as ``_agreement``."""
    model = to_onnx(graph, opset)
    gap = _agreement(graph, model, seen)
    size = len(model) / 1e6
    log(f"made   model.onnx: opset {opset}, {size:.1f} MB, {gap:.1g} of the largest from torch")
    return model


def _graphs(
    graph: JoinedGraph, model: bytes, options: ExportOptions, seen: Ranges
) -> dict[str, MakeGraph]:
    """How the graph is made in other precisions."""
    made: dict[str, MakeGraph] = {}
    if options.float16:
        made["float16"] = lambda _: _half(graph, options.opset, seen)
    if options.int8:
        made["int8"] = lambda ranges: int8_of(model, ranges)
    return made


def _half(graph: JoinedGraph, opset: int, seen: Ranges) -> bytes:
    """The graph in float16. Raises: ExportError where a GPU's arithmetic would overflow."""
    narrow = copy.deepcopy(graph).half()
    mode = HalfArithmetic()
    with torch.no_grad(), mode:
        for image in seen[:2]:
            narrow.graph(torch.from_numpy(image))
    if not mode.peak <= HALF_PEAK:
        raise ExportError(
            f"in float16 an activation reaches {mode.peak:.4g} ({mode.peak_operator}), allowed "
            f"{HALF_PEAK:g}; it would overflow on a GPU: omit float16 with --float32-only"
        )
    model = to_onnx(narrow, opset)
    check_precision(take_census(model), "float16")
    return model


def _tell_learnt(draft: Draft, log: Log) -> None:
    told = draft.manifest.provenance["learn"]
    means = told.get("placement", {}).get("means", "a memory alone is compared with")
    log(f"learnt {told['kept']} features of {told['images']} images; {means}")


def _tell_found(found: dict[str, Any], log: Log) -> None:
    """What each signal answers to synthetic defects, and a warning where one does not."""
    for name, each in found.items():
        rises = {key: each[key]["rise"] for key in ("statistics", "method")}
        log(
            f"joined the {name}: to synthetic defects on the calibration images the statistics "
            f"answer with {rises['statistics']:.2f}, the method with {rises['method']:.2f} units"
        )
        words = {"statistics": "the statistics answer", "method": "the method answers"}
        for key, rise in rises.items():
            if rise <= 0:
                log(
                    f"warning: in the {name} {words[key]} to no synthetic defect; what is of no "
                    "use counts next to nothing there, and costs time: leave it out"
                )
