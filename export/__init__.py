"""From a training run to a qualified bundle: ONNX in float32 and float16, compared with torch.

``export_run(run_dir, out)`` and, below it, ``export_method(method, frames, out)``. Importing the
package imports neither torch nor onnx; the first use of a name does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import export_method, export_run
    from .frames import CalibrationFrame

__all__ = ["CalibrationFrame", "export_method", "export_run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
