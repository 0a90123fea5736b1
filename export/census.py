"""Which precision a graph really computes in, counted; asking for float16 is not having it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from edgead.errors import ExportError

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that hold nearly all the work, and all the weights, of a network."""

HALF_SHARE = 0.9
"""Least share of the weights that must compute in float16 where that was asked for. A lookup or
a norm may stay float32 for its precision; more than a tenth: the backbone did not convert."""

INT8_SHARE = 0.5
"""Least share of the weights that must be int8 where that was asked for. Layers that lose too much
stay float32; when they hold half of the weights, there is nothing left to gain."""

_PASS_ON = ("Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Census:
    """What is in a graph, by dtype (names as in NumPy).

    initialisers: tensors stored; stored_bytes: their size; tensors: values computed; operators:
    ``{operator: {dtype: count}}`` by the dtype of the first output; weights: elements of weights
    that convolutions and matrix products use, by the dtype they compute in (int8 where they are
    stored in int8 and the activation is coded too), but for stacks of matrices: one for each place
    of a map is a statistic of good images, large and cheap, and no weight of the network;
    float32_products: names of those that compute
    in float32.
    """

    initialisers: dict[str, int]
    stored_bytes: dict[str, int]
    tensors: dict[str, int]
    operators: dict[str, dict[str, int]]
    weights: dict[str, int]
    float32_products: tuple[str, ...]

    def share(self, dtype: str) -> float:
        """Share of the weights that compute in ``dtype``, in [0, 1]; 0 without weights."""
        total = sum(self.weights.values())
        return self.weights.get(dtype, 0) / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the provenance of a bundle."""
        return {**asdict(self), "float32_products": list(self.float32_products)}


def take_census(model: bytes) -> Census:
    """Count the precisions of an ONNX graph, after ONNX's own shape and type inference.

    Errors: ExportError when the dtype of a convolution or matrix product cannot be inferred.
    """
    graph = shape_inference.infer_shapes(
        onnx.load_model_from_string(model), check_type=True, strict_mode=True
    ).graph
    constants = _constants(graph)
    dtypes = {name: _dtype(tensor.data_type) for name, tensor in constants.items()}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dtypes[value.name] = _dtype(value.type.tensor_type.elem_type)
    stored, bytes_of = Counter[str](), Counter[str]()
    for tensor in constants.values():
        dtype = _dtype(tensor.data_type)
        stored[dtype] += 1
        bytes_of[dtype] += numpy_helper.to_array(tensor).nbytes
    dims = _dims(graph, constants)
    coded = {
        node.output[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and dtypes.get(node.input[0]) == "int8"
    }
    tensors: Counter[str] = Counter()
    operators: dict[str, Counter[str]] = {}
    weights: Counter[str] = Counter()
    float32: list[str] = []
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        dtype = dtypes.get(node.output[0], "unknown")
        operators.setdefault(node.op_type, Counter())[dtype] += 1
        tensors.update(dtypes.get(name, "unknown") for name in node.output if name)
        if node.op_type in WEIGHTED:
            if coded.issuperset(node.input[:2]):
                dtype = "int8"
            if dtype == "unknown":
                raise ExportError(f"the precision of {node.op_type} {node.name} is not known")
            stored_inputs = [dims[name] for name in node.input if name in dims]
            # A stack of matrices: more than two axes, those of length 1 aside.
            stack = any(sum(side > 1 for side in sides) > 2 for sides in stored_inputs)
            if not stack or node.op_type != "MatMul":
                weights[dtype] += sum(map(math.prod, stored_inputs))
            if dtype == "float32":
                float32.append(node.name or node.output[0])
    return Census(
        dict(sorted(stored.items())),
        dict(sorted(bytes_of.items())),
        dict(sorted(tensors.items())),
        {name: dict(sorted(count.items())) for name, count in sorted(operators.items())},
        dict(sorted(weights.items())),
        tuple(float32),
    )


def check_precision(census: Census, asked: str) -> None:
    """Hold a census against the precision that was asked for, ``float32``, ``float16``, ``int8``.

    Errors: ExportError: another was asked for than what the networks compute in.
    """
    if asked == "int8":
        if census.share("int8") < INT8_SHARE:
            raise ExportError(
                f"int8 was asked for, and {census.share('int8'):.1%} of the weights compute in it; "
                f"expected {INT8_SHARE:.0%}: remove --precision int8"
            )
        return
    if asked == "float32":
        narrow = {d: n for d, n in census.tensors.items() if d in ("float16", "bfloat16")}
        if narrow:
            raise ExportError(f"float32 was asked for, and the graph holds {narrow} tensors")
        return
    if census.share("float16") < HALF_SHARE:
        raise ExportError(
            f"float16 was asked for, and {census.share('float16'):.1%} of the weights compute in "
            f"it; expected {HALF_SHARE:.0%}. These compute in float32: "
            f"{', '.join(census.float32_products[:5]) or 'all'}. Let the networks take the dtype "
            "of their weights instead of casting to float32"
        )


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Initialisers and the values of Constant nodes, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                found[node.output[0]] = attribute.t
    return found


def _dims(graph: onnx.GraphProto, constants: dict[str, TensorProto]) -> dict[str, tuple[int, ...]]:
    """Sides of every value that is stored, or stored and only cast or reshaped since."""
    dims = {name: tuple(tensor.dims) for name, tensor in constants.items()}
    for node in graph.node:  # in topological order, as ONNX demands
        if node.op_type in _PASS_ON and node.input[0] in dims:
            dims[node.output[0]] = dims[node.input[0]]
    return dims


def _dtype(element_type: int) -> str:
    name: str = TensorProto.DataType.Name(element_type).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)
