"""A plan in TensorRT's runtime: loading, checking, execution contexts.

Everything but ``LoadedPlan.__init__`` is called while the device's context is current.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from edgead.errors import DeviceError, DeviceLostError
from edgead.nvidia.memory import Block, Memory
from edgead.nvidia.plans.cache import PlanCache
from edgead.nvidia.plans.header import AGAIN, said_by_header
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.log import BuildLog, collector_waits, listening, logger_of, signals_wait
from edgead.nvidia.plans.plan import Plan
from edgead.nvidia.plans.reasons import load_reason


class _RtxConfig:
    """How TensorRT-RTX compiles a plan's kernels for this GPU, and what it compiled before.

    All at once, before the first frame: else a graph would capture the stopgaps that run meanwhile.
    Nothing is kept of a ``plan`` that is not this machine's own: None.
    """

    def __init__(self, module: Any, config: Any, plan: Path | None) -> None:
        self.config = config
        strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
        self.config.dynamic_shapes_kernel_specialization_strategy = strategy
        self._plan, self._kept = plan, b""
        self._cache: Any = None
        if plan is not None and hasattr(self.config, "create_runtime_cache"):  # RTX 1.1
            self._cache = self.config.create_runtime_cache()
            self._kept = PlanCache(plan.parent).compiled(plan.stem) or b""
            if self._kept and not self._cache.deserialize(self._kept):
                self._kept = b""  # of another driver or GPU: compiled anew
            self.config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Keep what was compiled for the next start, where that is new."""
        if self._cache is None or self._plan is None:
            return
        data = bytes(self._cache.serialize() or b"")  # None: there is nothing that can be kept
        if data and data != self._kept:
            PlanCache(self._plan.parent).keep(self._plan.stem, ".jit", data)
            self._kept = data


class LoadedPlan:
    """A plan on the device of ``memory``.

    Args:
        tensors: expected name and shape of its input, which comes first, and outputs.

    Raises:
        DeviceError: the library does not load the plan, or its tensors are others.
    """

    def __init__(
        self, library: Library, plan: Plan, memory: Memory, tensors: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.path = plan.path
        self.memory = memory
        self.tensors = tensors
        self.device = f"cuda:{memory.index}: {memory.name}"
        self.version = str(library)
        self._module: Any = library.module
        self._input = next(iter(tensors))
        self._lock = threading.Lock()
        self._log = BuildLog()
        loading = memory.errors("loading the plan")
        with memory.current(), loading, self.listening() as log, signals_wait(log):
            try:
                self._load(library, plan)
                self._check_tensors()
            except BaseException:
                self._close()
                raise

    def new_context(self) -> Any:
        """An IExecutionContext with the shape of one image, or DeviceError."""
        making = self.memory.errors("making an execution context")
        with self._lock, making, self.listening() as log, signals_wait(log):
            given = () if self._config is None else (self._config.config,)
            context = self._engine.create_execution_context(*given)
            ok = context is not None and self._shape(context)
        if not ok:
            del context  # now, while the device's context is current
            raise DeviceError(
                f"{self.device}: {self.version} makes no execution context of {self.path}: "
                f"{self.complaint()}; it may be out of memory; TensorRT 8.5 has a "
                f"context for one thread only; else {AGAIN}"
            )
        return context

    def keep_compiled(self) -> None:
        """Keep what TensorRT-RTX compiled, after the graph ran."""
        if self._config is not None:
            with self._lock, self.memory.errors("keeping what was compiled"):
                self._config.keep()

    def listening(self) -> AbstractContextManager[BuildLog]:
        """What TensorRT says on this thread meanwhile is kept for ``complaint``."""
        return listening(self._log.part())

    def complaint(self) -> str:
        """The last error that TensorRT logged."""
        errors = self._log.errors
        return errors[-1] if errors else "it does not say why"

    def _load(self, library: Library, plan: Plan) -> None:
        module = self._module
        # In this order: each is needed as long as the next one lives.
        try:
            with collector_waits():
                self._runtime = module.Runtime(logger_of(library.module))
        except TypeError:  # what the bindings make of a null pointer
            self._runtime = None
        self._config: _RtxConfig | None = None
        self._engine: Any = None
        if self._runtime is not None:
            if plan.options is not None and plan.options.dla is not None:
                self._runtime.DLA_core = plan.options.dla  # the plan does not say which
            self._engine = self._runtime.deserialize_cuda_engine(plan.data)
        if self._engine is None:
            raise DeviceError(
                f"{plan.path}: {library} does not load this plan on {self.device}"
                f"{said_by_header(plan.data, library)}: {load_reason(self._log.errors)}"
            )
        if library.flavour == "rtx":
            own = None if plan.options is None else plan.path
            self._config = _RtxConfig(module, self._engine.create_runtime_config(), own)

    def _check_tensors(self) -> None:
        """Hold the plan's inputs and outputs against the manifest."""
        module = self._module
        count = self._engine.num_io_tensors
        names = sorted(self._engine.get_tensor_name(index) for index in range(count))
        if names != sorted(self.tensors):
            raise DeviceError(
                f"{self.path} has tensors {names}; the manifest names {sorted(self.tensors)}: it "
                f"is the plan of another bundle; {AGAIN}"
            )
        for name, shape in self.tensors.items():
            is_input = self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
            found = tuple(self._engine.get_tensor_shape(name))
            dtype = self._engine.get_tensor_dtype(name)
            # Free axes, as height and width of a backbone, get their size with the context.
            fits = len(found) == len(shape) and all(
                given in (side, -1) for given, side in zip(found, shape, strict=True)
            )
            if is_input != (name == self._input) or not fits or dtype != module.DataType.FLOAT:
                kind = "an input" if is_input else "an output"
                raise DeviceError(
                    f"{self.path}: {name!r} is {kind}, {found} {getattr(dtype, 'name', dtype)}; "
                    f"the manifest says {shape} float32, each axis that or free; {AGAIN}"
                )

    def _shape(self, context: Any) -> bool:
        """Give a context its profile and the shape of one image."""
        if hasattr(context, "nvtx_verbosity"):  # plans keep their layers' names, for inspection
            context.nvtx_verbosity = self._module.ProfilingVerbosity.NONE
        if context.active_optimization_profile < 0:  # TensorRT 8: all contexts but the first
            stream = self.memory.stream()
            if not context.set_optimization_profile_async(0, stream.handle):
                return False
            stream.synchronize()
        return bool(context.set_input_shape(self._input, self.tensors[self._input]))

    def _close(self) -> None:
        self._config = self._engine = None
        self._runtime = None  # after what it made

    def __del__(self) -> None:
        if not sys.is_finalizing() and getattr(self, "_runtime", None) is not None:
            with suppress(DeviceError), self.memory.current():  # of a device that is lost
                self._close()


class Execution:
    """An execution context and the device memory of its tensors: for one thread and stream.

    ``image`` is the input's address on the device.
    """

    def __init__(self, plan: LoadedPlan) -> None:
        self._plan = plan  # outlives the context
        self._context: Any = None
        self._blocks: dict[str, Block] = {}
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise
        self.image = self.address(next(iter(plan.tensors)))

    def _allocate(self) -> None:
        plan = self._plan
        self._context = plan.new_context()
        for name, shape in plan.tensors.items():
            block = plan.memory.allocate(4 * math.prod(shape))
            self._blocks[name] = block
            found = tuple(self._context.get_tensor_shape(name))
            if found != shape or not self._context.set_tensor_address(name, block.address):
                raise DeviceError(
                    f"{plan.path}: {name!r} is {found}, expected {shape}: {plan.complaint()}; "
                    f"{AGAIN}"
                )

    def address(self, name: str) -> int:
        """Where the tensor ``name`` lies on the device."""
        return self._blocks[name].address

    def enqueue(self, stream: int) -> None:
        """Enqueue the graph from ``image`` to its outputs, or raise DeviceLostError."""
        with self._plan.memory.errors("running the graph"), self._plan.listening():
            ok = self._context.execute_async_v3(stream)
        if not ok:
            raise DeviceLostError(
                f"{self._plan.device}: {self._plan.version} failed on a frame: "
                f"{self._plan.complaint()}; make a new Detector"
            )

    def close(self) -> None:
        """Let go of context and memory."""
        self._context = None
        for block in self._blocks.values():
            block.free()
