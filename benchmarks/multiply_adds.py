"""How much a graph computes: the multiply-adds of its convolutions and matrix products.

    python benchmarks/multiply_adds.py MODEL.onnx

Two operations each: a GFLOP is 5e8 multiply-adds. Pointwise operators, pooling and resizing are not
counted, as is the custom. The shapes are those that OpenVINO infers for one image.
"""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import Any

import openvino

# Operators that multiply, and that edgead's exporter does not write: none may slip in uncounted.
UNKNOWN = {"Einsum", "ScaledDotProductAttention", "LSTMSequence", "GRUSequence", "RNNSequence"}


def gflop(model: bytes) -> float:
    """10^9 operations for one image of the ONNX ``model`` with one input [batch, C, H, W].

    Raises: ValueError for a graph with a product that is not counted here.
    """
    graph = openvino.Core().read_model(model)
    image = graph.inputs[0]
    graph.reshape({image: [1, *(side.get_length() for side in image.partial_shape[1:])]})
    return 2e-9 * sum(multiply_adds(operator) for operator in graph.get_ops())


def multiply_adds(operator: Any) -> int:
    """Of a convolution: each output takes one of each weight that leads to it; [N, C, H, W]."""
    kind = operator.get_type_name()
    if kind in UNKNOWN:
        raise ValueError(f"{operator.get_friendly_name()} is a {kind}, which is not counted yet")
    match kind:
        case "Convolution":  # weights [outputs, inputs, h, w]
            return prod(operator.output(0).get_shape()) * prod(operator.input(1).get_shape()[1:])
        case "GroupConvolution":  # [groups, outputs, inputs, h, w]
            return prod(operator.output(0).get_shape()) * prod(operator.input(1).get_shape()[2:])
        case "ConvolutionBackpropData":  # [inputs, outputs, h, w]: each input goes to all outputs
            return prod(operator.input(0).get_shape()) * prod(operator.input(1).get_shape()[1:])
        case "GroupConvolutionBackpropData":  # [groups, inputs, outputs, h, w]
            return prod(operator.input(0).get_shape()) * prod(operator.input(1).get_shape()[2:])
        case "MatMul":
            inner = -2 if operator.get_attributes()["transpose_a"] else -1
            first = operator.input(0).get_shape()
            return prod(operator.output(0).get_shape()) * first[inner if len(first) > 1 else 0]
    return 0


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {gflop(Path(name).read_bytes()):.4g} GFLOP")
