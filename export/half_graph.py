"""A float32 ONNX graph as one that computes in float16, with float32 input and outputs.

For a frozen network that is there as ONNX alone; a trained method is halved in torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edgead.errors import ExportError

from .census import check_precision, take_census
from .compare import HALF_PEAK
from .options import Ranges
from .portable import INPUT, check, onnx_session

_SIZES = {"Resize": (1, 2)}
"""Inputs that are float32 whatever the operator computes in: the region and scales of Resize."""


def halved(model: bytes, images: Ranges) -> bytes:
    """The graph in float16.

    Args:
        model: float32 ONNX graph of one input, ``INPUT``.
        images: [1, 3, H, W] float32, preprocessed, whose values on the way are looked at.

    Returns:
        ONNX bytes with the same input and outputs.

    Raises:
        ExportError: a weight over 65504 or a value over half of that, or a graph that says itself
            what it computes in.
    """
    name, peak = _peak(model, images)
    if not peak <= HALF_PEAK:
        raise ExportError(
            f"in float16 {name} reaches {peak:.4g}, allowed {HALF_PEAK:g}; it would overflow on a "
            "GPU: leave --precision float16 out"
        )
    parsed = onnx.load_model_from_string(model)
    graph = parsed.graph
    del graph.value_info[:]
    kept = {
        name
        for node in graph.node
        for index, name in enumerate(node.input)
        if index in _SIZES.get(node.op_type, ())
    }
    for tensor in _stored(graph):
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            _halve(tensor)
    _cast_around(graph)
    made = bytes(parsed.SerializeToString(deterministic=True))
    check(parsed, tuple(value.name for value in graph.output))
    check_precision(take_census(made), "float16")
    return made


def _peak(model: bytes, images: Ranges) -> tuple[str, float]:
    """The largest magnitude that any value of the graph takes, and the value's name."""
    shown = onnx.load_model_from_string(model)
    known = {output.name for output in shown.graph.output}
    names = [name for node in shown.graph.node for name in node.output if name not in known]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnx_session(shown.SerializeToString())
    asked = [output.name for output in session.get_outputs()]
    found = dict.fromkeys(asked, 0.0)
    for image in images:
        for name, values in zip(asked, session.run(asked, {INPUT: image}), strict=True):
            if values.dtype == np.float32:
                found[name] = max(found[name], float(np.abs(values).max(initial=0)))
    return max(found.items(), key=lambda item: item[1])


def _stored(graph: GraphProto) -> list[TensorProto]:
    """Initialisers, and the tensors of Constant nodes under the names of what they give."""
    found = list(graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    found.append(attribute.t)
    return found


def _halve(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    if largest > float(np.finfo(np.float16).max):
        raise ExportError(
            f"{tensor.name} holds {largest:.4g}, and float16 ends at 65504: leave "
            "--precision float16 out"
        )
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _cast_around(graph: GraphProto) -> None:
    """Casts behind the inputs and before the outputs, whose names stay."""
    inside = {value.name: f"{value.name}_half" for value in (*graph.input, *graph.output)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    before = [_cast(value.name, inside[value.name], TensorProto.FLOAT16) for value in graph.input]
    after = [_cast(inside[value.name], value.name, TensorProto.FLOAT) for value in graph.output]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to)
