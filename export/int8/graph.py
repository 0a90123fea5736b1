"""A float32 graph as one with int8 layers: Q/DQ that OpenVINO and TensorRT both read.

Symmetric codes for weights and activations, a scale for each output channel of a weight and one for
each activation, biases in float32: all that TensorRT takes. Only the inputs of layers are coded, in
a range whose sums come out the same on every processor, see ``sums``.
A pair between a convolution and the ReLU behind it, which onnxruntime sets by default, codes values
that the ReLU is about to drop, and keeps the two from becoming one layer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

from edgead.errors import ExportError

from ..options import Ranges
from ..portable import INPUT, check, silence, strip
from .bias import correct_biases
from .sums import tables

LAYERS = ("Conv", "Gemm", "MatMul")
"""Convolutions and matrix products with stored weights. The latter are more than half of AGPNet's
work, and quantising all of them moved its map by 0.1 %, where the convolutions moved it by 8 %."""

GROUPED = "grouped"
"""Why a grouped convolution stays float32, where ``layers`` has the say."""

FEW_CHANNELS = 4
"""A layer with so few input channels reads an image: little work, and a code that is lost is lost
to all that follows. Alone, it moved AGPNet's map by 5 %."""


def part_concats(model: bytes) -> bytes:
    """``model`` with every convolution of joined tensors as the sum of one convolution for each.

    conv(concat(a, b), W) = conv(a, W_a) + conv(b, W_b). Each part gets a scale of its own, and
    OpenVINO leaves a convolution of a quantised joined tensor in float32.
    """
    parsed = shape_inference.infer_shapes(onnx.load_model_from_string(model))
    graph = parsed.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    sides = {value.name: value.type.tensor_type.shape.dim for value in values}
    channels = {name: dim[1].dim_value for name, dim in sides.items() if len(dim) == 4}
    stored, made_by = tables(graph)
    nodes: list[NodeProto] = []
    for node in graph.node:
        joined = made_by.get(node.input[0]) if node.op_type == "Conv" else None
        if joined is None or not _can_part(node, joined, stored, channels):
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(stored[node.input[1]])
        ends = np.cumsum([channels[name] for name in joined.input])[:-1]
        total = ""
        for index, part in enumerate(np.split(weight, ends, axis=1)):
            name = f"{node.name or node.output[0]}/part_{index}"
            kernel = numpy_helper.from_array(np.ascontiguousarray(part), f"{name}/weight")
            graph.initializer.append(kernel)
            inputs = [joined.input[index], kernel.name, *(node.input[2:] if index == 0 else [])]
            nodes.append(helper.make_node("Conv", inputs, [name], name=name))
            nodes[-1].attribute.extend(node.attribute)
            both, last = [total, name], index == len(joined.input) - 1
            total = node.output[0] if last else f"{name}/sum" if index else name
            if index:
                nodes.append(helper.make_node("Add", both, [total], name=f"{name}/add"))
    del graph.node[:]
    graph.node.extend(nodes)
    return _used(parsed)


def layers(model: bytes) -> dict[str, str]:
    """The layers with stored weights of a float32 graph, and why each stays float32, "" if not.

    Grouped convolutions stay float32: bound by memory, they are no faster in int8, and nothing
    averages their roundings out (eleven of them moved AGPNet's map by 24 %, its other forty-eight
    layers by 8 %). So do the similarities that a prompt is looked up by: near ties would choose
    another one, for little work. Products that begin with a stored matrix are the whitening: in
    units of what good images show, a rounding of what varies much would drown what varies little.
    """
    graph = onnx.load_model_from_string(model).graph
    stored, _ = tables(graph)
    choosing = _choosing(graph)
    return {
        node.name: _why_kept(node, tuple(stored[node.input[1]].dims), choosing)
        for node in graph.node
        if node.op_type in LAYERS and node.input[1] in stored
    }


def quantise(model: bytes, images: Ranges, int8: Collection[str]) -> bytes:
    """``model`` with some of its layers in int8.

    Args:
        model: of ``part_concats``.
        images: each [1, 3, H, W] float32, preprocessed; the largest magnitudes that they give are
            the ranges, and biases make up for what the rounded weights lose on their average.
        int8: names of the layers.

    Returns:
        The graph with QuantizeLinear and DequantizeLinear at these layers.

    Raises:
        ExportError: onnxruntime cannot.
    """
    from onnxruntime.quantization import QuantType, quantize_static

    feeds = ({INPUT: image} for image in images)
    with tempfile.TemporaryDirectory() as folder, silence():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model)
        try:
            quantize_static(
                source,
                target,
                SimpleNamespace(get_next=lambda: next(feeds, None)),
                op_types_to_quantize=list(LAYERS),
                nodes_to_quantize=list(int8),
                per_channel=True,
                reduce_range=True,  # of weights: codes up to MOST_SECOND
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": list(LAYERS),
                },
            )
        except Exception as error:  # onnxruntime raises whatever its parts do
            raise ExportError(f"onnxruntime cannot quantise the graph: {error}") from error
        made = onnx.load(target)
        correct_biases(made.graph, model, images, int8)
    return bytes(made.SerializeToString(deterministic=True))


def restore(int8_model: bytes, model: bytes, kept: Iterable[str]) -> bytes:
    """``int8_model`` (made of ``model``) with the layers named ``kept`` in float32 again.

    Raises:
        ExportError: what comes out is not a portable graph.
    """
    made, source = (onnx.load_model_from_string(one) for one in (int8_model, model))
    chosen = set(kept)
    originals = {node.name: node for node in source.graph.node if node.name in chosen}
    present = {one.name for one in made.graph.initializer}
    for node in made.graph.node:
        if node.name in originals:
            node.input[:] = originals[node.name].input
    made.graph.initializer.extend(
        one for one in source.graph.initializer if one.name not in present
    )
    standard = [one for one in made.opset_import if one.domain in ("", "ai.onnx")]
    del made.opset_import[:]
    made.opset_import.extend(standard)
    strip(made)
    portable = _used(made)
    check(made, tuple(output.name for output in source.graph.output))
    return portable


def _choosing(graph: GraphProto) -> set[str]:
    """Values that the index of a largest one is taken of, maybe after other steps than layers."""
    found: set[str] = set()
    for node in reversed(graph.node):  # in topological order, as ONNX demands
        if node.op_type == "ArgMax":
            found.add(node.input[0])
        elif node.op_type not in LAYERS and found.intersection(node.output):
            found.update(node.input)
    return found


def _why_kept(node: NodeProto, dims: tuple[int, ...], choosing: set[str]) -> str:
    if choosing.intersection(node.output):
        return "a lookup"
    if node.op_type != "Conv":
        return ""
    if _integer(node, "group", 1) > 1:
        return GROUPED
    return "reads an image" if dims[1] <= FEW_CHANNELS else ""


def _can_part(
    node: NodeProto, joined: NodeProto, stored: dict[str, Any], channels: dict[str, int]
) -> bool:
    return (
        joined.op_type == "Concat"
        and _integer(joined, "axis", 0) == 1
        and _integer(node, "group", 1) == 1
        and all(channels.get(name, 0) > 0 for name in joined.input)
        and len(joined.input) > 1
        and node.input[1] in stored
    )


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _used(model: ModelProto) -> bytes:
    """``model`` without stored tensors, nodes and notes of shapes that nothing reads."""
    graph = model.graph
    del graph.value_info[:]
    while True:
        read = {output.name for output in graph.output}.union(*(node.input for node in graph.node))
        useless = [node for node in graph.node if not read.intersection(node.output)]
        if not useless:
            break
        for node in useless:
            graph.node.remove(node)
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return bytes(model.SerializeToString(deterministic=True))
