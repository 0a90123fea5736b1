"""SIMULATION of ``tensorrt`` on a ``simulation.Device``: ONNX Runtime executes the graph.

A simulated plan is the header of a real one, 32 bytes, and the ONNX file.
"""

from __future__ import annotations

import enum
import gc
import threading
import weakref
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from simulated_driver import Simulated, bound, make_module
from simulation import ALIGNMENT, Device, Op

TAGS = {"tensorrt": b"ftrt", "rtx": b"vtrt"}
SCRATCH = 1024
COMPILED = b"compiled kernels"


def plan_bytes(model: bytes, flavour: str = "tensorrt", version: str = "10.3.0") -> bytes:
    """A simulated plan of an ONNX file."""
    numbers = bytes(int(part) for part in version.split(".")[:3]) + b"\0"
    size = (32 + len(model)).to_bytes(8, "little")
    return TAGS[flavour] + bytes(12) + size + numbers + bytes(4) + model


class DataType(enum.Enum):
    """tensorrt.DataType"""

    FLOAT = 0
    HALF = 1


class TensorIOMode(enum.Enum):
    """tensorrt.TensorIOMode"""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ProfilingVerbosity(enum.Enum):
    """tensorrt.ProfilingVerbosity"""

    NONE = 0
    DETAILED = 1


class ILogger:
    """tensorrt.ILogger"""

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self.ready = True


class Runtime(Simulated):
    """tensorrt.Runtime"""

    engine_class: type[Engine]
    version: tuple[int, ...]
    DLA_core = -1  # what the real one says where there is none

    def __init__(self, logger: Any) -> None:
        self.device.call("Runtime", gc.isenabled())
        assert logger.ready, "ILogger.__init__ was not called"
        self.logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        self.device.call("deserialize_cuda_engine", self.DLA_core)
        refused = self.device.refuse_plan
        if data[24:27] != bytes(self.version[:3]):
            refused = "The engine plan file is not compatible with this version of TensorRT"
        if refused:
            text = refused if isinstance(refused, str) else "cannot load \x1b[31mthis\nplan"
            say = partial(self.logger.log, ILogger.Severity.ERROR, text)
            if self.device.logs_elsewhere:
                thread = threading.Thread(target=say)
                thread.start()
                thread.join()
            else:
                say()
            return None
        return self.engine_class(self, bytes(data[32:]))

    def __del__(self) -> None:
        self.device.log.append(("Runtime gone", None))


class Engine(Simulated):
    """tensorrt.ICudaEngine; knows its runtime, and does not keep it alive."""

    context_class: type[ExecutionContext]
    config_class: type[RuntimeConfig]

    def __init__(self, runtime: Runtime, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.runtime = weakref.ref(runtime)
        self.logger = runtime.logger
        self.inputs = {p.name: p for p in self.session.get_inputs()}
        self.outputs = {p.name: p for p in self.session.get_outputs()}
        self.allocation = self.device.allocate(SCRATCH, "device")
        self.lock = threading.Lock()
        self.had_contexts = False

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        port = (self.inputs | self.outputs)[name]
        return tuple(side if isinstance(side, int) else -1 for side in port.shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        port = (self.inputs | self.outputs)[name]
        return DataType.FLOAT if port.type == "tensor(float)" else DataType.HALF

    def _shapes_for(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors where the input ``name`` has ``shape``, if it can have it."""
        if not all(a in (-1, b) for a, b in zip(self.get_tensor_shape(name), shape, strict=True)):
            return {}
        values = self.session.run(list(self.outputs), {name: np.zeros(shape, np.float32)})
        given = zip(self.outputs, values, strict=True)
        return {name: shape} | {output: tuple(value.shape) for output, value in given}

    def create_runtime_config(self) -> RuntimeConfig:
        return self.config_class()

    def create_execution_context(self, config: Any = None) -> ExecutionContext | None:
        if not self.lock.acquire(blocking=False):
            self.device.fault("two threads make execution contexts of one engine at once")
        try:
            self.device.call("create_execution_context", config)
            if config is not None and config.cache is not None:
                config.cache.content = COMPILED
            if self.device.free_bytes < SCRATCH:
                self.logger.log(ILogger.Severity.ERROR, "out of memory")
                return None
            return self.context_class(self)
        finally:
            self.lock.release()

    def __del__(self) -> None:
        self.device.log.append(("Engine gone", None))
        if hasattr(self, "allocation"):
            if self.runtime() is None and not self.device.collecting:
                self.device.faults.append("the runtime went before its engine")
            self.let_go("an engine")
            self.device.release(self.allocation)


class RuntimeCache(Simulated):
    """tensorrt_rtx.IRuntimeCache"""

    def __init__(self) -> None:
        self.content = b""

    def serialize(self) -> bytes | None:
        self.device.call("RuntimeCache.serialize")
        return self.content or None  # as RTX does where there is nothing to keep

    def deserialize(self, blob: bytes) -> bool:
        self.device.call("RuntimeCache.deserialize", blob)
        fits = blob == COMPILED
        self.content = blob if fits else b""
        return fits


class RuntimeConfig(Simulated):
    """tensorrt_rtx.IRuntimeConfig"""

    cache_class: type[RuntimeCache]

    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy: Any = None
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return self.cache_class()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class ExecutionContext(Simulated):
    """tensorrt.IExecutionContext; knows its engine, and does not keep it alive."""

    def __init__(self, engine: Engine) -> None:
        self.engine = weakref.ref(engine)
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.stream: int | None = None
        self.warm = False  # ran once since the shape was set, and was waited for
        self.nvtx_verbosity = "DETAILED"
        first = self.device.shares_profiles or self.device.profile_users == 0
        self.active_optimization_profile = 0 if first and not engine.had_contexts else -1
        if self.device.shares_profiles:
            self.active_optimization_profile = 0
        engine.had_contexts = True
        self.device.profile_users += self.active_optimization_profile == 0
        self.allocation = self.device.allocate(SCRATCH, "device")

    def _engine(self) -> Engine:
        engine = self.engine()
        if engine is None:
            self.device.fault("the engine went before its context")
            raise AssertionError
        return engine

    def set_optimization_profile_async(self, index: int, stream_handle: int) -> bool:
        self.device.call("set_optimization_profile_async", (index, stream_handle))
        if self.device.profile_users and not self.device.shares_profiles:
            return False
        self.active_optimization_profile = index
        self.device.profile_users += 1
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.device.call("set_input_shape", (name, tuple(shape)))
        if self.active_optimization_profile < 0:
            return False
        expected = self._engine().get_tensor_shape(name)
        self.shape, self.warm = tuple(shape), False
        self.shapes = self._engine()._shapes_for(name, self.shape)
        return all(a in (-1, b) for a, b in zip(expected, shape, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes.get(name, self._engine().get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.device.call("set_tensor_address", (name, address))
        if address % ALIGNMENT:
            self.device.fault(f"{name} is not {ALIGNMENT}-byte aligned")
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        device, engine = self.device, self._engine()
        device.call("execute_async_v3", stream_handle)
        capturing = device.queue(stream_handle).capture is not None
        if capturing and device.refuses_capture:
            engine.logger.log(ILogger.Severity.ERROR, device.refuses_capture)
            return False
        if self.stream not in (None, stream_handle):
            device.fault("one execution context on two streams")
        self.stream = stream_handle
        if capturing and not self.warm:
            device.fault("a capture before the context ran once and was waited for")
        names = (*engine.inputs, *engine.outputs)
        shapes = {name: self.get_tensor_shape(name) for name in names}
        counts = {name: 4 * int(np.prod(shape)) for name, shape in shapes.items()}
        session, feeds, results = engine.session, [*engine.inputs], [*engine.outputs]

        def run() -> None:
            def view(name: str) -> np.ndarray:
                held = device.bytes_at(self.addresses[name], counts[name])
                return held.view(np.float32).reshape(shapes[name])

            values = session.run(results, {name: view(name).copy() for name in feeds})
            for name, value in zip(results, values, strict=True):
                view(name)[:] = value
            self.warm = True

        touches = [(self.addresses[name], counts[name], name in results) for name in names]
        touches.append((self.allocation.address, SCRATCH, True))
        device.enqueue(stream_handle, Op("engine", run, tuple(touches)))
        return True

    def __del__(self) -> None:
        self.device.log.append(("Context gone", None))
        self.device.profile_users -= self.active_optimization_profile == 0
        if self.engine() is None and not self.device.collecting:
            self.device.faults.append("the engine went before its context")
        self.let_go("an execution context")
        self.device.release(self.allocation)


def tensorrt_module(
    device: Device, flavour: str = "tensorrt", version: str = "10.3.0"
) -> ModuleType:
    """``tensorrt`` or ``tensorrt_rtx``."""
    (context,) = bound(device, ExecutionContext)
    (cache,) = bound(device, RuntimeCache)
    (config,) = bound(device, RuntimeConfig, cache_class=cache)
    (engine,) = bound(device, Engine, context_class=context, config_class=config)
    numbers = tuple(map(int, version.split(".")))
    (runtime,) = bound(device, Runtime, engine_class=engine, version=numbers)
    module = make_module(
        {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}[flavour],
        __version__=version,
        ILogger=ILogger,
        Runtime=runtime,
        ICudaEngine=engine,
        IExecutionContext=context,
        DataType=DataType,
        TensorIOMode=TensorIOMode,
        ProfilingVerbosity=ProfilingVerbosity,
    )
    if flavour == "rtx":
        module.IRuntimeConfig = config  # type: ignore[attr-defined]
        module.IRuntimeCache = cache  # type: ignore[attr-defined]
        strategies = enum.Enum("DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE")
        module.DynamicShapesKernelSpecializationStrategy = strategies  # type: ignore[attr-defined]
    return module
