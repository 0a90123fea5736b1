"""Which precision a graph really computes in, counted; asking for float16 is not having it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from edgead.errors import ExportError

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that hold nearly all the work, and all the weights, of a network."""

HALF_SHARE = 0.9
"""Least share of the weights that must compute in float16 where that was asked for. A lookup or
a norm may stay float32 for its precision; more than a tenth: the backbone did not convert."""

INT8_SHARE = 0.5
"""Likewise int8; with half of the weights in layers that stay float32, little is left to gain."""

_PASS_ON = ("Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Census:
    """What is in a graph, by dtype (names as in NumPy)."""

    initialisers: dict[str, int]  # tensors stored
    stored_bytes: dict[str, int]
    tensors: dict[str, int]  # values computed
    operators: dict[str, dict[str, int]]  # {operator: {dtype: count}}, dtype of the first output
    # Elements that convolutions and matrix products use, by the dtype they compute in (int8 where
    # the activation is coded too); not stacks of matrices, which are statistics of good images.
    weights: dict[str, int]
    float32_products: tuple[str, ...]  # names

    def share(self, dtype: str) -> float:
        """Share of the weights that compute in ``dtype``, in [0, 1]; 0 without weights."""
        return self.weights.get(dtype, 0) / max(1, sum(self.weights.values()))


def take_census(model: bytes) -> Census:
    """Count the precisions of an ONNX graph, after ONNX's own shape and type inference.

    Raises:
        ExportError: the dtype of a convolution or matrix product cannot be inferred.
    """
    graph = shape_inference.infer_shapes(
        onnx.load_model_from_string(model), check_type=True, strict_mode=True
    ).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [one.t for one in node.attribute if one.name == "value"]
            constants.update(zip(node.output, values, strict=False))
    dtypes = {name: _dtype(tensor.data_type) for name, tensor in constants.items()}
    stored, bytes_of, tensors, weights = (Counter[str]() for _ in range(4))
    for name, tensor in constants.items():
        stored[dtypes[name]] += 1
        bytes_of[dtypes[name]] += numpy_helper.to_array(tensor).nbytes
    for value in (*graph.input, *graph.output, *graph.value_info):
        dtypes[value.name] = _dtype(value.type.tensor_type.elem_type)
    dims = {name: tuple(tensor.dims) for name, tensor in constants.items()}
    coded: set[str] = set()
    operators: dict[str, Counter[str]] = {}
    float32: list[str] = []
    for node in graph.node:  # in topological order, as ONNX demands
        if node.op_type == "Constant":
            continue
        if node.op_type in _PASS_ON and node.input[0] in dims:
            dims[node.output[0]] = dims[node.input[0]]
        if node.op_type == "DequantizeLinear" and dtypes.get(node.input[0]) == "int8":
            coded.add(node.output[0])
        dtype = dtypes.get(node.output[0], "unknown")
        operators.setdefault(node.op_type, Counter())[dtype] += 1
        tensors.update(dtypes.get(name, "unknown") for name in node.output if name)
        if node.op_type not in WEIGHTED:
            continue
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
    by_operator = {name: _sorted(operators[name]) for name in sorted(operators)}
    kinds = _sorted(stored), _sorted(bytes_of), _sorted(tensors)
    return Census(*kinds, by_operator, _sorted(weights), tuple(float32))


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))


def check_precision(census: Census, asked: str) -> None:
    """Hold a census against the precision that was asked for, ``float32``, ``float16``, ``int8``.

    Raises:
        ExportError: the networks compute in another one.
    """
    share = census.share(asked)
    given = f"{asked} was asked for, and {share:.1%} of the weights compute in it; expected"
    narrow = {d: n for d, n in census.tensors.items() if d in ("float16", "bfloat16")}
    if asked == "float32" and narrow:
        raise ExportError(f"float32 was asked for, and the graph holds {narrow} tensors")
    if asked == "int8" and share < INT8_SHARE:
        raise ExportError(f"{given} {INT8_SHARE:.0%}: remove --precision int8")
    if asked == "float16" and share < HALF_SHARE:
        raise ExportError(
            f"{given} {HALF_SHARE:.0%}. These compute in float32: "
            f"{', '.join(census.float32_products[:5]) or 'all'}. Let the networks take the dtype "
            "of their weights instead of casting to float32"
        )


def _dtype(element_type: int) -> str:
    name: str = TensorProto.DataType.Name(element_type).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)
