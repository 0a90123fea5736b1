"""The ways from a frame to a score that export compares: torch, the embedded engine, float16."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from edgead_training.methods import Method
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle
from edgead.engine.interface import Engine
from edgead.engine.lazy_array import as_array
from edgead.errors import ExportError
from edgead.preprocess import preprocess
from edgead.serving.open_pipeline import open_pipeline

from .compare import Infer, ScoreFrame, ScoringPath
from .half_arithmetic import HalfArithmetic
from .portable import INPUT, onnx_session

Pairs = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
GivePairs = Callable[[NDArray[np.float32]], Pairs]
"""Images [N, 3, H, W] float32 to feature pairs, each [N, C_k, H_k, W_k] float32."""


def torch_path(method: Method) -> ScoringPath:
    """The trained model, with its own preprocessing and map: what all others are held against."""
    return ScoringPath("torch", "float32", _score_by(method, _torch_infer(method)))


def engine_path(engine: Engine, bundle: Bundle) -> ScoringPath:
    """The embedded engine on model.onnx, in the pipeline of a Detector."""
    pipeline = open_pipeline(bundle, engine)

    def run(frame: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        found = pipeline.run(frame)
        return as_array(found.map), found.score

    return ScoringPath(engine.version, engine.precision, run)


def onnx_path(model: bytes, precision: str, bundle: Bundle) -> ScoringPath:
    """An ONNX file in onnxruntime on the CPU, with the manifest of ``bundle``."""
    manifest, infer = bundle.manifest, onnx_infer(model, bundle.manifest)

    def pairs(images: NDArray[np.float32]) -> Pairs:
        outputs = infer(images)
        return list(zip(outputs[::2], outputs[1::2], strict=True))

    name = f"onnxruntime {onnxruntime.__version__}"
    return ScoringPath(name, precision, _score_by(manifest, pairs))


def half_path(half_method: Method, mode: HalfArithmetic) -> ScoringPath:
    """The float16 method in torch with a GPU's arithmetic; ``mode`` has the largest activation."""
    infer = _torch_infer(half_method)

    def rounded(images: NDArray[np.float32]) -> Pairs:
        with mode:
            return infer(images)

    return ScoringPath("half arithmetic", "float16", _score_by(half_method, rounded))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: the same sums everywhere, and no waiting threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _torch_infer(method: Method) -> GivePairs:
    method.eval()

    def infer(images: NDArray[np.float32]) -> Pairs:
        with torch.no_grad():
            pairs = method(torch.from_numpy(images))
        return [(np.ascontiguousarray(a), np.ascontiguousarray(b)) for a, b in pairs]

    return infer


def onnx_infer(model: bytes, manifest: Manifest) -> Infer:
    """An ONNX file in onnxruntime on NumPy arrays, any batch; ExportError where it fails."""
    session = onnx_session(model)
    names = list(manifest.tensors())[1:]

    def infer(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            return list(session.run(names, {INPUT: images}))
        except Exception as error:
            raise ExportError(
                f"onnxruntime fails on the exported graph with a batch of {len(images)}: "
                f"{str(error).splitlines()[0]}"
            ) from error

    return infer


def _score_by(described: Method | Manifest, infer: GivePairs) -> ScoreFrame:
    params = described.preprocess_params()
    to_map = AnomalyMap(described.map_params(), described.shapes())

    def score(frame: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        image = preprocess(frame, params)
        maps, scores = to_map.run(infer(np.ascontiguousarray(image[None])))
        return np.array(maps[0]), float(scores[0])

    return score
