"""Small ONNX graphs for the plan tests: the tiny bundle's in float16, and ones that fail."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, load_model_from_string, numpy_helper


def half_graph(model: bytes) -> bytes:
    """The tiny bundle's graph with its trunk in float16; image and outputs stay float32."""
    model_proto: ModelProto = load_model_from_string(model)
    graph = model_proto.graph
    for tensor in graph.initializer:
        narrow = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "image" or name in outputs:
                    names[index] = f"{name}_half"
    casts = [helper.make_node("Cast", ["image"], ["image_half"], to=TensorProto.FLOAT16)]
    casts += [*graph.node]
    casts += [
        helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)
        for name in sorted(outputs)
    ]
    del graph.node[:]
    graph.node.extend(casts)
    return bytes(model_proto.SerializeToString())
