"""A float32 graph as one with int8 layers: Q/DQ that OpenVINO and TensorRT both read.

Symmetric codes for weights and activations, a scale for each output channel of a weight and one for
each activation, biases in float32: all that TensorRT takes. Only the inputs of layers are coded, in
a range whose sums come out the same on every processor, see ``sums``.
A pair between a convolution and the ReLU behind it, which onnxruntime sets by default, codes values
that the ReLU is about to drop, and keeps the two from becoming one layer.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper, shape_inference

from edgead.errors import ExportError

from ..graph import INPUT
from ..onnx import check, strip
from .bias import correct_biases
from .sums import MOST_SECOND

LAYERS = ("Conv", "Gemm", "MatMul")
"""Convolutions and matrix products with stored weights. The latter are more than half of AGPNet's
work, and quantising all of them moved its map by 0.1 %, where the convolutions moved it by 8 %."""

FEW_CHANNELS = 4
"""A layer with so few input channels reads an image: little work, and a code that is lost is lost
to all that follows. Alone, it moved AGPNet's map by 5 %."""


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product; ``kept``: why it stays float32, "" where it may be int8."""

    name: str
    kept: str


def part_concats(model: bytes) -> bytes:
    """``model`` with every convolution of joined tensors as the sum of one convolution for each.

    conv(concat(a, b), W) = conv(a, W_a) + conv(b, W_b): the same sums in another order. Each part
    gets a scale of its own. Above all OpenVINO moves the quantisation of a joined tensor up to its
    parts and then leaves the convolution in float32: three of ReDi's largest, four of ARNet's.
    """
    parsed = shape_inference.infer_shapes(onnx.load_model_from_string(model))
    graph = parsed.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    channels = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in values if _rank(v) == 4}
    stored = {one.name: one for one in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    nodes: list[NodeProto] = []
    for node in graph.node:
        joined = made_by.get(node.input[0]) if node.op_type == "Conv" else None
        if joined is None or not _can_part(node, joined, stored, channels):
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(stored[node.input[1]])
        ends = np.cumsum([channels[name] for name in joined.input])[:-1]
        sums: list[str] = []
        for index, (source, part) in enumerate(
            zip(joined.input, np.split(weight, ends, axis=1), strict=True)
        ):
            name = f"{node.name or node.output[0]}/part_{index}"
            graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(part), f"{name}/weight")
            )
            bias = node.input[2:] if index == 0 else []
            last = index == len(joined.input) - 1
            one = helper.make_node("Conv", [source, f"{name}/weight", *bias], [name], name=name)
            one.attribute.extend(node.attribute)
            nodes.append(one)
            if index:
                total = node.output[0] if last else f"{name}/sum"
                nodes.append(helper.make_node("Add", [sums[-1], name], [total], name=f"{name}/add"))
                sums.append(total)
            else:
                sums.append(name)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    del graph.value_info[:]
    return bytes(parsed.SerializeToString(deterministic=True))


def layers(model: bytes) -> tuple[Layer, ...]:
    """The layers with stored weights of a float32 graph, in order.

    Grouped convolutions stay float32. With few weights for each activation they are bound by
    memory, and no faster in int8 here; and with both sides in 8 bits and one product for each
    weight, nothing averages the roundings out: eleven of them moved AGPNet's map by 24 %, its other
    forty-eight layers by 8 %. So do the similarities that a prompt is looked up by: near ties would
    choose another one, for little work. The memory's are a product of what it keeps and all
    positions, much work, and what it finds is blended so that near ties change little.
    """
    graph = onnx.load_model_from_string(model).graph
    stored = {one.name: one for one in graph.initializer}
    choosing = _choosing(graph)
    return tuple(
        Layer(node.name, _why_kept(node, weight, tuple(stored[weight].dims), choosing))
        for node in graph.node
        if (weight := _weight(node, stored)) is not None
    )


def quantise(model: bytes, images: Sequence[NDArray[np.float32]], int8: Collection[str]) -> bytes:
    """``model`` (of ``part_concats``) with the layers named ``int8`` in int8.

    images: each [1, 3, H, W] float32, preprocessed; the largest magnitudes that they give are the
    ranges, and biases make up for what the rounded weights lose on their average.

    Errors: ExportError when onnxruntime cannot.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT: image}

    with tempfile.TemporaryDirectory() as folder, _silence():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model)
        try:
            quantize_static(
                source,
                target,
                Reader(),
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
                    "TensorQuantOverrides": _overrides(model),
                },
            )
        except Exception as error:  # onnxruntime raises whatever its parts do
            raise ExportError(f"onnxruntime cannot quantise the graph: {error}") from error
        made = onnx.load(target)
        correct_biases(made.graph, model, images, int8)
    _clip_second(made.graph)
    return bytes(made.SerializeToString(deterministic=True))


def restore(int8_model: bytes, model: bytes, kept: Iterable[str]) -> bytes:
    """``int8_model`` (made of ``model``) with the layers named ``kept`` in float32 again.

    Errors: ExportError when what comes out is not a portable graph.
    """
    made, source = (onnx.load_model_from_string(one) for one in (int8_model, model))
    chosen = set(kept)
    originals = {node.name: node for node in source.graph.node if node.name in chosen}
    expected = {name for node in originals.values() for name in node.input}
    present = {one.name for one in made.graph.initializer}
    for node in made.graph.node:
        if node.name in originals:
            node.input[:] = originals[node.name].input
    made.graph.initializer.extend(
        one for one in source.graph.initializer if one.name in expected and one.name not in present
    )
    _drop_unused(made.graph)
    del made.graph.value_info[:]
    standard = [one for one in made.opset_import if one.domain in ("", "ai.onnx")]
    del made.opset_import[:]
    made.opset_import.extend(standard)
    strip(made)
    check(made, tuple(output.name for output in source.graph.output))
    return bytes(made.SerializeToString(deterministic=True))


def _choosing(graph: GraphProto) -> set[str]:
    """Values that the index of a largest one is taken of, maybe after other steps than layers."""
    found: set[str] = set()
    for node in reversed(graph.node):  # in topological order, as ONNX demands
        if node.op_type in ("ArgMax", "TopK"):
            found.add(node.input[0])
        elif node.op_type not in LAYERS and found.intersection(node.output):
            found.update(node.input)
    return found


def _overrides(model: bytes) -> dict[str, list[dict[str, Any]]]:
    """What onnxruntime is told of a product whose first operand is the stored one.

    The matrix has a scale for each of its rows. It would get one for each column, along what is
    summed over: no sum of integers can take those out, and OpenVINO then multiplies in float32.
    The activation, being the second operand, has the codes that weights have elsewhere.
    """
    graph = onnx.load_model_from_string(model).graph
    stored = {one.name: one for one in graph.initializer}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in graph.node:
        name = _weight(node, stored)
        if name and name == node.input[0]:
            found[name] = [{"axis": len(stored[name].dims) - 2}]
            found[node.input[1]] = [{"reduce_range": True}]
    return found


def _clip_second(graph: GraphProto) -> None:
    """Cut second operands that are activations where their codes end.

    QuantizeLinear ends at 127, so a frame beyond all calibration images would have larger codes.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    scales = {one.name: one for one in graph.initializer}
    coders = {}
    for node in graph.node:
        decoder = made_by.get(node.input[1]) if node.op_type == "MatMul" else None
        coder = made_by.get(decoder.input[0]) if decoder is not None else None
        if coder is not None and coder.op_type == "QuantizeLinear":
            coders[coder.output[0]] = coder
    for coder in coders.values():
        source = coder.input[0]
        limit = MOST_SECOND * numpy_helper.to_array(scales[coder.input[1]])
        ends = [f"{source}_lowest", f"{source}_highest"]
        graph.initializer.extend(map(numpy_helper.from_array, (-limit, limit), ends))
        clip = helper.make_node("Clip", [source, *ends], [f"{source}_cut"], f"{source}_cut")
        coder.input[0] = clip.output[0]
        graph.node.insert(list(graph.node).index(coder), clip)


def _weight(node: NodeProto, stored: dict[str, Any]) -> str | None:
    """The stored operand of a layer: the second, or a matrix before a product. None: no layer.

    Stacks of matrices before a product are the whitening: in units of what good images show, a
    rounding of what varies much would drown what varies little.
    """
    if node.op_type not in LAYERS:
        return None
    first, second = node.input[:2]
    if second in stored:
        return second
    if node.op_type == "MatMul" and first in stored and math.prod(stored[first].dims[:-2]) == 1:
        return first
    return None


def _why_kept(node: NodeProto, weight: str, dims: tuple[int, ...], choosing: set[str]) -> str:
    if choosing.intersection(node.output) and weight == node.input[1]:
        return "a lookup"
    if node.op_type != "Conv":
        return ""
    if next((a.i for a in node.attribute if a.name == "group"), 1) > 1:
        return "grouped"
    return "reads an image" if dims[1] <= FEW_CHANNELS else ""


def _can_part(
    node: NodeProto, joined: NodeProto, stored: dict[str, Any], channels: dict[str, int]
) -> bool:
    axis = next((a.i for a in joined.attribute if a.name == "axis"), None)
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    known = all(channels.get(name, 0) > 0 for name in joined.input)
    return (
        joined.op_type == "Concat"
        and axis == 1
        and group == 1
        and known
        and len(joined.input) > 1
        and node.input[1] in stored
    )


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _drop_unused(graph: GraphProto) -> None:
    """Remove stored tensors, and nodes, that nothing reads."""
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {output.name for output in graph.output}
        useless = [node for node in graph.node if not read.intersection(node.output)]
        for node in useless:
            graph.node.remove(node)
        if not useless:
            break
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep advice of the quantiser, which a user cannot follow, away; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
