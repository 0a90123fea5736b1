"""The ways from a frame to a score that export compares: torch, the embedded engine, float16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.bundle.storage import Bundle
from edgead.engine.interface import Engine
from edgead.engine.lazy_array import as_array
from edgead.errors import ExportError
from edgead.preprocess import PreprocessParams, preprocess
from edgead.serving.open_pipeline import open_pipeline

from .compare import Infer, Pairs, Path
from .graph import INPUT
from .half_arithmetic import HalfArithmetic

if TYPE_CHECKING:
    from edgead_training.methods.base import Method

    from edgead.bundle.manifest import Manifest


def torch_path(method: Method) -> Path:
    """The trained model, with its own preprocessing and map: what all others are held against."""
    shapes = tuple((pair.channels, *pair.size) for pair in method.pairs())
    run = _Runner(method.preprocess_params(), method.map_params(), shapes, torch_infer(method))
    return Path("torch", "float32", run)


def engine_path(engine: Engine, bundle: Bundle) -> Path:
    """The embedded engine on model.onnx, in the pipeline of a Detector."""
    pipeline = open_pipeline(bundle, engine)

    def run(frame: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        found = pipeline.run(frame)
        return as_array(found.map), found.score

    return Path(engine.version, engine.precision, run)


def onnx_path(model: bytes, precision: str, manifest: Manifest) -> Path:
    """An ONNX file in onnxruntime on the CPU."""
    import onnxruntime

    name = f"onnxruntime {onnxruntime.__version__}"
    return Path(name, precision, _runner(manifest, onnx_infer(model, manifest)))


def half_path(half_method: Method, mode: HalfArithmetic, manifest: Manifest) -> Path:
    """The half trunk in torch with a GPU's arithmetic; ``mode`` keeps the largest activation."""
    infer = torch_infer(half_method)

    def rounded(images: NDArray[np.float32]) -> Pairs:
        with mode:
            return infer(images)

    return Path("half arithmetic", "float16", _runner(manifest, rounded))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: the same sums everywhere, and no waiting for each other.

    On two busy cores ReDi's batch of one took 1.05 s with two threads and 0.09 s with one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_infer(method: Method) -> Infer:
    """``method`` on NumPy arrays."""
    method.eval()

    def infer(images: NDArray[np.float32]) -> Pairs:
        with torch.no_grad():
            pairs = method(torch.from_numpy(images))
        return [(_array(a), _array(b)) for a, b in pairs]

    return infer


def onnx_infer(model: bytes, manifest: Manifest) -> Infer:
    """An ONNX file in onnxruntime on NumPy arrays, any batch. Errors: ExportError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # only what is fatal; errors raise anyhow
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its C++ part, one per status
        raise ExportError(f"onnxruntime cannot load the exported graph: {error}") from error
    names = [n for pair in manifest.pairs for n in (pair.reference, pair.restored)]

    def infer(images: NDArray[np.float32]) -> Pairs:
        try:
            outputs = session.run(names, {INPUT: images})
        except Exception as error:
            raise ExportError(
                f"onnxruntime fails on the exported graph with a batch of {len(images)}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        return list(zip(outputs[::2], outputs[1::2], strict=True))

    return infer


class _Runner:
    """preprocess, infer, anomaly_map: frame to (map [h, w] float32, score)."""

    def __init__(
        self,
        params: PreprocessParams,
        map_params: MapParams,
        shapes: tuple[tuple[int, int, int], ...],
        infer: Infer,
    ) -> None:
        self._params, self._infer = params, infer
        self._to_map = AnomalyMap(map_params, shapes)

    def __call__(self, frame: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        image = preprocess(frame, self._params)
        maps, scores = self._to_map.run(self._infer(np.ascontiguousarray(image[None])))
        return np.array(maps[0]), float(scores[0])


def _runner(manifest: Manifest, infer: Infer) -> _Runner:
    return _Runner(manifest.preprocess_params(), manifest.map_params(), manifest.shapes(), infer)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.numpy())
