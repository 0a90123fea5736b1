"""TensorRT and TensorRT-RTX on an NVIDIA GPU: plans of this machine, tensors by their names."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.engine.interface import Pairs
from edgead.engine.signals import read_memories, read_whitenings
from edgead.errors import BundleError, DeviceError
from edgead.nvidia.distances import Held
from edgead.nvidia.kernels import PRECISION, load_kernels
from edgead.nvidia.loaded_plan import Execution, LoadedPlan
from edgead.nvidia.memories import hold_memories
from edgead.nvidia.memory import open_memory
from edgead.nvidia.plans.library import find_library
from edgead.nvidia.plans.progress import Progress
from edgead.nvidia.plans.store import given_plan, own_plan
from edgead.nvidia.whitenings import hold_whitenings


class TensorRTEngine:
    """A graph of a bundle as a plan on ``cuda:index``, with a batch of one; see ``open_engine``.

    Args:
        progress, cancelled: of the build, where there is no plan yet; see ``own_plan``.

    Raises:
        BundleError: a precision that the bundle does not have.
        DeviceError: PyCUDA, driver, device, kernels, library or plan are missing or refused, the
            build fails, or the plan's tensors are not those of the manifest.
        CancelledError: ``cancelled`` returned True.
    """

    kernels = "cuda"

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
        memory = open_memory(index)
        self.cuda = load_kernels(memory.capability)
        if self.precision not in bundle.manifest.models:
            there = ", ".join(bundle.manifest.models)
            raise BundleError(
                f"bundle {bundle.path} has no {self.precision} graph, only {there}: export or "
                "learn it again with that precision; a GPU computes in what the graph says"
            )
        if plan is not None:
            library, found = given_plan(plan, bundle, self.precision, trust=trust_plan)
        else:
            library = find_library()
            device = memory.word
            with memory.current():  # TensorRT builds for the device that is current
                found = own_plan(
                    bundle,
                    library,
                    device=device,
                    precision=self.precision,
                    progress=progress,
                    cancelled=cancelled,
                )
        self.plan = LoadedPlan(library, found, memory, bundle.manifest.tensors())
        self.device = self.plan.device
        self.version = self.plan.version
        # First, so that what is left tells how many features fit beside them.
        entries = bundle.manifest.whitenings
        whitenings = hold_whitenings(entries, read_whitenings(bundle), self.cuda, memory)
        read = read_memories(bundle)
        self.held: Held = hold_memories(bundle.manifest.memories, read, self.cuda, memory)
        self.held += whitenings
        self._pairs = [(pair.reference, pair.restored) for pair in bundle.manifest.pairs]

    def __repr__(self) -> str:
        return f"TensorRTEngine({self.device}, {self.precision}, {self.version})"

    def session(self) -> TensorRTSession:
        """Buffers for one thread; DeviceError when the device is out of memory or fails."""
        features = [one.entry.features for one in self.held]
        return TensorRTSession(self.plan, self._pairs, features)


class TensorRTSession:
    """The graph alone, its image and pairs copied between pinned host memory and the device by
    ``infer``; a Detector keeps everything on the device, see ``CudaPipeline``."""

    def __init__(
        self, plan: LoadedPlan, pairs: list[tuple[str, str]], features: Sequence[str] = ()
    ) -> None:
        self._memory, tensors = plan.memory, plan.tensors
        with self._memory.current():
            self._stream = self._memory.stream()
            self._execution = Execution(plan)
            self._host = {
                name: self._memory.pinned(4 * math.prod(shape)) for name, shape in tensors.items()
            }
        views: dict[str, NDArray[np.float32]] = {
            name: self._host[name].array.view(np.float32).reshape(shape)
            for name, shape in tensors.items()
        }
        self._input = next(iter(views))
        self.image = views[self._input]
        self._pairs: Pairs = [(views[a], views[b]) for a, b in pairs]
        self.features = [views[name] for name in features]

    def infer(self) -> Pairs:
        """See ``Session``."""
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
                self.features.clear()
                del self.image
                self._host.clear()
