"""What the runtime asks of engines, which run a bundle's graph, and of pipelines around them."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead._cpu import OpenedSignals
from edgead.engine.digests import Hasher
from edgead.engine.lazy_array import LazyArray

Pairs = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(reference, reconstructed) per level, each [1, C, H, W] float32, C-contiguous."""

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
"""What a backbone can be asked to compute in; which of them a device offers is the device's."""


class Session(Protocol):
    """One thread's buffers of an engine."""

    image: NDArray[np.float32]  # [1, 3, H, W]: write a preprocessed frame here before ``infer``
    # Of each memory and whitening of the bundle, [1, C, H, W]: what ``infer`` leaves there, until
    # the next one.
    features: list[NDArray[np.float32]]

    def infer(self) -> Pairs:
        """Run the graph on ``image``; the views are valid until the next ``infer``.

        Raises:
            DeviceError: the device fails.
        """


class Engine(Protocol):
    """A graph compiled for a device. Sessions of one engine may run in different threads."""

    device: str  # kind and name, as in "CPU: AMD EPYC"
    precision: str  # what the backbone computes in, one of ``PRECISIONS``
    kernels: str  # what the kernels beside it run on: the CPU's instruction set, or "cuda"
    version: str  # name and version of the library that runs the graph

    def session(self) -> Session:
        """Buffers for one thread."""


def is_isolated(engine: Engine | None) -> bool:
    """Whether it runs in a process of its own, which can be lost while this one goes on."""
    return hasattr(engine, "pid")


class HostEngine(Engine, Protocol):
    """An engine whose features lie in host memory."""

    signals: OpenedSignals  # what they are compared with


class PipelineOutput(NamedTuple):
    """What the pipeline found in a frame, and ``perf_counter`` seconds at the stages' borders.

    The stages of all tiles count together, as if each had run in one go, with its share of the time
    that passed. A stage measured by the device's clock begins where the one before ended.
    """

    score: float
    map: NDArray[np.float32] | LazyArray  # [height, width], memory of its own
    roi: NDArray[np.uint8] | None  # [height, width] of the map, 0 where it is ignored
    kernels: str  # what they ran on, and on a GPU why not as one CUDA graph
    started: float
    preprocessed: float
    inferred: float
    finished: float
    copied: float | None = None  # seconds of copying to the device and back, in no other stage
    # What the score is pooled from; None: the map, or a device has kept it.
    scored: NDArray[np.float32] | None = None
    frame: LazyArray | None = None  # of a frame that lies in the memory of a device

    def timings_ms(self) -> dict[str, float]:
        """See ``Result``; "copy" only of an engine that copies."""
        timings = {
            "preprocess": 1e3 * float(self.preprocessed - self.started),
            "engine": 1e3 * float(self.inferred - self.preprocessed),
            "anomaly_map": 1e3 * float(self.finished - self.inferred),
        }
        if self.copied is not None:
            timings["copy"] = 1e3 * self.copied
        timings["total"] = 1e3 * (perf_counter() - self.started)
        return timings


class Qualified(NamedTuple):
    """An engine that reproduced the golden frames, and what the kernels ran on meanwhile."""

    engine: Engine
    kernels: str


class FramePipeline(Protocol):
    """The three stages on some device, with the buffers of one thread."""

    def run(self, frame: Any, hasher: Hasher | None = None) -> PipelineOutput:
        """Score one frame.

        Args:
            frame: as for ``Detector.score``.
            hasher: is shown what the stages made; its time is in none of them.

        Raises:
            InputError: not a frame, or smaller than a tile.
            DeviceError: the device is out of memory, fails or gives features that are not finite.
        """

    def close(self) -> None:
        """Let go of the buffers; what was found stays. A second call does nothing."""
