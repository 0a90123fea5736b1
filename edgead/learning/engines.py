"""The engine that gives features while a bundle is learnt: on the CPU, or on a GPU.

Statistics, memory and maps are computed by the CPU's kernels whichever it is, so that a bundle
differs by the rounding of its features alone.
"""

from __future__ import annotations

import numpy as np

from edgead.bundle.storage import Bundle
from edgead.cpu.engine import OpenVINOEngine
from edgead.cpu.pipeline import Pipeline, TiledPipeline
from edgead.cpu.processor import free_memory
from edgead.engine.interface import Engine, FramePipeline, HostEngine, Pairs, Session
from edgead.engine.signals import open_signals
from edgead.serving.choice import choose
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.serving.qualification import qualify

PRECISION = "float32"  # of everything that is learnt


class HostSession:
    """One thread's buffers, in memory of the host's own: views of what a device has pinned would
    outlive it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.image = np.zeros_like(session.image)
        self.features = [np.zeros_like(one) for one in session.features]

    def infer(self) -> Pairs:
        """See ``Session``."""
        self._session.image[:] = self.image
        pairs = self._session.infer()
        for mine, theirs in zip(self.features, self._session.features, strict=True):
            mine[:] = theirs
        return pairs


class FeaturesOnHost:
    """A device's engine whose features are compared on the host.

    Args:
        bundle: on disk or a draft.
        engine: of the same bundle.

    Raises:
        BundleError: a file that is not what the manifest says.
        DeviceError: a memory larger than what is free.
    """

    kernels = "cpu"

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._engine = engine
        self.device, self.precision = engine.device, engine.precision
        self.version = engine.version
        self.signals = open_signals(bundle, free_memory)

    def session(self) -> Session:
        """Buffers for one thread."""
        return HostSession(self._engine.session())


def learning_engine(bundle: Bundle, device: str = "cpu", threads: int | None = None) -> HostEngine:
    """The engine of a bundle in float32, its memories and whitenings on the host.

    Args:
        bundle: on disk or a draft.
        device: "auto", "cpu", "cuda" or "cuda:N", as for ``Detector``.
        threads: of the engine on the CPU; None for its own choice.

    Raises:
        InputError: another word.
        DeviceError: the device or its library is missing or refuses the graph.
        BundleError: the graph is not the one the manifest describes.
    """
    choice = choose(device, bundle, PRECISION)
    engine = open_engine(bundle, choice, threads, precision=PRECISION)
    return engine if isinstance(engine, OpenVINOEngine) else FeaturesOnHost(bundle, engine)


def learning_pipeline(
    bundle: Bundle, device: str = "cpu", threads: int | None = None
) -> FramePipeline:
    """The stages of a bundle around ``learning_engine``. Args, Raises: as there."""
    engine, tiling = learning_engine(bundle, device, threads), bundle.manifest.tiling
    if not isinstance(engine, FeaturesOnHost):
        return open_pipeline(bundle, engine)
    return Pipeline(bundle, engine) if tiling is None else TiledPipeline(bundle, tiling, engine)


def qualify_on(bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
    """Qualify a bundle on a device as it will serve there, all of it on that device.

    Args:
        bundle: on disk or a draft, calibrated.
        device, threads: as for ``learning_engine``.

    Raises:
        QualificationError: a golden frame is not reproduced.
        EdgeadError: as ``learning_engine``.
    """
    choice = choose(device, bundle, PRECISION)
    qualify(bundle, open_engine(bundle, choice, threads, precision=PRECISION))
