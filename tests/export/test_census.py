"""The precision census: counts by hand, and the refusal of a float16 that is none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from edgead_export.census import check_precision, take_census
from edgead_export.graph import half
from edgead_export.onnx import to_onnx
from export_toy import ToyMethod
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from edgead.errors import ExportError


def by_hand() -> bytes:
    """image -> Cast(half) -> Conv(2x3x1x1) -> Cast(float) -> MatMul(4x5, stored in half)."""
    weights = [
        numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float16), "w"),
        numpy_helper.from_array(np.ones((4, 5), np.float16), "keys"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
        helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["keys"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["z", "wide"], ["out"], name="lookup"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 2, 4, 5])
    graph = helper.make_graph(nodes, "g", [image], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_counts_by_hand() -> None:
    census = take_census(by_hand())
    assert census.initialisers == {"float16": 2}
    assert census.stored_bytes == {"float16": 2 * (6 + 20)}
    assert census.tensors == {"float16": 2, "float32": 3}
    assert census.operators == {
        "Cast": {"float16": 1, "float32": 2},
        "Conv": {"float16": 1},
        "MatMul": {"float32": 1},
    }
    # Stored in half, but the product runs in float32: the dtype that counts is the product's.
    assert census.weights == {"float16": 6, "float32": 20}
    assert census.float32_products == ("lookup",)
    assert census.share("float16") == pytest.approx(6 / 26)


def test_a_stack_of_matrices_is_no_weight() -> None:
    """image -> MatMul(3 matrices of 4x4) -> MatMul(4x5, behind an axis of length 1)."""
    stored = {"places": (3, 4, 4), "keys": (1, 1, 4, 5)}
    weights = [numpy_helper.from_array(np.ones(d, np.float32), n) for n, d in stored.items()]
    nodes = [
        helper.make_node("MatMul", ["places", "image"], ["y"], name="whiten"),
        helper.make_node("MatMul", ["y", "keys"], ["out"], name="lookup"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 3, 4, 5])
    graph = helper.make_graph(nodes, "g", [image], [out], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    census = take_census(model.SerializeToString())
    assert census.weights == {"float32": 20}
    assert census.float32_products == ("whiten", "lookup")


def test_toy_in_both_precisions() -> None:
    toy = ToyMethod()
    single, double = take_census(to_onnx(toy)), take_census(to_onnx(half(toy)))
    check_precision(single, "float32")
    check_precision(double, "float16")
    assert single.share("float16") == 0.0
    assert double.operators["Conv"] == {"float16": sum(single.operators["Conv"].values())}
    assert list(double.operators["MatMul"]) == ["float32"]  # the lookup, kept precise on purpose
    keys = toy.keys.numel()
    assert double.weights["float32"] == keys


class WideToy(ToyMethod):
    """Networks that cast their weights back to float32: stored in half, computed in float32."""

    def features(self, x):
        first = F.conv2d(x.float(), self.stem.weight.float(), self.stem.bias.float(), 2, 1)
        deep = F.conv2d(first, self.deep.weight.float(), self.deep.bias.float(), 2, 1)
        return F.relu6(first).to(x.dtype), F.relu6(deep).to(x.dtype)


@pytest.mark.parametrize("planted", ["no half at all", "computes in float32"])
def test_float16_that_is_none_is_refused(planted: str) -> None:
    model = to_onnx(ToyMethod()) if planted == "no half at all" else to_onnx(half(WideToy()))
    with pytest.raises(ExportError, match=r"float16 was asked for, and .* compute in float32: /"):
        check_precision(take_census(model), "float16")


def test_half_in_a_float32_graph_is_refused() -> None:
    with pytest.raises(ExportError, match="float32 was asked for"):
        check_precision(take_census(to_onnx(half(ToyMethod()))), "float32")


def test_census_agrees_with_the_file(tmp_path) -> None:
    """Counted again from the file, without the census's own code."""
    data = to_onnx(half(ToyMethod()))
    model = onnx.load_model_from_string(data)
    halves = sum(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)
    halves += sum(
        a.t.data_type == TensorProto.FLOAT16
        for n in model.graph.node
        if n.op_type == "Constant"
        for a in n.attribute
    )
    assert take_census(data).initialisers["float16"] == halves
    assert torch.float16 in {b.dtype for b in half(ToyMethod()).buffers()}
