"""From a training run to a qualified bundle: ONNX in float32 and float16, compared with torch.

``export_run(run_dir, out, options)`` and, below it, ``export_method(method, frames, out,
options)``. Importing the package imports neither torch nor onnx; the first use of one of them does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .options import CalibrationFrame, ExportOptions

if TYPE_CHECKING:
    from .exporter import export_method, export_run

__all__ = ["CalibrationFrame", "ExportOptions", "export_method", "export_run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
