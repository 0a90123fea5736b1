"""Where a bundle comes from, without the paths of the machine that made it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
import torch

from .census import Census
from .compare import Comparison

_ABSOLUTE = re.compile(r"(?<![\w.:~/\\-])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\"]*[/\\])?(?=[^\s'\"])")
"""All but the last part of an absolute path inside a text; no URL, no relative path."""


def export_provenance(
    opset: int, census: Mapping[str, Census], comparison: Comparison
) -> dict[str, Any]:
    versions = {m.__name__: str(m.__version__) for m in (torch, onnx, onnxruntime)}
    return {
        "opset": opset,
        "versions": versions,
        "comparison": {
            "spread": comparison.spreads,
            "paths": [vars(difference) for difference in comparison.found],
        },
        "half_peak": comparison.half_peak,
        "census": {name: counted.to_json() for name, counted in census.items()},
    }


def without_paths(value: Any) -> Any:
    """``value`` with every absolute path cut to its last part: a bundle travels, machines stay."""
    if isinstance(value, Mapping):
        return {str(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        return _ABSOLUTE.sub("", value)
    return value
