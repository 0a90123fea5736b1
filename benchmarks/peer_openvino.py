"""The head of an anomaly detector as OpenVINO computes it: the peer that a graph would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from edgead.anomaly_map import MapParams


def openvino_head(
    pairs: list[Any], params: MapParams, layout: str, threads: int
) -> Callable[[], Any]:
    """Cosine distance, upsampling, sum, Gaussian, maximum as one graph, ready to infer.

    Norms by ReduceL2, the upsampling as a conversion from ONNX has it (linear_onnx), the blur as
    two one-dimensional convolutions of an image whose border is repeated; float32 throughout.

    Args:
        pairs: (reference, reconstructed) [1, C, H, W] or [1, H, W, C]
        threads: ``INFERENCE_NUM_THREADS``
    """
    inputs, fused = [], None
    for pair, weight in zip(pairs, params.weights, strict=True):
        nodes = [ops.parameter(array.shape, array.dtype) for array in pair]
        inputs += nodes
        level = _upsampled(_distance(*nodes, layout), params.size)
        level = ops.multiply(level, np.float32(weight))
        fused = level if fused is None else ops.add(fused, level)
    blurred = _blurred(fused, params.blur_sigma)
    score = ops.reduce_max(blurred, np.array([1, 2, 3]), keep_dims=False)
    model = openvino.Model([blurred, score], inputs, "head")
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    for index, array in enumerate(array for pair in pairs for array in pair):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    return request.infer


def _distance(a: Any, b: Any, layout: str) -> Any:
    """1 - cosine similarity over the channels, [1, 1, H, W] float32."""
    a, b = (ops.convert(node, "f32") for node in (a, b))
    axis = np.array([1 if layout == "NCHW" else 3])
    norms = [ops.reduce_l2(node, axis, keep_dims=True) for node in (a, b)]
    dot = ops.reduce_sum(ops.multiply(a, b), axis, keep_dims=True)
    bounded = ops.maximum(ops.multiply(*norms), np.float32(1e-8))
    distance = ops.subtract(np.float32(1), ops.divide(dot, bounded))
    if layout == "NHWC":  # one channel: the same numbers in the same order
        height, width = distance.shape[1:3]
        distance = ops.reshape(distance, np.array([1, 1, height, width]), special_zero=False)
    return distance


def _upsampled(level: Any, size: tuple[int, int]) -> Any:
    return ops.interpolate(
        level,
        np.array(size),
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        coordinate_transformation_mode="half_pixel",
        axes=np.array([2, 3]),
    )


def _blurred(level: Any, sigma: float) -> Any:
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    border = np.array([0, 0, radius, radius])
    level = ops.pad(level, border, border, "edge")
    for kernel in (taps[None, None, :, None], taps[None, None, None, :]):
        level = ops.convolution(level, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return level
