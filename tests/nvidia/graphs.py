"""Small ONNX graphs for the plan tests: the tiny bundle's in float16, and ones that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def halved(tiny: Any, make_frame: Callable[..., np.ndarray]) -> Any:
    """The tiny bundle's parts with ``model.fp16.onnx``.

    Its tolerance: twice the largest difference that float16 makes on the calibration frames and
    the golden ones, by onnxruntime and float64 NumPy.
    """
    from edgead.bundle.entries import Tolerance
    from edgead.images import decode_image

    model = half_graph(tiny.files["model.onnx"])
    truth = type(tiny.truth)(model, tiny.manifest)
    names = [golden.image for golden in tiny.manifest.golden]
    frames = [decode_image(tiny.files[name], name) for name in names]
    frames += [make_frame(seed) for seed in range(10)]
    score = map_ = 0.0
    for frame in frames:
        (a, b), (c, d) = tiny.truth(frame), truth(frame)
        score, map_ = max(score, abs(b - d)), max(map_, float(np.abs(a - c).max()))
    manifest = replace(
        tiny.manifest,
        models={**tiny.manifest.models, "float16": "model.fp16.onnx"},
        tolerance={**tiny.manifest.tolerance, "float16": Tolerance(2 * score, 2 * map_)},
    )
    return replace(tiny, manifest=manifest, files={**tiny.files, "model.fp16.onnx": model})


def one_node(operator: str, **attributes: object) -> bytes:
    """image -> Relu -> a node of ``operator`` named "the_odd_one" -> out."""
    domain = str(attributes.pop("domain", ""))
    extra = list(attributes.pop("inputs", []))  # type: ignore[call-overload]
    nodes = [
        helper.make_node("Relu", ["image"], ["fine"], name="fine"),
        helper.make_node(
            operator, ["fine", *extra], ["out"], name="the_odd_one", domain=domain, **attributes
        ),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "odd", [image], [out], [scales])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def float32_product(columns: int = 8, places: int = 0) -> bytes:
    """A convolution in float16 with many weights, and a small float32 matrix product; before it,
    with ``places`` = 16, a float32 matrix of 16x16 for each of the image's three channels.
    """
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.normal(0, 0.1, (64, 3, 3, 3)).astype(np.float16),
        "keys": rng.normal(0, 1, (64, columns)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w"], ["c"], name="conv", kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Cast", ["p"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["wide"], ["flat"]),
        helper.make_node("MatMul", ["flat", "keys"], ["out"], name="lookup"),
    ]
    if places:
        weights["stack"] = rng.normal(0, 1, (3, places, places)).astype(np.float32)
        nodes.insert(0, helper.make_node("MatMul", ["stack", "image"], ["white"], name="whiten"))
        nodes[1].input[0] = "white"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", columns])
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "product", [image], [out], stored)
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def int8_graph(model: bytes, folder: Path) -> bytes:
    """``model`` with explicit Q/DQ around its convolutions, made by onnxruntime as it quantises."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self._left = [rng.normal(size=(1, 3, 64, 48)).astype(np.float32) for _ in range(3)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self._left.pop()} if self._left else None

    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(model)
    quantize_static(
        source,
        target,
        Images(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        },
    )
    return target.read_bytes()
