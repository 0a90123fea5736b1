"""What a network computes in, counted: a build may be asked for float16, warn, and give float32."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgead.errors import DeviceError
from edgead.nvidia.plans.api import Layer, Network, TensorRT

HALF_SHARE = 0.9
"""Least share of the weights that compute in float16 where that was asked for; a lookup or a norm
may stay float32. The rule and the number of the exporter's own census of the ONNX graph."""

INT8_SHARE = 0.5
"""Least share of the weights that meet int8 where that was asked for: the exporter may keep some
out for their accuracy, and with fewer than half it is not the network asked for."""

_DTYPES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp8": "float8",
}
"""Words of TensorRT's DataType and inspector, in small letters, as NumPy and ONNX have them; the
others are the same."""

_CONVOLUTIONS = {"CONVOLUTION": "IConvolutionLayer", "DECONVOLUTION": "IDeconvolutionLayer"}
_PRODUCTS = (*_CONVOLUTIONS, "MATRIX_MULTIPLY")


@dataclass(frozen=True)
class NetworkCensus:
    """Counts by dtype; a product is a convolution or a matrix product."""

    tensors: dict[str, int]  # values that the layers give
    products: dict[str, int]  # "int8" where the input was quantised
    weights: dict[str, int]  # elements of the products' weights, without stacks of matrices
    float32_products: tuple[str, ...]  # names


def layers(network: Network) -> Iterator[Layer]:
    """The layers of a network, in order."""
    for index in range(network.num_layers):
        yield network.get_layer(index)


def dtype_of(value: Any) -> str:
    """A TensorRT DataType as NumPy names it."""
    return _dtype_named(str(value.name))


def _dtype_named(word: str) -> str:
    return _DTYPES.get(word.lower(), word.lower())


def take_census(network: Network, module: TensorRT) -> NetworkCensus:
    """Count the precisions of a parsed network, which has a free batch axis."""
    tensors, products, weights = (Counter[str]() for _ in range(3))
    float32, dequantised = [], set()
    for layer in layers(network):
        kind = str(layer.type.name)
        for index in range(layer.num_outputs):
            output = layer.get_output(index)
            tensors[dtype_of(output.dtype)] += 1
            if kind == "DEQUANTIZE":
                dequantised.add(output.name)
        if kind in _PRODUCTS:
            dtype = dtype_of(layer.get_output(0).dtype)
            if layer.get_input(0).name in dequantised:
                dtype = "int8"
            products[dtype] += 1
            weights[dtype] += _weights(layer, kind, module)
            if dtype == "float32":
                float32.append(layer.name)
    counts = [dict(sorted(counted.items())) for counted in (tensors, products, weights)]
    return NetworkCensus(counts[0], counts[1], counts[2], tuple(float32))


def _weights(layer: Layer, kind: str, module: TensorRT) -> int:
    """Elements of the weights of a convolution or matrix product."""
    if kind in _CONVOLUTIONS:
        # get_layer gives the base class, and this is how TensorRT's own tools get at the rest.
        layer.__class__ = getattr(module, _CONVOLUTIONS[kind])
        convolution: Any = layer
        channels = int(tuple(layer.get_input(0).shape)[1])
        maps, groups = int(convolution.num_output_maps), int(convolution.num_groups)
        kernel = math.prod(int(size) for size in convolution.kernel_size_nd)
        return maps * channels // groups * kernel
    # What is stored has no free axis; what comes from the image has the batch's.
    shapes = [tuple(layer.get_input(index).shape) for index in range(layer.num_inputs)]
    stored = [shape for shape in shapes if shape and min(shape) > 0]
    # A matrix for each place of a map is a statistic of good images and no weight of the network.
    return sum(math.prod(shape) for shape in stored if sum(side > 1 for side in shape) <= 2)


def check_precision(census: NetworkCensus, asked: str) -> None:
    """Raise DeviceError where a census does not show the precision that was asked for."""
    if asked == "float32":
        narrow = {d: n for d, n in census.tensors.items() if d in ("float16", "bfloat16", "int8")}
        if narrow:
            raise DeviceError(
                f"float32 was asked for, and the network holds {_counts(narrow)} tensors; the "
                "graph is not the one that the manifest calls float32: export the bundle again"
            )
        return
    least = HALF_SHARE if asked == "float16" else INT8_SHARE
    total = sum(census.weights.values())
    share = census.weights.get(asked, 0) / total if total else 0.0
    if share < least:
        named = ", ".join(census.float32_products[:5])
        raise DeviceError(
            f"{asked} was asked for, and {share:.1%} of the weights compute in it (products: "
            f"{_counts(census.products) or 'none'}); expected {least:.0%}"
            + (f". In float32: {named}" if named else "")
            + "; the graph is not what the manifest calls it: export the bundle again"
        )


def engine_layers(module: TensorRT, engine: Any) -> dict[str, int] | None:
    """How many layers of an engine that was built with detailed profiling hold weights of each
    dtype, by its inspector; None where it does not say."""
    inspector = engine.create_engine_inspector()
    return count_layers(inspector.get_engine_information(module.LayerInformationFormat.JSON))


def count_layers(text: str) -> dict[str, int] | None:
    """``engine_layers`` of the inspector's JSON.

    The weights are what tells: with a free batch the formats of inputs and outputs are given as
    "N/A due to dynamic shapes". Layers that were fused into one kernel show no weights.
    """
    try:
        layers = json.loads(text)["Layers"]
        held = [layer.get("Weights", {}) for layer in layers if isinstance(layer, dict)]
        words = [str(weights["Type"]) for weights in held if weights.get("Count")]
    except (ValueError, KeyError, TypeError):
        return None
    return dict(sorted(Counter(map(_dtype_named, words)).items())) or None


def lacks(counted: dict[str, int], asked: str) -> str | None:
    """What to say of a finished engine none of whose layers that show weights computes in
    ``asked``; None where one does. No share is demanded, because fused layers show no weights.
    """
    if counted.get(asked):
        return None
    return (
        f"{asked} was asked for, and no layer of the built engine holds weights in it (found: "
        f"{_counts(counted)})"
    )


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{number} {dtype}" for dtype, number in sorted(counted.items()))
