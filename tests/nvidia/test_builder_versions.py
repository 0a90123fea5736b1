"""What differs between TensorRT 8, 10 and 11, and what a device refuses: against a simulation."""

from __future__ import annotations

import gc
import json
import signal

import pytest
from simulated_builder import NETWORK_FLAGS, Layer, Simulation, Tensor

from edgead.errors import CancelledError, DeviceError, InputError
from edgead.nvidia.plans.builder import Built, OnnxGraph, build_plan
from edgead.nvidia.plans.census import count_layers
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.log import BuildLog
from edgead.nvidia.plans.plan import BuildOptions

GRAPH = OnnxGraph(b"onnx", ("image", (3, 8, 8)), {"out": (8, 8, 8)})
NO_DRIVER = "CUDA initialization failure with error: 35"
VERSIONS = (8, 10, 11)


def build(simulation: Simulation, precision: str = "float16", **settings) -> Built:
    library = Library("tensorrt", (simulation.major, 0, 0), simulation.module)
    settings.setdefault("graph", GRAPH)
    return build_plan(settings.pop("graph"), library, precision, **settings)


@pytest.fixture(params=VERSIONS)
def major(request) -> int:
    return request.param


def simulation_with_gpu(major: int, **behaviour) -> Simulation:
    layers = [{"LayerType": "CaskConvolution", "Weights": {"Type": "Half", "Count": 216}}]
    return Simulation(major, inspector=json.dumps({"Layers": layers}), **behaviour)


def test_ten_and_eleven_are_strongly_typed_and_set_no_precision() -> None:
    for major in (10, 11):
        simulation = simulation_with_gpu(major)
        build(simulation)
        assert simulation.network_flags == 1 << 1
        assert simulation.flags == set()  # TF32 is off, and there is no FP16 flag to set
        assert not any(layer.output_types for layer in simulation.layers)


def test_the_flag_for_strong_typing_may_have_the_value_0(monkeypatch) -> None:
    monkeypatch.setitem(NETWORK_FLAGS, 11, {"STRONGLY_TYPED": 0})
    simulation = simulation_with_gpu(11)
    build(simulation)
    assert simulation.network_flags == 1 << 0


def test_eight_is_told_the_precision_of_each_layer_and_to_obey() -> None:
    simulation = simulation_with_gpu(8)
    build(simulation)
    assert simulation.network_flags == 1 << 0  # explicit batch
    assert simulation.flags == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    told = {layer.name: getattr(layer, "precision", None) for layer in simulation.layers}
    assert told == {"to half": "HALF", "conv": "HALF", "size": None, "from half": "FLOAT"}
    assert [layer.output_types.get(0) for layer in simulation.layers] == [
        "HALF",
        "HALF",
        None,
        "FLOAT",
    ]


def test_eight_lets_the_contexts_of_several_threads_share_the_profile() -> None:
    for major, expected in ((8, {"PROFILE_SHARING_0806": True}), (10, {}), (11, {})):
        simulation = simulation_with_gpu(major)
        build(simulation)
        assert simulation.previews == expected


def test_eight_in_int8_may_use_float16_between() -> None:
    simulation = simulation_with_gpu(8)
    simulation.layers[0].type.name = "DEQUANTIZE"
    simulation.behaviour["inspector"] = None
    simulation.behaviour["load_errors"] = [NO_DRIVER]
    build(simulation, "int8")
    assert simulation.flags == {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}
    # What reads dequantised values is to become an int8 layer, so it is told nothing.
    told = {layer.name: getattr(layer, "precision", None) for layer in simulation.layers}
    assert told == {"to half": None, "conv": None, "size": None, "from half": "FLOAT"}


def test_batch_and_workspace_reach_the_library(major: int) -> None:
    simulation = simulation_with_gpu(major)
    build(simulation, options=BuildOptions((1, 2, 8), workspace_mb=64))
    assert simulation.profiles == [{"image": ((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))}]
    assert simulation.pools == {"WORKSPACE": 64 << 20}
    assert simulation.config.profiling_verbosity == "DETAILED"


def test_without_a_gpu_a_build_cannot_start(major: int) -> None:
    for errors in ([NO_DRIVER], []):
        with pytest.raises(DeviceError, match=r"cannot start a build.*--flavour rtx"):
            build(Simulation(major, builder=False, errors=errors))


def test_out_of_device_memory_says_so(major: int) -> None:
    line = "[virtualMemoryBuffer.cpp::resizePhysical::129] Error Code 2: OutOfMemory (no details)"
    with pytest.raises(DeviceError, match=r"out of device memory.*--workspace"):
        build(Simulation(major, plan=None, errors=[line]))


def test_another_failure_is_told_in_the_librarys_words(major: int) -> None:
    with pytest.raises(DeviceError, match="cannot build the plan: 10: Could not find any impl"):
        build(Simulation(major, plan=None, errors=["10: Could not find any implementation\x07"]))


def test_eight_names_a_node_by_its_number() -> None:
    errors = [(17, "In node 17 (importResize): UNSUPPORTED_NODE: Assertion failed")]
    with pytest.raises(DeviceError, match=r"cannot read the graph: node 17: In node 17 \(importR"):
        build(Simulation(8, parser_errors=errors))


def test_the_timing_cache_goes_from_build_to_build(major: int) -> None:
    first = simulation_with_gpu(major)
    measured = build(first).timing_cache
    assert (first.timing, measured) == ([b""], b"measured")
    second = simulation_with_gpu(major)
    build(second, timing_cache=measured)
    assert second.timing == [b"measured"]


def test_a_timing_cache_of_another_gpu_is_replaced(major: int) -> None:
    simulation = simulation_with_gpu(major)
    assert build(simulation, timing_cache=b"of another GPU").timing_cache == b"measured"
    assert simulation.timing == [b"of another GPU", b""]


def test_a_dla_takes_what_it_can_and_the_rest_is_reported(major: int) -> None:
    simulation = simulation_with_gpu(major, dla_cores=2, off_dla=("size", "to half"))
    built = build(simulation, options=BuildOptions((1, 1, 1), dla=1))
    assert (built.off_dla, built.layers_in_all) == (("to half", "size"), 4)
    assert simulation.config.DLA_core == simulation.loaded_on == 1
    assert simulation.config.default_device_type == "DLA"
    assert "GPU_FALLBACK" in simulation.flags


def test_without_asking_for_a_dla_none_is_used(major: int) -> None:
    simulation = simulation_with_gpu(major, dla_cores=2)
    assert build(simulation).off_dla == ()
    assert simulation.loaded_on == -1
    assert simulation.config.default_device_type == "GPU"
    assert "GPU_FALLBACK" not in simulation.flags


def test_a_dla_core_that_is_not_there(major: int) -> None:
    with pytest.raises(DeviceError, match=r"DLA core 2: this device has 2"):
        build(Simulation(major, dla_cores=2), options=BuildOptions((1, 1, 1), dla=2))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_dla_takes_float16_only(major: int, precision: str) -> None:
    """Explicit int8 (Q/DQ) would fall to the GPU altogether, and be called the DLA's."""
    simulation = Simulation(major, dla_cores=1)
    if precision == "float32":
        for layer in simulation.layers:
            layer.get_output(0).dtype.name = "FLOAT"
    else:
        simulation.layers[0].type.name = "DEQUANTIZE"
    with pytest.raises(InputError, match=rf"asked for in {precision}, and it takes float16 only"):
        build(simulation, precision, options=BuildOptions(dla=0))


def test_compute_capabilities_are_for_rtx(major: int) -> None:
    with pytest.raises(InputError, match="builds for the GPU in this machine; leave --device out"):
        build(Simulation(major), capabilities=(86,))


@pytest.mark.parametrize("major", [10, 11])
def test_a_wish_to_stop_ends_the_build_between_two_steps(major: int) -> None:
    simulation = simulation_with_gpu(major)
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(CancelledError):
        build(
            simulation,
            progress=lambda *step: seen.append(step),
            cancelled=lambda: len(seen) > 4,
        )
    assert simulation.built == 0
    assert seen[-1][0] == "build / Timing"


def test_eight_cannot_be_stopped_in_the_middle_but_keeps_no_plan() -> None:
    simulation = simulation_with_gpu(8)
    asked = []

    def cancelled() -> bool:
        asked.append(simulation.built)
        return simulation.built > 0  # somebody pressed Ctrl-C while it was building

    with pytest.raises(CancelledError, match="no plan was built"):
        build(simulation, cancelled=cancelled)
    assert simulation.built == 1


@pytest.mark.parametrize("major", [10, 11])
def test_ctrl_c_in_the_middle_of_the_library_ends_the_build(major: int) -> None:
    """The bindings drop what their caller's Python raises, also what a signal's handler does."""
    simulation = simulation_with_gpu(major, interrupts=True)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(simulation)
    assert simulation.built == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_eight_builds_counts_when_it_is_done() -> None:
    simulation = simulation_with_gpu(8, interrupts=True, errors=["a line that is logged"])
    with pytest.raises(KeyboardInterrupt):
        build(simulation)
    assert simulation.built == 1


def test_a_handler_that_raises_nothing_is_called_at_once(major: int) -> None:
    simulation = simulation_with_gpu(major, interrupts=True, errors=["a line that is logged"])
    built_before: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: built_before.append(simulation.built))
    try:
        assert build(simulation).plan
    finally:
        signal.signal(signal.SIGINT, before)
    assert built_before == [1 if major == 8 else 0]


def test_the_collector_waits_while_a_logger_is_given(major: int) -> None:
    """A logger that comes second is told so with a lock held, which a builder's end wants too."""
    simulation = simulation_with_gpu(major)
    build(simulation)
    assert simulation.collecting == [False, False, False]  # builder, parser, runtime
    assert gc.isenabled()


def test_an_engine_whose_float16_trunk_was_fused_is_not_refused() -> None:
    """Its float32 products alone show weights; a strongly typed network keeps its types."""
    layers = [{"LayerType": "CaskGemm", "Weights": {"Type": "Float", "Count": 9}}]
    for major in VERSIONS:
        simulation = Simulation(major, inspector=json.dumps({"Layers": layers}))
        conv, log = simulation.layers[1], BuildLog()
        more = Tensor("more", "HALF", (-1, 8, 8, 8))
        simulation.layers.insert(2, Layer("CONVOLUTION", "conv 2", conv.get_output(0), more))
        if major == 8:
            with pytest.raises(DeviceError, match="no layer of the built engine"):
                build(simulation)
        else:
            assert build(simulation, log=log).layers == {"float32": 1}
            assert "[WARNING] float16 was asked for, and no layer" in log.text()


def test_an_engine_in_another_precision_than_asked_is_an_error(major: int) -> None:
    layers = [{"LayerType": "CaskConvolution", "Weights": {"Type": "Float", "Count": 9}}]
    with pytest.raises(DeviceError, match=r"no layer of the built engine.*found: 1 float32"):
        build(Simulation(major, inspector=json.dumps({"Layers": layers})))


def test_the_layers_of_the_engine_are_counted(major: int) -> None:
    assert build(simulation_with_gpu(major)).layers == {"float16": 1}


def test_an_inspector_that_says_nothing_useful_refuses_nothing(major: int) -> None:
    for text in ("", "no JSON", "[]", '{"Layers": ["conv + relu"]}', '{"Layers": []}'):
        assert build(Simulation(major, inspector=text)).layers is None


def test_a_plan_that_does_not_load_where_it_was_built_is_an_error(major: int) -> None:
    with pytest.raises(DeviceError, match="cannot load the plan that it just built: Serialization"):
        build(Simulation(major, load_errors=["Serialization assertion failed"]))


def test_what_the_inspector_of_tensorrt_10_says() -> None:
    """Layers as in engines with a free batch, from public reports; a fused one shows no weights."""
    layers = [
        {
            "Name": "conv1 + relu",
            "LayerType": "CaskConvolution",
            "Outputs": [{"Format/Datatype": "N/A due to dynamic shapes"}],
            "Weights": {"Type": "Half", "Count": 9408},
            "Bias": {"Type": "Float", "Count": 64},
        },
        {"LayerType": "CaskConvolution", "Weights": {"Type": "Int8", "Count": 36864}},
        {"LayerType": "CaskGemmConvolution", "Weights": {"Type": "Float", "Count": 10}},
        {"LayerType": "Reformat", "Outputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]},
        {"LayerType": "NoOp", "Weights": {"Type": "Half", "Count": 0}},
    ]
    assert count_layers(json.dumps({"Layers": layers})) == {"float16": 1, "float32": 1, "int8": 1}
