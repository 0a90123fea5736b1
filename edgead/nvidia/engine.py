"""TensorRT and TensorRT-RTX on an NVIDIA GPU: plans of this machine, tensors by their names.

What is loaded, in this order: the bundle (manifest and digests), the plan's header, its version and
device, the plan itself, its tensors against the manifest; the Detector then asks for the golden
frames.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.engine.interface import Pairs
from edgead.errors import BundleError, DeviceError, DeviceLostError
from edgead.nvidia.devices import device_word
from edgead.nvidia.kernels import load_kernels
from edgead.nvidia.memory import Block, open_memory
from edgead.nvidia.plans.header import AGAIN
from edgead.nvidia.plans.library import Library, find_library
from edgead.nvidia.plans.log import BuildLog, collector_waits, listening, logger_of, signals_wait
from edgead.nvidia.plans.progress import Progress
from edgead.nvidia.plans.reasons import load_reason
from edgead.nvidia.plans.rtx import RtxConfig
from edgead.nvidia.plans.store import Plan, given_plan, own_plan

if TYPE_CHECKING:
    from edgead.engine.interface import FramePipeline

PRECISION = "float16"
"""What a GPU computes in when nothing else is asked for."""


class TensorRTEngine:
    """``models[precision]`` of a bundle as a plan on ``cuda:index``, with a batch of one.

    ``plan``: a file to load instead of the plan with the default options; refused unless it lies in
    this user's plan cache or ``trust_plan`` is said.
    ``progress``, ``cancelled``: of the build, where there is no plan yet; see ``own_plan``.

    Errors: BundleError for a precision that the bundle does not have; DeviceError: PyCUDA, driver,
    device, kernels, library or plan are missing or refused, the build fails, or the plan's tensors
    are not those of the manifest; CancelledError.
    """

    def __init__(
        self,
        bundle: Bundle,
        index: int = 0,
        *,
        precision: str | None = None,
        plan: str | os.PathLike[str] | None = None,
        trust_plan: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.precision = PRECISION if precision is None else precision
        self.memory = open_memory(index)
        self.cuda = load_kernels(self.memory.capability)
        self.no_graph: str | None = None  # why frames do not run as a CUDA graph
        if self.precision not in bundle.manifest.models:
            raise BundleError(
                f"bundle {bundle.path} has no {self.precision} graph, only "
                f"{', '.join(bundle.manifest.models)}: export it again with that precision; a GPU "
                "computes in what the graph says"
            )
        self._lock = threading.Lock()
        self._log = BuildLog()
        if plan is not None:
            library, found = given_plan(plan, bundle, self.precision, trust=trust_plan)
        else:
            library = find_library()
            device = device_word(self.memory.name, self.memory.capability)
            with self.memory.current():  # TensorRT builds for the device that is current
                found = own_plan(
                    bundle,
                    library,
                    device=device,
                    precision=self.precision,
                    progress=progress,
                    cancelled=cancelled,
                )
        self.plan = found.path
        self.device = f"cuda:{index}: {self.memory.name}"
        self.version = str(library)
        self.tensors = _tensors(bundle)
        self.pairs = tuple((pair.reference, pair.restored) for pair in bundle.manifest.pairs)
        self._input = bundle.manifest.input_name
        loading = self.memory.errors("loading the plan")
        with self.memory.current(), loading, self.listening() as log, signals_wait(log):
            try:
                self._load(library, found)
                self._check_tensors(library.module)
            except BaseException:
                self._close()
                raise

    def __repr__(self) -> str:
        return f"TensorRTEngine({self.device}, {self.precision}, {self.version})"

    @property
    def kernels(self) -> str:
        """ "cuda", and why frames do not run as one CUDA graph where they do not."""
        return "cuda" if self.no_graph is None else f"cuda, without a CUDA graph: {self.no_graph}"

    def session(self) -> TensorRTSession:
        """Buffers for one thread, image and pairs in host memory.

        Errors: DeviceError when the device is out of memory or fails.
        """
        return TensorRTSession(self)

    def pipeline(self, bundle: Bundle, color: str) -> FramePipeline:
        """The three stages on the GPU, on one stream."""
        from edgead.nvidia.pipeline import CudaPipeline

        return CudaPipeline(bundle, self, color)

    def new_context(self) -> Any:
        """An IExecutionContext with the shape of one image; the device's context is current.

        Errors: DeviceError.
        """
        making = self.memory.errors("making an execution context")
        with self._lock, making, self.listening() as log, signals_wait(log):
            given = () if self._config is None else (self._config.config,)
            context = self._engine.create_execution_context(*given)
            ok = context is not None and self._shape(context)
        if not ok:
            del context  # now, while the device's context is current
            raise DeviceError(
                f"{self.device}: {self.version} makes no execution context of {self.plan}: "
                f"{self.complaint()}; it may be out of memory; TensorRT 8.5 has a "
                f"context for one thread only; else {AGAIN}"
            )
        return context

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

    def keep_compiled(self) -> None:
        """Called after a graph ran; the device's context is current."""
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

    def _load(self, library: Library, found: Plan) -> None:
        module: Any = library.module
        self._module = module
        # In this order: each is needed as long as the next one lives.
        try:
            with collector_waits():
                self._runtime = module.Runtime(logger_of(library.module))
        except TypeError:  # what the bindings make of a null pointer
            self._runtime = None
        self._config: RtxConfig | None = None
        self._engine: Any = None
        if self._runtime is not None:
            if found.options is not None and found.options.dla is not None:
                self._runtime.DLA_core = found.options.dla  # the plan does not say which
            self._engine = self._runtime.deserialize_cuda_engine(found.data)
        if self._engine is None:
            raise DeviceError(
                f"{found.path}: {library} does not load this plan on {self.device}: "
                f"{load_reason(self._log.errors)}"
            )
        if library.flavour == "rtx":
            own = None if found.options is None else found.path
            self._config = RtxConfig(module, self._engine.create_runtime_config(), own)

    def _check_tensors(self, module: Any) -> None:
        """Hold the plan's inputs and outputs against the manifest."""
        count = self._engine.num_io_tensors
        names = sorted(self._engine.get_tensor_name(index) for index in range(count))
        if names != sorted(self.tensors):
            raise DeviceError(
                f"{self.plan} has tensors {names}; the manifest names {sorted(self.tensors)}: it "
                f"is the plan of another bundle; {AGAIN}"
            )
        for name, shape in self.tensors.items():
            is_input = self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
            found = tuple(self._engine.get_tensor_shape(name))
            dtype = self._engine.get_tensor_dtype(name)
            fits = found[1:] == shape[1:] and found[:1] in ((1,), (-1,))
            if is_input != (name == self._input) or not fits or dtype != module.DataType.FLOAT:
                kind = "an input" if is_input else "an output"
                raise DeviceError(
                    f"{self.plan}: {name!r} is {kind}, {found} {getattr(dtype, 'name', dtype)}; "
                    f"the manifest says {shape} float32, the first axis free or 1; {AGAIN}"
                )

    def _close(self) -> None:
        """In this order, while the device's context is current."""
        self._config = self._engine = None
        self._runtime = None

    def __del__(self) -> None:
        if not sys.is_finalizing() and getattr(self, "_runtime", None) is not None:
            with suppress(DeviceError), self.memory.current():  # of a device that is lost
                self._close()


class Execution:
    """An execution context and the device memory of its tensors: for one thread and stream.

    To be made, used and closed while ``engine.memory.current()``.

    Errors: DeviceError.
    """

    def __init__(self, engine: TensorRTEngine) -> None:
        self._engine = engine  # outlives the context
        self._context: Any = None
        self._blocks: dict[str, Block] = {}
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise
        self.image = self._blocks[next(iter(engine.tensors))].address
        self.pairs = [(self._blocks[a].address, self._blocks[b].address) for a, b in engine.pairs]

    def _allocate(self) -> None:
        engine = self._engine
        self._context = engine.new_context()
        for name, shape in engine.tensors.items():
            block = engine.memory.allocate(4 * math.prod(shape))
            self._blocks[name] = block
            found = tuple(self._context.get_tensor_shape(name))
            if found != shape or not self._context.set_tensor_address(name, block.address):
                raise DeviceError(
                    f"{engine.plan}: {name!r} is {found}, expected {shape}: {engine.complaint()}; "
                    f"{AGAIN}"
                )

    def address(self, name: str) -> int:
        """Where the tensor ``name`` lies on the device."""
        return self._blocks[name].address

    def enqueue(self, stream: int) -> None:
        """Run the graph from ``image`` to ``pairs`` on a stream.

        Errors: DeviceLostError.
        """
        with self._engine.memory.errors("running the graph"), self._engine.listening():
            ok = self._context.execute_async_v3(stream)
        if not ok:
            raise DeviceLostError(
                f"{self._engine.device}: {self._engine.version} failed on a frame: "
                f"{self._engine.complaint()}; make a new Detector"
            )

    def close(self) -> None:
        """Let go of context and memory."""
        self._context = None
        for block in self._blocks.values():
            block.free()


class TensorRTSession:
    """Image and pairs in pinned host memory, copied to the device and back by ``infer``.

    The graph alone with its copies, as other engines are used; a Detector keeps everything on the
    device, see ``CudaPipeline``.
    """

    def __init__(self, engine: TensorRTEngine) -> None:
        self._engine = engine
        self._memory = engine.memory
        with self._memory.current():
            self._stream = self._memory.stream()
            self._execution = Execution(engine)
            self._host = {
                name: self._memory.pinned(4 * math.prod(shape))
                for name, shape in engine.tensors.items()
            }
        views: dict[str, NDArray[np.float32]] = {
            name: self._host[name].array.view(np.float32).reshape(shape)
            for name, shape in engine.tensors.items()
        }
        self._input = next(iter(views))
        self.image = views[self._input]
        self._pairs: Pairs = [(views[a], views[b]) for a, b in engine.pairs]

    def infer(self) -> Pairs:
        """Run the graph on ``image``; the views are valid until the next ``infer``.

        Errors: DeviceLostError.
        """
        stream, execution = self._stream, self._execution
        with self._memory.current():
            stream.upload(execution.image, self._host[self._input].array)
            execution.enqueue(stream.handle)
            for name, host in self._host.items():
                if name != self._input:
                    stream.download(host.array, execution.address(name))
            stream.synchronize()
        return self._pairs

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "_execution"):
            with suppress(DeviceError), self._memory.current():
                self._execution.close()
                self._pairs.clear()
                del self.image
                self._host.clear()


def _tensors(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Name to shape of the graph's input, which comes first, and outputs, for one image."""
    manifest = bundle.manifest
    found: dict[str, tuple[int, ...]] = {
        manifest.input_name: (1, 3, *manifest.preprocess_params().size)
    }
    for pair, shape in zip(manifest.pairs, manifest.shapes(), strict=True):
        found[pair.reference] = found[pair.restored] = (1, *shape)
    return found
