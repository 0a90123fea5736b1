"""What TensorRT 8.5, the one of JetPack 5, reads of ONNX, as far as graphs of edgead may need it.

Source: onnx/onnx-tensorrt, branch 8.5-GA: docs/operators.md for the operators and their types,
builtin_op_importers.cpp and onnx2trt_utils.cpp for what they demand of attributes and inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import NodeProto, TensorProto, helper, shape_inference

_FLOATS = ("FLOAT", "FLOAT16")
_NUMBERS = (*_FLOATS, "INT32", "INT64")  # int64 is read as int32
_ALL = (*_NUMBERS, "INT8", "BOOL")
_INT8 = (*_FLOATS, "INT8")

OPERATORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Equal"], _NUMBERS),
    **dict.fromkeys(["Abs", "Erf", "Exp", "Log", "Pow", "Sqrt", "Tanh", "Sigmoid"], _FLOATS),
    **dict.fromkeys(["ReduceL2", "ReduceMean", "ReduceSum", "ReduceMax"], _FLOATS),
    **dict.fromkeys(["MatMul", "Softmax", "Resize", "TopK", "ArgMax"], _FLOATS),
    **dict.fromkeys(["Clip", "Relu", "LeakyRelu", "Gemm"], _INT8),
    **dict.fromkeys(["Conv", "ConvTranspose", "MaxPool", "GlobalAveragePool"], _INT8),
    **dict.fromkeys(["AveragePool", "Pad"], (*_INT8, "INT32")),
    **dict.fromkeys(["Cast", "Concat", "Constant", "Gather", "Identity", "Reshape"], _ALL),
    **dict.fromkeys(["Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"], _ALL),
    **dict.fromkeys(["Expand", "Flatten", "Split", "Where"], (*_NUMBERS, "BOOL")),
    **dict.fromkeys(["QuantizeLinear"], _FLOATS),
    **dict.fromkeys(["DequantizeLinear"], ("INT8",)),
}
"""Operator: the dtypes of its first input that are read. Those marked N are not here, such as
LayerNormalization."""

CONSTANT = {
    "Clip": (1, 2),
    "Pad": (2,),
    "ReduceSum": (1,),
    "Slice": (3,),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that have to be stored in the graph."""

RESIZES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric")
MOST_OF_TOPK = 3840


def objections(model: bytes) -> list[str]:
    """Why TensorRT 8.5 would not read ``model``; empty when it would."""
    proto = onnx.load_model_from_string(model)
    newest = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    found = [] if newest <= 17 else [f"opset {newest} is newer than 17"]
    graph = shape_inference.infer_shapes(proto, strict_mode=True).graph
    dtypes = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        dtypes[value.name] = value.type.tensor_type.elem_type
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        found += [f"{node.op_type} {node.name}: {why}" for why in _of(node, stored, dtypes)]
    return found


def _of(node: NodeProto, stored: set[str], dtypes: dict[str, int]) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        yield "no such operator"
        return
    if node.input and node.input[0] in dtypes:
        dtype = TensorProto.DataType.Name(dtypes[node.input[0]])
        if dtype not in OPERATORS[node.op_type]:
            yield f"not of {dtype}"
    for index in CONSTANT.get(node.op_type, ()):
        if index < len(node.input) and node.input[index] and node.input[index] not in stored:
            yield f"input {index} is not stored"
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if "Pool" in node.op_type and set(attributes.get("dilations", [1])) != {1}:
        yield "dilated"
    if node.op_type == "MaxPool" and len(node.output) > 1:
        yield "indices"
    if node.op_type == "Resize":
        mode = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
        if mode not in (*RESIZES, "align_corners"):
            yield f"transformation {mode}"
        if attributes.get("mode") not in (b"nearest", b"linear"):
            yield f"mode {attributes.get('mode')}"
        if {"antialias", "axes", "keep_aspect_ratio_policy"} & set(attributes):
            yield "attributes of opset 18"
    if node.op_type == "Pad" and len(node.input) > 3:
        yield "axes"
