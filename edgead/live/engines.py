"""Detectors that several cameras share, and each camera's own view of them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.cpu.processor import cores
from edgead.detector import Detector
from edgead.errors import InputError
from edgead.result import Result
from edgead.serving.limits import Limits, limits_of

Key = tuple[Any, ...]


MOST = 8
"""Detectors of a Pool: more of them cost memory and time to open, and fill no more cores."""


class Pool:
    """Detectors of one bundle that its cameras take turns with.

    On a CPU, as many frames are scored at once as there are cores: small networks do not keep two
    cores busy, and a camera whose frame comes while another's is scored would wait for it.

    Args:
        bundle: opened.
        settings: arguments of ``Detector``; without ``threads`` the Detectors share all cores.

    Raises:
        EdgeadError: as ``Detector``.
    """

    def __init__(self, bundle: Bundle, settings: Mapping[str, Any]) -> None:
        self._open = partial(Detector, bundle, **{**settings, "threads": None})
        self._threads: int | None = settings.get("threads")
        self._first = first = self._open(threads=self._threads)
        self.bit_depth, self.false_reject_rate = first.bit_depth, first.false_reject_rate
        self._cameras: weakref.WeakSet[object] = weakref.WeakSet()
        self._share, self._lock = (1, self._threads), threading.Lock()
        self._workers = _workers([first])

    def join(self, camera: object) -> None:
        """Open what one more camera asks for; frames are scored meanwhile."""
        self._cameras.add(camera)
        share = number, threads = self._share_of(len(self._cameras))
        if share == self._share:
            return
        detectors = [self._open(threads=threads) for _ in range(number)]
        workers = _workers(detectors)
        with self._lock:
            before, self._workers, self._share = self._workers, workers, share
            self._first = detectors[0]  # the one from before is let go
        before.shutdown(wait=False)  # frames that it has are still scored

    def info(self) -> dict[str, str]:
        """As that of ``Detector``."""
        return self._first.info()

    def score(self, frame: NDArray[Any]) -> Result:
        """Score a frame with the first Detector that is free, in order of arrival."""
        with self._lock:
            result = self._workers.submit(_score, frame)
        return result.result()

    def _share_of(self, cameras: int) -> tuple[int, int | None]:
        """The number of Detectors for this many cameras, and the threads of each."""
        if not self._first.info()["device"].startswith("CPU"):
            return 1, self._threads
        if self._threads is not None:
            return min(cameras, MOST, max(1, cores() // self._threads)), self._threads
        number = 1 << min(cameras, MOST, cores()).bit_length() - 1  # doubled: all are opened anew
        return number, None if number == 1 else cores() // number


_own = threading.local()


def _workers(detectors: list[Detector]) -> ThreadPoolExecutor:
    """A thread for each Detector: its buffers are there once, however many cameras there are."""
    return ThreadPoolExecutor(
        len(detectors), "score", initializer=_take, initargs=(list(detectors),)
    )


def _take(detectors: list[Detector]) -> None:
    _own.detector = detectors.pop()


def _score(frame: NDArray[Any]) -> Result:
    detector: Detector = _own.detector
    return detector.score(frame)


@dataclass(eq=False)
class Engines:
    """Opens a Pool once for all cameras whose bundle and settings are equal.

    It is closed when no View holds it any more.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: weakref.WeakValueDictionary[Key, Pool] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def pool(self, bundle: Bundle, settings: Mapping[str, Any], camera: object) -> Pool:
        """The Pool of ``bundle`` with these arguments for a camera too; opened if need be.

        Raises:
            EdgeadError: as ``Detector``.
        """
        key = bundle.sha256, *sorted(settings.items())
        with self._lock:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = Pool(bundle, settings)
            found.join(camera)
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
        self._pool = engines.pool(bundle, self._settings, self)
        self._bit_depth = self._pool.bit_depth
        rate = settings.get("false_reject_rate")
        self._limits = self._limits_of(self._pool.false_reject_rate if rate is None else rate)

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
        return self._pool.info()

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

    def _with_depth(self, bit_depth: int | None) -> Pool:
        """The Pool for frames of ``bit_depth``; it takes the place of one for another."""
        depth = self._bit_depth if bit_depth is None else bit_depth
        if depth == self._pool.bit_depth:
            return self._pool
        if self._declared is not None:
            raise InputError(
                f"the camera gives {bit_depth} bits, --bit-depth (bit_depth) says "
                f"{self._declared}: remove it, the camera knows"
            )
        settings = {**self._settings, "bit_depth": depth}
        self._pool = self._engines.pool(self.bundle, settings, self)
        return self._pool

    def _limits_of(self, rate: float) -> Limits:
        return limits_of(self.bundle.manifest, rate, self._pool.info()["precision"])
