"""A verdict as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgead.result import Result


def describe(path: Path, result: Result) -> dict[str, Any]:
    """One element of ``frames`` in ``--json``. Regions in pixels of the frame."""
    frame: dict[str, Any] = {
        "path": str(path),
        "score": result.score,
        "p_value": result.p_value,
        "is_anomalous": result.is_anomalous,
        "regions": [asdict(region) for region in result.regions],
        "timings_ms": dict(result.timings_ms),
    }
    if result.digests is not None:
        frame["digests"] = result.digests.to_json()
    return frame
