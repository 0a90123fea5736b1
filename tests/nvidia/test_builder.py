"""Builds by the real TensorRT-RTX: what is counted, what is refused, and whom the message names."""

from __future__ import annotations

import gc
import signal
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from graphs import float32_product, half_graph, int8_graph, one_node

from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import DeviceError, InputError
from edgead.nvidia.plans.builder import Built, OnnxGraph, build_plan
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.log import BuildLog, logger_of
from edgead.nvidia.plans.plan import BuildOptions
from edgead.nvidia.plans.store import own_plan

IMAGE = ("image", (3, 64, 48))
OUTPUTS = {
    "reference_0": (8, 32, 24),
    "restored_0": (8, 32, 24),
    "reference_1": (12, 16, 12),
    "restored_1": (12, 16, 12),
}


@pytest.fixture
def build(rtx: Library):
    """``build(onnx, precision, **settings)`` of a graph with the tiny bundle's interface."""

    def call(onnx: bytes, precision: str = "float16", **settings) -> Built:
        return build_plan(OnnxGraph(onnx, IMAGE, OUTPUTS), rtx, precision, **settings)

    return call


def test_a_float16_graph_is_float16_and_counted(build, tiny) -> None:
    built = build(half_graph(tiny.files["model.onnx"]))
    # Per level: two convolutions, a relu and an add; the image's cast, and one for each output.
    assert built.census.tensors == {"float16": 9, "float32": 4}
    assert built.census.products == {"float16": 4}
    # w0 8x3x3x3, w1 8x8x3x3, w2 12x8x3x3, w3 12x12x3x3
    assert built.census.weights == {"float16": 9 * (8 * 3 + 8 * 8 + 12 * 8 + 12 * 12)}
    assert built.census.float32_products == ()
    assert built.layers is None  # no GPU to load it with
    assert built.plan[:4] == b"vtrt"
    assert built.seconds > 0


def test_float32_asked_and_got(build, tiny) -> None:
    census = build(tiny.files["model.onnx"], "float32").census
    assert set(census.tensors) == {"float32"}
    assert census.products == {"float32": 4}


def test_float16_asked_and_float32_got_is_an_error(build, tiny) -> None:
    with pytest.raises(DeviceError, match=r"float16 was asked for, and 0\.0% of the weights.*4 fl"):
        build(tiny.files["model.onnx"])


def test_the_same_through_a_bundle_whose_manifest_lies(
    plan_bundle_copy: Path, edit, rtx: Library, tiny
) -> None:
    edit(plan_bundle_copy, files={"model.fp16.onnx": tiny.files["model.onnx"]})
    bundle = open_bundle(plan_bundle_copy)
    with pytest.raises(DeviceError, match="export the bundle again") as caught:
        own_plan(bundle, rtx, device="", precision="float16")
    assert "log of the build:" in str(caught.value)


def test_float32_asked_and_float16_got_is_an_error(build, tiny) -> None:
    with pytest.raises(DeviceError, match=r"float32 was asked for.*holds 9 float16 tensors"):
        build(half_graph(tiny.files["model.onnx"]), "float32")


def test_a_small_product_may_stay_float32_and_a_large_one_not(rtx: Library) -> None:
    """512 weights of 2240 are more than a tenth, 128 of 1856 are not."""

    def build(columns: int) -> Built:
        graph = OnnxGraph(float32_product(columns), ("image", (3, 16, 16)), {})
        graph.outputs["out"] = (columns,)  # type: ignore[index]
        return build_plan(graph, rtx, "float16")

    assert build(2).census.float32_products == ("lookup",)
    with pytest.raises(DeviceError, match=r"expected 90%\. In float32: lookup"):
        build(8)


def test_a_stack_of_matrices_is_no_weight(rtx: Library) -> None:
    """3 x 16 x 16 elements would be over the tenth that may be float32."""
    graph = OnnxGraph(float32_product(2, places=16), ("image", (3, 16, 16)), {"out": (2,)})  # type: ignore[dict-item]
    census = build_plan(graph, rtx, "float16").census
    assert census.float32_products == ("whiten", "lookup")
    assert census.weights == {"float16": 64 * 27, "float32": 128}


def test_an_int8_graph_builds_and_is_int8(build, tiny, tmp_path: Path) -> None:
    census = build(int8_graph(tiny.files["model.onnx"], tmp_path), "int8").census
    assert census.products == {"int8": 4}
    assert census.tensors["int8"] >= 4


def test_int8_asked_and_float32_got_is_an_error(build, tiny) -> None:
    with pytest.raises(DeviceError, match=r"int8 was asked for, and 0\.0% of the weights"):
        build(tiny.files["model.onnx"], "int8")


@pytest.mark.parametrize(
    ("onnx", "named"),
    [
        (one_node("Det"), r"node 'the_odd_one' \(Det\)"),
        (one_node("Bernoulli"), r"node 'the_odd_one' \(Bernoulli\)"),
        (
            one_node("Magic", domain="elsewhere"),
            r"node 'the_odd_one' \(Magic\): .*Plugin",
        ),
        (
            one_node("Resize", inputs=["", "scales"], antialias=1, mode="linear"),
            r"node 'the_odd_one' \(Resize\): .*Antialiasing is not supported",
        ),
    ],
)
def test_an_operator_that_does_not_parse_is_named(build, onnx: bytes, named: str) -> None:
    with pytest.raises(DeviceError, match=rf"TensorRT-RTX \S+ cannot read the graph: {named}"):
        build(onnx)


def test_a_truncated_graph(build, tiny) -> None:
    with pytest.raises(DeviceError, match=r"cannot read the graph: the file: .*Failed to parse"):
        build(tiny.files["model.onnx"][:2000])


@pytest.mark.parametrize("onnx", [b"", b"hello"])
def test_bytes_that_the_parser_takes_for_an_empty_graph(build, onnx: bytes) -> None:
    """It says that it read them; the interface shows that it did not."""
    with pytest.raises(DeviceError, match=r"the inputs none; the manifest says.*export the bundle"):
        build(onnx, "float32")


def test_a_graph_of_another_size_than_the_manifest(rtx: Library, tiny) -> None:
    graph = OnnxGraph(tiny.files["model.onnx"], ("image", (3, 48, 64)), OUTPUTS)
    with pytest.raises(DeviceError, match=r"the inputs .*3, 64, 48.*the manifest says .*3, 48, 64"):
        build_plan(graph, rtx, "float32")
    graph = OnnxGraph(tiny.files["model.onnx"], IMAGE, {**OUTPUTS, "restored_0": (8, 32, 25)})
    with pytest.raises(DeviceError, match=r"the outputs .*the manifest says"):
        build_plan(graph, rtx, "float32")


def test_what_turing_cannot_compute_is_named_with_the_node(rtx: Library) -> None:
    graph = OnnxGraph(float32_product(2), ("image", (3, 16, 16)), {"out": (2,)})
    with pytest.raises(DeviceError, match=r"node 'lookup' has no kernel on sm_75.*leave sm_75 out"):
        build_plan(graph, rtx, "float16", capabilities=(75,))
    assert build_plan(graph, rtx, "float16", capabilities=(86, 89)).plan[:4] == b"vtrt"


def test_an_unknown_compute_capability(build, tiny) -> None:
    with pytest.raises(InputError, match=r"does not build for sm_87; it knows sm_75, sm_80"):
        build(half_graph(tiny.files["model.onnx"]), capabilities=(87,))


def test_the_log_is_kept_without_control_characters(build, tiny) -> None:
    log = BuildLog(verbose=True)
    build(half_graph(tiny.files["model.onnx"]), log=log)
    assert log.text().count("\n") > 50
    assert all(line.isprintable() for line in log.text().splitlines())
    assert log.errors == []


def test_there_is_one_logger(build, tiny, rtx: Library) -> None:
    """A second one makes TensorRT log while it holds a lock, and the process can stand still."""
    log, onnx = BuildLog(verbose=True), half_graph(tiny.files["model.onnx"])
    kept = rtx.module.Builder(logger_of(rtx.module))
    build(onnx, log=log)  # and, for its layers, a runtime
    assert "differs from one already registered" not in log.text()
    del kept


def test_ctrl_c_while_tensorrt_speaks_comes_out(build, tiny) -> None:
    """Its bindings print what a logger raises, and go on building."""

    class Interrupted(BuildLog):
        def add(self, severity: str, text: str) -> None:
            if not self._lines:
                signal.raise_signal(signal.SIGINT)
            super().add(severity, text)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(half_graph(tiny.files["model.onnx"]), log=Interrupted(verbose=True))
    assert signal.getsignal(signal.SIGINT) is before


def test_garbage_that_is_collected_while_tensorrt_speaks(build, tiny, rtx: Library) -> None:
    class Collecting(BuildLog):
        def add(self, severity: str, text: str) -> None:
            gc.collect(1)  # the young ones: all would take seconds a line
            super().add(severity, text)

    onnx = half_graph(tiny.files["model.onnx"])
    for _ in range(3):
        cycle = [rtx.module.Builder(logger_of(rtx.module))]
        cycle.append(cycle)
        held = weakref.ref(cycle[0])
        del cycle
        log = Collecting()
        build(onnx, log=log)
        assert held() is None
        assert log.text()


def test_an_error_keeps_no_builder(build) -> None:
    def builders() -> int:
        return sum(type(thing).__name__ == "Builder" for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # what follows is about what goes without it
    try:
        before = builders()
        with pytest.raises(DeviceError) as caught:
            build(b"not a graph")
        assert builders() == before
        assert caught.value
    finally:
        gc.enable()


def test_builds_side_by_side_keep_their_own_lines(build, tiny) -> None:
    good, bad = BuildLog(), BuildLog()
    onnx = half_graph(tiny.files["model.onnx"])

    def fail() -> None:
        for _ in range(5):
            with pytest.raises(DeviceError):
                build(b"not a graph", log=bad)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fail), *(pool.submit(build, onnx, log=good) for _ in range(3))]:
            done.result()
    assert bad.errors and not good.errors


@pytest.mark.parametrize("batch", [(1, 1, 1), (1, 4, 8), (2, 2, 2)])
def test_batches(build, tiny, batch: tuple[int, int, int]) -> None:
    built = build(half_graph(tiny.files["model.onnx"]), options=BuildOptions(batch))
    assert built.plan[:4] == b"vtrt"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": (0, 1, 8)}, "expected 1 <= least"),
        ({"batch": (2, 1, 8)}, "expected 1 <= least"),
        ({"batch": (1, 9, 8)}, "expected 1 <= least"),
        ({"workspace_mb": 0}, "expected at least 1"),
        ({"dla": -1, "batch": (1, 1, 1)}, "expected 0 or more"),
        ({"dla": 0, "batch": (1, 1, 8)}, "a DLA takes one batch size only"),
    ],
)
def test_options_that_make_no_sense(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        BuildOptions(**options)


def test_a_dla_that_is_not_there(build, tiny) -> None:
    options = BuildOptions((1, 1, 1), dla=0)
    with pytest.raises(DeviceError, match=r"DLA core 0: this device has 0.*leave --dla out"):
        build(half_graph(tiny.files["model.onnx"]), options=options)


@pytest.mark.parametrize("precision", ["bfloat16", "fp16", ""])
def test_a_precision_that_no_plan_has(build, tiny, precision: str) -> None:
    with pytest.raises(InputError, match="expected one of float32, float16, int8"):
        build(tiny.files["model.onnx"], precision)


def test_the_bundle_of_the_other_tests_is_one(plan_bundle: Bundle) -> None:
    """Its float16 graph gives what the float32 one does, in onnxruntime: the fixture is sound."""
    import numpy as np
    import onnxruntime

    image = np.random.default_rng(1).normal(size=(2, 3, 64, 48)).astype(np.float32)
    outputs = []
    for name in ("model.onnx", "model.fp16.onnx"):
        model = plan_bundle.read(name)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        outputs.append(session.run(list(OUTPUTS), {"image": image}))
    for wide, half in zip(*outputs, strict=True):
        # Up to four convolutions of at most 108 terms with 11-bit mantissas.
        np.testing.assert_allclose(half, wide, atol=2**-10 * np.abs(wide).max() * 8)
