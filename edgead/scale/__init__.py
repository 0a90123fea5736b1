"""Beyond one process and one machine: Triton, Ray, data sets of any size."""

from __future__ import annotations

from typing import Any

__all__ = ["DatasetScores", "score_dataset"]


def __getattr__(name: str) -> Any:
    """Load the runtime when it is asked for, as ``import edgead`` does."""
    if name in __all__:
        from edgead.scale import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module 'edgead.scale' has no attribute {name!r}")
