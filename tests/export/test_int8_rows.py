"""A matrix before a product, as the memory's, in the int8 graph: which, and its scales."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from edgead_export.int8.graph import layers, quantise
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(2, 6)).astype(np.float32)


def before() -> bytes:
    """image [N, 6, 4, 4] -> a stack of two matrices, then one matrix, each before the columns."""
    weights = [
        numpy_helper.from_array(np.stack([np.eye(6, dtype=np.float32)] * 2), "stack"),
        numpy_helper.from_array(ROWS[None], "rows"),
        numpy_helper.from_array(np.array([-1, 2, 6, 8]), "halves"),
        numpy_helper.from_array(np.array([-1, 6, 16]), "flat"),
        numpy_helper.from_array(np.array([-1, 2, 4, 4]), "square"),
    ]
    nodes = [
        helper.make_node("Reshape", ["image", "halves"], ["squares"]),
        helper.make_node("MatMul", ["stack", "squares"], ["white"], name="whiten"),
        helper.make_node("Reshape", ["white", "flat"], ["columns"]),
        helper.make_node("MatMul", ["rows", "columns"], ["near"], name="remember"),
        helper.make_node("Reshape", ["near", "square"], ["out"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 6, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 2, 4, 4])
    graph = helper.make_graph(nodes, "g", [image], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def test_a_matrix_before_a_product_has_a_scale_for_each_row() -> None:
    """Not for each column, along what is summed over; and stacks of matrices are no layers."""
    assert list(layers(before())) == ["remember"]
    image = RNG.normal(size=(1, 6, 4, 4)).astype(np.float32)
    made = onnx.load_model_from_string(quantise(before(), [image], ["remember"]))
    stored = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    scale = np.abs(ROWS).max(1) / 64
    np.testing.assert_allclose(stored["rows_scale"], scale, rtol=1e-6)
    np.testing.assert_array_equal(stored["rows_quantized"], np.rint(ROWS / scale[:, None])[None])
    (decode,) = [n for n in made.graph.node if n.input[0] == "rows_quantized"]
    assert [(a.name, a.i) for a in decode.attribute] == [("axis", 1)]
    # What the codes give, in float64; the stack is the identity.
    peak = float(np.abs(image).max()) / 64  # the second operand has seven bits
    codes = np.rint(image.reshape(6, 16) / peak)
    truth = (stored["rows_quantized"][0] @ codes) * scale[:, None] * peak
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(None, {"image": image})[0].reshape(2, 16)
    np.testing.assert_allclose(found, truth, atol=1e-5 * np.abs(truth).max())
