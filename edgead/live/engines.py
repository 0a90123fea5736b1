"""Engines that several cameras share, and each camera's own view of its Detector."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.detector import Detector
from edgead.errors import InputError
from edgead.result import Result
from edgead.serving.limits import Limits, limits_of

Key = tuple[Any, ...]


@dataclass(eq=False)
class Engines:
    """Opens a Detector once for all cameras whose bundle and settings are equal.

    It is closed when no View holds it any more.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: weakref.WeakValueDictionary[Key, Detector] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def detector(self, bundle: Bundle, settings: Mapping[str, Any]) -> Detector:
        """The Detector of ``bundle`` with these arguments; opened when there is none.

        Raises:
            EdgeadError: as ``Detector``.
        """
        key = bundle.sha256, *sorted(settings.items())
        with self._lock:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = Detector(bundle, **settings)
            return found


class View:
    """A Detector as one camera uses it: with its own false-reject rate and bit depth.

    Args:
        engines: where the Detector comes from.
        bundle: opened.
        settings: arguments of ``Detector``.

    Raises:
        EdgeadError: as ``Detector``.
    """

    def __init__(self, engines: Engines, bundle: Bundle, settings: Mapping[str, Any]) -> None:
        self.bundle = bundle
        self._engines = engines
        self._settings = {k: v for k, v in settings.items() if k != "false_reject_rate"}
        self._declared = settings.get("bit_depth")
        self._detector = engines.detector(bundle, self._settings)
        self._bit_depth = self._detector.bit_depth
        rate = settings.get("false_reject_rate")
        self._limits = self._limits_of(self._detector.false_reject_rate if rate is None else rate)

    @property
    def bit_depth(self) -> int | None:
        """Of uint16 frames whose camera does not say it."""
        return self._bit_depth

    @property
    def false_reject_rate(self) -> float:
        """The allowed share of good frames called anomalous; set it at any time.

        Raises:
            CalibrationError: set to a rate the calibration images cannot promise.
        """
        return self._limits.rate

    @false_reject_rate.setter
    def false_reject_rate(self, rate: float) -> None:
        self._limits = self._limits_of(rate)

    @property
    def threshold(self) -> float:
        """Frames that score above are anomalous at the present ``false_reject_rate``."""
        return self._limits.threshold

    def info(self) -> dict[str, str]:
        """As that of ``Detector``."""
        return self._detector.info()

    def score(self, frame: NDArray[Any], bit_depth: int | None = None) -> Result:
        """Score a frame; ``bit_depth``: of uint16, where the camera says it.

        Raises:
            InputError: as ``Detector.score``, or the camera contradicts what was declared.
            DeviceError: the engine fails.
        """
        result = self._with_depth(bit_depth).score(frame)
        limits = self._limits
        result.is_anomalous = result.p_value <= limits.rate
        result.threshold, result.scale = limits.threshold, limits.scale
        return result

    def _with_depth(self, bit_depth: int | None) -> Detector:
        """The Detector for frames of ``bit_depth``; it takes the place of one for another."""
        depth = self._bit_depth if bit_depth is None else bit_depth
        if depth == self._detector.bit_depth:
            return self._detector
        if self._declared is not None:
            raise InputError(
                f"the camera gives {bit_depth} bits, --bit-depth (bit_depth) says "
                f"{self._declared}: remove it, the camera knows"
            )
        settings = {**self._settings, "bit_depth": depth}
        self._detector = self._engines.detector(self.bundle, settings)
        return self._detector

    def _limits_of(self, rate: float) -> Limits:
        return limits_of(self.bundle.manifest, rate, self._detector.info()["precision"])
