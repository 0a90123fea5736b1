"""A SIMULATION of the building half of TensorRT 8.6, 10 and 11: it records, and builds nothing.

Only for the flow of ``nvidia.plans.builder``: which flags are set, in which order, what happens
when a step gives nothing. Which names a version has is from NVIDIA's documentation. What TensorRT
makes of them is not shown by it.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

FLAGS = {
    8: ("FP16", "INT8", "TF32", "GPU_FALLBACK", "OBEY_PRECISION_CONSTRAINTS"),
    10: ("FP16", "INT8", "TF32", "GPU_FALLBACK", "OBEY_PRECISION_CONSTRAINTS"),
    11: ("TF32", "GPU_FALLBACK"),
}
NETWORK_FLAGS = {
    8: {"EXPLICIT_BATCH": 0},
    10: {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    11: {"STRONGLY_TYPED": 1},
}


class Tensor:
    def __init__(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape
        self.dtype = SimpleNamespace(name=dtype)


class Layer:
    """A layer; versions 8 and 10 let its precision be set."""

    def __init__(self, kind: str, name: str, source: Tensor, output: Tensor) -> None:
        self.type, self.name = SimpleNamespace(name=kind), name
        self._inputs, self._outputs = [source], [output]
        self.num_inputs = self.num_outputs = 1
        self.output_types: dict[int, Any] = {}
        self.num_output_maps, self.num_groups, self.kernel_size_nd = 8, 1, (3, 3)

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_types[index] = kind


def half_network() -> list[Layer]:
    """image -> cast -> convolution in float16 -> its shape; and a cast -> out, in float32."""
    image, half = Tensor("image", "FLOAT", (-1, 3, 8, 8)), Tensor("half", "HALF", (-1, 3, 8, 8))
    features = Tensor("features", "HALF", (-1, 8, 8, 8))
    return [
        Layer("CAST", "to half", image, half),
        Layer("CONVOLUTION", "conv", half, features),
        Layer("SHAPE", "size", features, Tensor("size", "INT64", (4,))),
        Layer("CAST", "from half", features, Tensor("out", "FLOAT", (-1, 8, 8, 8))),
    ]


class Simulation:
    """``module``: what stands for the imported package; the rest is what was done to it."""

    def __init__(self, major: int, **behaviour: Any) -> None:
        self.major = major
        self.behaviour = {
            "builder": True,  # False: no GPU, the factory gives nothing
            "plan": b"ftrt" + bytes(20) + bytes([major, 0, 0, 0]) + bytes(36),
            "errors": [],  # lines that the library logs when it fails
            "parser_errors": [],
            "dla_cores": 0,
            "off_dla": (),
            "steps": 5,
            "inspector": None,  # None: the engine cannot be loaded
            "load_errors": [],
            "interrupts": False,  # Ctrl-C, just before the library calls into Python
            **behaviour,
        }
        self.flags: set[str] = {"TF32"}  # on by default
        self.pools: dict[str, int] = {}
        self.network_flags = 0
        self.config: Any = None
        self.profiles: list[dict[str, Any]] = []
        self.timing: list[bytes] = []
        self.layers: list[Layer] = half_network()
        self.built = 0
        self.collecting: list[
            bool
        ] = []  # whether Python's collector may run, for each logger given
        self.loaded_on: int | None = None  # DLA core of the runtime
        self.previews: dict[str, bool] = {}
        self.module = self._module()

    def _module(self) -> Any:
        words = ("WORKSPACE", "DETAILED", "DLA", "FLOAT", "HALF", "JSON")
        enum = SimpleNamespace(**{word: word for word in words})
        names: dict[str, Any] = {
            "__version__": f"{self.major}.0.0",
            "ILogger": Logger,
            "NetworkDefinitionCreationFlag": SimpleNamespace(**NETWORK_FLAGS[self.major]),
            "BuilderFlag": SimpleNamespace(**{flag: flag for flag in FLAGS[self.major]}),
            "IConvolutionLayer": Layer,
            "Builder": lambda logger: self._builder(logger),
            "OnnxParser": lambda network, logger: Parser(self),
            "Runtime": lambda logger: Runtime(self, logger),
        }
        for name in ("MemoryPoolType", "ProfilingVerbosity", "DeviceType", "DataType"):
            names[name] = enum
        names["LayerInformationFormat"] = enum
        if self.major > 8:
            names["IProgressMonitor"] = Logger
        else:
            names["PreviewFeature"] = SimpleNamespace(PROFILE_SHARING_0806="PROFILE_SHARING_0806")
        return SimpleNamespace(**names)

    def _builder(self, logger: Any) -> Builder:
        self.collecting.append(gc.isenabled())
        if not self.behaviour["builder"]:
            self.fail(logger, self.behaviour["errors"])
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return Builder(self, logger)

    def fail(self, logger: Any, lines: list[str]) -> None:
        for line in lines:
            self.into_python(lambda line=line: logger.log(SimpleNamespace(name="ERROR"), line))

    def into_python(self, call: Callable[[], Any]) -> Any:
        """As NVIDIA's bindings call: an exception is dropped, and counts as False."""
        try:
            if self.behaviour["interrupts"]:
                self.behaviour["interrupts"] = False
                signal.raise_signal(signal.SIGINT)
            return call()
        except BaseException:
            return False


class Logger:
    """Stands for ILogger and IProgressMonitor: a class to derive from."""


class Parser:
    def __init__(self, simulation: Simulation) -> None:
        simulation.collecting.append(gc.isenabled())
        self._errors = simulation.behaviour["parser_errors"]
        self.num_errors = len(self._errors)

    def parse(self, model: bytes) -> bool:
        return not self._errors

    def get_error(self, index: int) -> Any:
        number, text = self._errors[index]
        return SimpleNamespace(node=lambda: number, desc=lambda: text)  # 8.x names no node


class Network:
    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self.num_layers, self.num_inputs, self.num_outputs = len(layers), 1, 1

    def get_layer(self, index: int) -> Layer:
        return self._layers[index]

    def get_input(self, index: int) -> Tensor:
        return self._layers[0].get_input(0)

    def get_output(self, index: int) -> Tensor:
        return self._layers[-1].get_output(0)


class Config:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.default_device_type: Any = "GPU"

    def set_flag(self, flag: str) -> None:
        self._simulation.flags.add(flag)

    def set_preview_feature(self, feature: str, enable: bool) -> None:
        self._simulation.previews[feature] = enable

    def clear_flag(self, flag: str) -> None:
        self._simulation.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
        self._simulation.pools[pool] = pool_size

    def add_optimization_profile(self, profile: Any) -> int:
        self._simulation.profiles.append(profile.shapes)
        return 0

    def can_run_on_DLA(self, layer: Layer) -> bool:
        return layer.name not in self._simulation.behaviour["off_dla"]

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        self._simulation.timing.append(serialized_timing_cache)
        measured = serialized_timing_cache or b"measured"
        return SimpleNamespace(content=serialized_timing_cache, serialize=lambda: measured)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return cache.content != b"of another GPU"


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class Builder:
    def __init__(self, simulation: Simulation, logger: Any) -> None:
        self._simulation, self._logger = simulation, logger
        self.num_DLA_cores = simulation.behaviour["dla_cores"]

    def create_network(self, flags: int = 0) -> Network:
        self._simulation.network_flags = flags
        return Network(self._simulation.layers)

    def create_builder_config(self) -> Config:
        self._simulation.config = Config(self._simulation)
        return self._simulation.config

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            steps, call = self._simulation.behaviour["steps"], self._simulation.into_python
            call(lambda: monitor.phase_start("Timing", None, steps))
            for step in range(steps):
                if not call(lambda step=step: monitor.step_complete("Timing", step)):
                    return None
            call(lambda: monitor.phase_finish("Timing"))
        self._simulation.built += 1
        self._simulation.fail(self._logger, self._simulation.behaviour["errors"])
        return self._simulation.behaviour["plan"]


class Runtime:
    def __init__(self, simulation: Simulation, logger: Any) -> None:
        simulation.collecting.append(gc.isenabled())
        self._simulation, self._logger = simulation, logger
        self.DLA_core = -1

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self._simulation.loaded_on = self.DLA_core
        text = self._simulation.behaviour["inspector"]
        if text is None:
            self._simulation.fail(self._logger, self._simulation.behaviour["load_errors"])
            return None
        inspector = SimpleNamespace(get_engine_information=lambda kind: text)
        return SimpleNamespace(create_engine_inspector=lambda: inspector)
