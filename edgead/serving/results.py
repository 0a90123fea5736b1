"""A Result of what a pipeline found, by the limits of the engine that served."""

from __future__ import annotations

from typing import Any

from edgead import calibration
from edgead.engine.digests import Hasher
from edgead.engine.interface import PipelineOutput
from edgead.engine.lazy_array import LazyArray, as_array
from edgead.result import LazyResult, Result
from edgead.serving.limits import Serving


def result_of(
    found: PipelineOutput, state: Serving, frame: Any, hasher: Hasher | None, **given: Any
) -> Result:
    """The verdict on ``frame``.

    Args:
        hasher: has what the stages made of it.
        given: ``color`` and ``bit_depth``.
    """
    limits = state.limits
    p = calibration.ranked_p_value(found.score, state.ranked)
    digests = None
    if hasher is not None:
        seen = frame if found.frame is None else found.frame.array()
        digests = hasher.digests(seen, as_array(found.map), state.served)
    kind: Any = LazyResult if isinstance(found.map, LazyArray) or found.frame else Result
    result: Result = kind(
        score=found.score,
        p_value=p,
        is_anomalous=p <= limits.rate,
        threshold=limits.threshold,
        map=found.map,
        timings_ms=found.timings_ms(),
        scale=limits.scale,
        roi=found.roi,
        digests=digests,
        **given,
    )
    return result
