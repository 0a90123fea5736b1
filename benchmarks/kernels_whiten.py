"""The cases of whiten: levels of EfficientNet-Lite0 beside NumPy and an OpenVINO graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import openvino
from kernels_nearest import one_thread
from openvino import opset13 as ops
from turns import Case

from edgead import _cpu, reference
from edgead.engine.whiten import Whiten

# (channels, height, width), side of a region
LEVELS = {
    "40x32x32, regions of 4x4": ((40, 32, 32), 4),
    "112x16x16, regions of 2x2": ((112, 16, 16), 2),
    "152x32x32, regions of 4x4": ((152, 32, 32), 4),
    "152x32x32, one region": ((152, 32, 32), 32),
}


def cases() -> Iterator[Case]:
    """Each level, with and without the normal form, path and peer; factors are triangular."""
    one_thread()
    rng = np.random.default_rng(0)
    for name, (shape, side) in LEVELS.items():
        channels, height, width = shape
        regions = -(-height // side) * -(-width // side)
        mean = rng.standard_normal(shape).astype(np.float32)
        factors = rng.standard_normal((regions, channels, channels)).astype(np.float32)
        factors = np.triu(factors) / np.float32(channels**0.5)
        features = (mean + rng.standard_normal((1, *shape))).astype(np.float32)
        for normal in (False, True):
            workload = name + (", channel normal" if normal else "")
            exact = reference.whiten(features, mean, factors, side, channel_normal=normal)
            peers = {"NumPy: einsum": partial(by_einsum, features, mean, factors, side, normal)}
            peers["NumPy: matmul"] = partial(by_matmul, features, mean, factors, side, normal)
            peers["OpenVINO graph, threads = 1"] = by_openvino(
                features, mean, factors, side, normal
            )
            for path in _cpu.simd_paths():
                whiten = Whiten(mean, factors, side, channel_normal=normal, simd=path)
                out = whiten.run(features)
                error = float(np.abs(out - exact).max())
                run = partial(whiten.run, features, out)
                for peer, work in peers.items():
                    assert np.allclose(np.ravel(work()), exact.ravel(), rtol=1e-3), peer
                    yield Case("whiten", workload, path, error, run, peer, work)


def blocks(array: Any, side: int) -> Any:
    """[.., C, H, W] as [regions, C, side * side]."""
    channels, height, width = array.shape[-3:]
    parts = array.reshape(channels, height // side, side, width // side, side)
    return parts.transpose(1, 3, 0, 2, 4).reshape(-1, channels, side * side)


def whole(array: Any, shape: Any, side: int) -> Any:
    """[regions, side * side] as [H, W]."""
    _, height, width = shape
    parts = array.reshape(height // side, width // side, side, side)
    return parts.transpose(0, 2, 1, 3).reshape(height, width)


def centred(features: Any, mean: Any, normal: bool) -> Any:
    x = features[0]
    if normal:
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + np.float32(1e-5))
    return x - mean


def by_einsum(features: Any, mean: Any, factors: Any, side: int, normal: bool) -> Any:
    d = blocks(centred(features, mean, normal), side)
    y = np.einsum("roc,rcp->rop", factors, d)
    return whole(np.square(y).mean(1), mean.shape, side)


def by_matmul(features: Any, mean: Any, factors: Any, side: int, normal: bool) -> Any:
    y = np.matmul(factors, blocks(centred(features, mean, normal), side))
    return whole(np.square(y).mean(1), mean.shape, side)


def by_openvino(
    features: Any, mean: Any, factors: Any, side: int, normal: bool
) -> Callable[[], Any]:
    """The same as a graph, ready to infer: what an exporter would put behind the backbone."""
    channels, height, width = mean.shape
    x = image = ops.parameter(features.shape, np.float32)
    if normal:
        axis = np.array([1])
        x = ops.subtract(x, ops.reduce_mean(x, axis, keep_dims=True))
        variance = ops.reduce_mean(ops.multiply(x, x), axis, keep_dims=True)
        x = ops.divide(x, ops.sqrt(ops.add(variance, np.float32(1e-5))))
    x = ops.subtract(x, mean[None])
    down, across = height // side, width // side
    x = ops.reshape(x, np.array([channels, down, side, across, side]), special_zero=False)
    x = ops.transpose(x, np.array([1, 3, 0, 2, 4]))
    x = ops.reshape(x, np.array([-1, channels, side * side]), special_zero=False)
    y = ops.matmul(ops.constant(factors), x, False, False)
    y = ops.reduce_mean(ops.multiply(y, y), np.array([1]), keep_dims=False)
    y = ops.reshape(y, np.array([down, across, side, side]), special_zero=False)
    y = ops.reshape(ops.transpose(y, np.array([0, 2, 1, 3])), np.array([height, width]), False)
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    model = openvino.Model([y], [image], "whiten")
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(0, openvino.Tensor(features, shared_memory=True))

    def run() -> Any:
        request.infer()
        return request.get_output_tensor(0).data

    return run
