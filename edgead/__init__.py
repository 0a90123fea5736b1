"""edgead: find what is unlike the good parts, on the machine that has the camera.

>>> detector = edgead.Detector("cell.edgead")
>>> result = detector.score(frame)  # [H, W] or [H, W, 3], uint8 or uint16
>>> result.is_anomalous, result.p_value, result.regions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgead.errors import (
    BundleError,
    CalibrationError,
    DeviceError,
    DeviceLostError,
    EdgeadError,
    InputError,
    QualificationError,
    SignatureError,
)
from edgead.installation import __version__

if TYPE_CHECKING:
    from edgead.detector import Detector
    from edgead.images import read_image
    from edgead.images.nv12 import Nv12
    from edgead.monitoring.drift import Drift
    from edgead.monitoring.finding import Finding
    from edgead.monitoring.health import Health
    from edgead.result import Region, Result

__all__ = [
    "BundleError",
    "CalibrationError",
    "Detector",
    "DeviceError",
    "DeviceLostError",
    "Drift",
    "EdgeadError",
    "Finding",
    "Health",
    "InputError",
    "Nv12",
    "QualificationError",
    "Region",
    "Result",
    "SignatureError",
    "__version__",
    "read_image",
]

_LAZY = {
    "Detector": "edgead.detector",
    "Drift": "edgead.monitoring.drift",
    "Finding": "edgead.monitoring.finding",
    "Health": "edgead.monitoring.health",
    "Nv12": "edgead.images.nv12",
    "Region": "edgead.result",
    "read_image": "edgead.images",
    "Result": "edgead.result",
}


def __getattr__(name: str) -> Any:
    """Load the classes on first use, so that ``edgead.errors`` alone costs nothing."""
    if name == "_cpu":  # asked for before it is imported
        from edgead.installation import load_kernels

        return load_kernels()
    if name not in _LAZY:
        raise AttributeError(f"module 'edgead' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
