"""ONNX bytes to a plan, with whichever TensorRT there is.

The precision is in the graph. TensorRT 10, 11 and RTX build it strongly typed; TensorRT 8 has no
such mode, so every layer is told its precision, and to obey. Either way the parsed network is
counted before anything is built.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgead.errors import DeviceError, InputError
from edgead.nvidia.plans.api import Builder, Config, Network, OnnxParser, TensorRT
from edgead.nvidia.plans.census import (
    NetworkCensus,
    check_precision,
    dtype_of,
    engine_layers,
    lacks,
    layers,
    take_census,
)
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.log import (
    BuildLog,
    clean,
    collector_waits,
    listening,
    logger_of,
    signals_wait,
)
from edgead.nvidia.plans.plan import BuildOptions
from edgead.nvidia.plans.progress import Progress, Watch, make_monitor
from edgead.nvidia.plans.reasons import no_device, reason_of

PRECISIONS = ("float32", "float16", "int8")
"""What a plan can be asked for; bfloat16 would need a graph of its own."""


@dataclass(frozen=True)
class OnnxGraph:
    """What is to be built; all tensors are float32, with a free batch axis in front.

    Args:
        onnx: bytes of the file.
        image: name and (3, height, width) of the only input.
        outputs: name to (channels, height, width).
    """

    onnx: bytes = field(repr=False)
    image: tuple[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Built:
    """A finished plan."""

    plan: bytes = field(repr=False)
    seconds: float
    census: NetworkCensus
    layers: dict[str, int] | None  # dtypes of the engine's layers; None without a GPU to look with
    off_dla: tuple[str, ...]  # layers that the DLA leaves to the GPU
    layers_in_all: int  # of the parsed network
    timing_cache: bytes = field(repr=False)  # for the next build; b"" where there is none


def build_plan(
    graph: OnnxGraph,
    library: Library,
    precision: str,
    *,
    capabilities: tuple[int, ...] = (),
    options: BuildOptions | None = None,
    timing_cache: bytes = b"",
    log: BuildLog | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Built:
    """Build ``graph`` for the current CUDA device, or ahead of time with RTX.

    Args:
        precision: one of ``PRECISIONS``.
        capabilities: RTX only: compute capabilities to build for (86 for sm_86); empty for all that
            the library covers by itself.
        timing_cache: of an earlier build, from ``Built``.

    Raises:
        InputError: a precision or option that the library does not offer.
        DeviceError: the graph, the library or the device refused.
        CancelledError: ``cancelled`` returned True.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    log = BuildLog() if log is None else log
    job = _Job(library, precision, options or BuildOptions(), log, Watch(log, progress, cancelled))
    outer = sys.exc_info()[1]  # what the caller is handling keeps its frames
    try:
        with listening(log), signals_wait(log):
            return job.build(graph, capabilities, timing_cache)
    except BaseException as error:
        # An error holds its frames. Their builder and network go now, on this thread, and not
        # whenever the error does or Python's collector comes by.
        held: BaseException | None = error
        while held is not None and held is not outer:
            traceback.clear_frames(held.__traceback__)
            held = held.__context__
        raise


class _Job:
    """One build: the library, what is asked of it, and where it logs."""

    def __init__(
        self, library: Library, precision: str, options: BuildOptions, log: BuildLog, watch: Watch
    ) -> None:
        self.library, self.precision, self.options = library, precision, options
        self.module: TensorRT = library.module
        self.log, self.watch = log, watch
        flags = self.module.NetworkDefinitionCreationFlag
        self.strongly_typed = hasattr(flags, "STRONGLY_TYPED")  # from 9.1 on
        self.logger = logger_of(self.module)
        self.monitor = make_monitor(self.module, watch)

    def build(self, graph: OnnxGraph, capabilities: tuple[int, ...], timing_cache: bytes) -> Built:
        started = time.perf_counter()
        try:
            with collector_waits():
                builder: Builder = self.module.Builder(self.logger)
        except TypeError as error:  # pybind11 says so when the factory gives nothing: no GPU
            raise self.failed("cannot start a build") from error
        self.watch.phase("parse")
        network = self.parse(builder, graph)
        census = take_census(network, self.module)
        check_precision(census, self.precision)
        config = self.config(builder, network, graph)
        if capabilities:
            _set_capabilities(self.library, config, capabilities)
        cache = _use_timing_cache(self.library, config, timing_cache)
        off_dla = self.place_on_dla(builder, network, config)
        self.watch.phase("build")
        built = builder.build_serialized_network(network, config)
        self.watch.check()  # a plan that came in spite of the wish to stop is not kept either
        if built is None:
            raise self.failed("cannot build the plan")
        plan = bytes(built)
        self.watch.phase("inspect")
        seconds = time.perf_counter() - started
        counted = self.inspect(plan, census, ahead=bool(capabilities))
        kept = b"" if cache is None else bytes(cache.serialize())
        return Built(plan, seconds, census, counted, off_dla, network.num_layers, kept)

    def failed(self, what: str) -> DeviceError:
        """The error for a step that gave nothing, with the reason from the log."""
        return DeviceError(f"{self.library} {what}: {reason_of(self.log.errors, self.library)}")

    def parse(self, builder: Builder, graph: OnnxGraph) -> Network:
        """The network of the graph, held against what the manifest says of it."""
        flag = self.module.NetworkDefinitionCreationFlag
        # TensorRT 8 must be told that the batch is an axis; later ones know no other way.
        mode = flag.STRONGLY_TYPED if self.strongly_typed else flag.EXPLICIT_BATCH
        network = builder.create_network(1 << int(mode))
        with collector_waits():
            parser: OnnxParser = self.module.OnnxParser(network, self.logger)
        adjust: Any = getattr(self.module, "OnnxParserFlag", None)  # from 8.6; the flag from 10.4
        if self.options.dla is not None and hasattr(adjust, "ADJUST_FOR_DLA"):
            parser.set_flag(adjust.ADJUST_FOR_DLA)  # type: ignore[attr-defined]
        if not parser.parse(graph.onnx):
            raise DeviceError(f"{self.library} cannot read the graph: {_parse_reasons(parser)}")
        _check_interface(network, graph, str(self.library))
        if not self.strongly_typed:
            _type_layers(network, self.module)
        return network

    def config(self, builder: Builder, network: Network, graph: OnnxGraph) -> Config:
        config = builder.create_builder_config()
        flags, options = self.module.BuilderFlag, self.options
        # Float32 is asked for where float16 is too coarse, and TF32 has float16's mantissa.
        config.clear_flag(flags.TF32)
        if not self.strongly_typed:
            config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
            if self.precision != "float32":
                config.set_flag(flags.FP16)  # an int8 graph has float16 between its convolutions
            if self.precision == "int8":
                config.set_flag(flags.INT8)
            # Every thread that serves has a context. From 10 on they share a profile anyway.
            preview: Any = getattr(self.module, "PreviewFeature", None)  # 8.6
            if hasattr(preview, "PROFILE_SHARING_0806"):
                config.set_preview_feature(preview.PROFILE_SHARING_0806, True)  # type: ignore[attr-defined]
        if options.workspace_mb is not None:
            pool = self.module.MemoryPoolType.WORKSPACE
            config.set_memory_pool_limit(pool, options.workspace_mb << 20)
        # The layers are inspected after the build; the NVTX ranges, slow, go off at run time.
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED
        profile = builder.create_optimization_profile()
        name, shape = graph.image
        least, tuned, most = ((images, *shape) for images in options.batch)
        profile.set_shape(name, least, tuned, most)
        if config.add_optimization_profile(profile) < 0:
            raise self.failed(f"refuses the batch {options.batch}")
        if self.monitor is not None:
            config.progress_monitor = self.monitor  # type: ignore[attr-defined]  # from 9 on
        return config

    def place_on_dla(self, builder: Builder, network: Network, config: Config) -> tuple[str, ...]:
        """Ask for the DLA, where that is expected; gives the layers that it leaves to the GPU."""
        core = self.options.dla
        if core is None:
            return ()
        if self.precision != "float16":
            raise InputError(
                f"a DLA is asked for in {self.precision}, and it takes float16 only: its int8 is "
                "implicit, by calibration, and edgead's graphs say where they are int8 (Q/DQ), so "
                "that all of it would fall to the GPU; use --precision float16, or no --dla"
            )
        if core >= builder.num_DLA_cores:
            raise DeviceError(
                f"DLA core {core}: this device has {builder.num_DLA_cores} of them (Jetson Orin "
                "Nano and desktop GPUs have none); leave --dla out"
            )
        config.default_device_type = self.module.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(self.module.BuilderFlag.GPU_FALLBACK)
        return tuple(layer.name for layer in layers(network) if not config.can_run_on_DLA(layer))

    def inspect(self, plan: bytes, census: NetworkCensus, *, ahead: bool) -> dict[str, int] | None:
        """The dtypes of the engine's layers, None where it cannot be loaded: without a GPU, or
        built ``ahead`` for other ones."""
        quiet = BuildLog()
        with listening(quiet):
            with collector_waits():
                runtime = self.module.Runtime(self.logger)
            if self.options.dla is not None:
                runtime.DLA_core = self.options.dla
            engine = runtime.deserialize_cuda_engine(plan)
        if engine is None and (ahead or no_device(quiet.errors)):
            self.log.add("INFO", "the engine's layers were not looked at: it cannot be loaded here")
            return None
        if engine is None:
            reason = reason_of(quiet.errors, self.library)
            raise DeviceError(f"{self.library} cannot load the plan that it just built: {reason}")
        counted = engine_layers(self.module, engine)
        said = lacks(counted, self.precision) if counted else None
        if counted is None or said is None:
            return counted
        # A strongly typed network keeps its types. There the layers that show weights prove
        # something against it only when none of its products can be hidden in a fused one.
        if self.strongly_typed and sum(counted.values()) < sum(census.products.values()):
            self.log.add("WARNING", f"{said}; layers that were fused show no weights")
            return counted
        raise DeviceError(f"{said}; this GPU or this TensorRT does not offer it")


def _parse_reasons(parser: OnnxParser) -> str:
    """What the parser objects to, each with the node and its operator where it names them."""
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node, operator = getattr(error, "node_name", None), getattr(error, "node_operator", None)
        place = f"node {error.node()}" if node is None else f"node {node()!r}"  # 8.x: a number
        if operator is not None and operator():
            place += f" ({operator()})"
        if error.node() < 0:  # not about a node: the file itself is damaged
            place = "the file"
        reasons.append(f"{place}: {clean(error.desc())}")
    return "; ".join(reasons) or "it gives no reason"


def _check_interface(network: Network, graph: OnnxGraph, library: str) -> None:
    """The parser reads what it can of damaged bytes, an empty network too; so compare."""
    for kind, count, get, expected in (
        ("inputs", network.num_inputs, network.get_input, dict([graph.image])),
        ("outputs", network.num_outputs, network.get_output, dict(graph.outputs)),
    ):
        found = {tensor.name: tensor for tensor in map(get, range(count))}
        fits = found.keys() == expected.keys() and all(
            dtype_of(tensor.dtype) == "float32" and _fits(tuple(tensor.shape), expected[key])
            for key, tensor in found.items()
        )
        if not fits:
            have = {k: (dtype_of(t.dtype), *tuple(t.shape)) for k, t in found.items()}
            raise DeviceError(
                f"{library} reads a graph with the {kind} {have or 'none'}; the manifest says "
                f"{expected}, float32, with a free batch axis: export the bundle again"
            )


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a shape with its batch can be ``expected``; -1 is an axis that only the run knows."""
    return len(shape) == len(expected) + 1 and all(
        given in (size, -1) for given, size in zip(shape[1:], expected, strict=True)
    )


def _type_layers(network: Network, module: TensorRT) -> None:
    """TensorRT 8: tell each layer to compute in the dtype that the graph gives its outputs, but not
    one of dequantised values, which is to become an int8 one."""
    untyped = ("CONSTANT", "SHAPE", "QUANTIZE", "DEQUANTIZE")  # these have a type, or none
    kinds = {"float32": module.DataType.FLOAT, "float16": module.DataType.HALF}
    dequantised = {
        layer.get_output(0).name for layer in layers(network) if layer.type.name == "DEQUANTIZE"
    }
    for layer in layers(network):
        inputs: list[Any] = [layer.get_input(index) for index in range(layer.num_inputs)]
        read = {tensor.name for tensor in inputs if tensor is not None}  # some are optional
        if layer.type.name in untyped or read & dequantised:
            continue
        dtypes = [dtype_of(layer.get_output(i).dtype) for i in range(layer.num_outputs)]
        if dtypes and all(dtype in kinds for dtype in dtypes):
            layer.precision = kinds[dtypes[0]]  # type: ignore[attr-defined]  # gone with 11
            for index, dtype in enumerate(dtypes):
                layer.set_output_type(index, kinds[dtype])  # type: ignore[attr-defined]


def _set_capabilities(library: Library, config: Any, capabilities: tuple[int, ...]) -> None:
    kinds = getattr(library.module, "ComputeCapability", None)
    if library.flavour != "rtx" or kinds is None:
        raise InputError(f"{library} builds for the GPU in this machine; leave --device out")
    known = {int(name[2:]): getattr(kinds, name) for name in dir(kinds) if name.startswith("SM")}
    for capability in capabilities:
        if capability not in known:
            raise InputError(
                f"{library} does not build for sm_{capability}; it knows "
                f"{', '.join(f'sm_{number}' for number in sorted(known))}"
            )
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(known[capability], index)


def _use_timing_cache(library: Library, config: Config, data: bytes) -> Any:
    """Attach a timing cache, an empty one where ``data`` does not fit; None with RTX, which times
    nothing at build time."""
    if library.flavour == "rtx":
        return None
    for content in (data, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None
