"""``open_pipeline``: the three stages around an engine, on the engine's device."""

from __future__ import annotations

from edgead.bundle.storage import Bundle
from edgead.cpu.engine import OpenVINOEngine
from edgead.cpu.pipeline import Pipeline, TiledPipeline
from edgead.engine.interface import Engine, FramePipeline, is_isolated
from edgead.errors import InputError


def open_pipeline(bundle: Bundle, engine: Engine, color: str = "bgr") -> FramePipeline:
    """preprocess, ``engine`` and anomaly_map, with the buffers of one thread.

    Args:
        engine: of ``open_engine`` for the same bundle.
        color: order of a frame's channels, "bgr", "rgb" or "gray".

    Raises:
        BundleError: an ignore mask that does not fit.
        DeviceError: the engine's device fails.
        InputError: an engine of another kind, or another color.
    """
    tiling = bundle.manifest.tiling
    if isinstance(engine, OpenVINOEngine):
        if tiling is not None:
            return TiledPipeline(bundle, tiling, engine, color, engine.lanes)
        return Pipeline(bundle, engine, color)
    # Loaded here: everything starts faster without the modules that are not needed.
    if is_isolated(engine):
        from edgead.serving.isolated_engine import IsolatedEngine, IsolatedPipeline

        assert isinstance(engine, IsolatedEngine)
        return IsolatedPipeline(bundle, engine, color)
    from edgead.nvidia.engine import TensorRTEngine
    from edgead.nvidia.pipeline import CudaPipeline

    if not isinstance(engine, TensorRTEngine):
        raise InputError(f"the engine is a {type(engine).__name__}, expected one of open_engine")
    return CudaPipeline(bundle, engine.plan, engine.cuda, color, engine.held)
