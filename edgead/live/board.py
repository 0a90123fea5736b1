"""The board: what the page shows, kept for the threads of the server."""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import printable
from edgead.images import encode_jpeg
from edgead.live.capture import Slot
from edgead.live.schedule import ALWAYS, Schedule
from edgead.live.scorer import Scorer
from edgead.live.source import Moment, Source
from edgead.live.tally import Tally
from edgead.monitoring.percentiles import percentile
from edgead.records.lines import Line
from edgead.result import Result, as_bgr8

HISTORY = 600
RATE_S = 10.0
"""Seconds over which the rate is taken."""
LATEST = 20
"""Verdicts that say how far apart they usually are."""
LONGEST_SIDE = 1280
"""Of the picture on the page, in pixels."""
SMALL_SIDE = 320
"""Of the pictures where all cameras are shown."""
_OF_TALLY = ("verdicts", "anomalous", "dropped", "failed")
_OF_HISTORY = ("frame", "captured", "score", "p_value", "is_anomalous", "threshold", "latency_ms")


@dataclass(eq=False)
class Board:
    """Gets every verdict; gives state, pictures and the false-reject rate to other threads."""

    source: Source
    detector: Scorer
    slot: Slot
    tally: Tally
    schedule: Schedule = ALWAYS

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._latest: tuple[Line, Result, float] | None = None
        self._history: deque[Line] = deque(maxlen=HISTORY)
        self._heard_s: deque[float] = deque(maxlen=HISTORY)
        self.lost: str | None = None  # why the camera gives no frames
        self._drawn: dict[tuple[bool, bool], tuple[int, bytes]] = {}

    def hear(self, line: Line, result: Result) -> None:
        """Take a verdict."""
        with self._lock:
            self._latest = line, result, Moment.now().monotonic_s
            self._heard_s.append(self._latest[2])
            self._history.append({key: line[key] for key in _OF_HISTORY})

    def state(self, after: int) -> dict[str, Any]:
        """All but the picture, as JSON values; of the history, what is after frame ``after``."""
        manifest = self.detector.bundle.manifest
        with self._lock:
            latest = self._latest
            history, heard_s = list(self._history), list(self._heard_s)
        idle_s = None  # in a folder, or outside of the schedule, no frame is no alarm
        if latest is not None and not self.source.waits and self.schedule.is_open:
            idle_s = Moment.now().monotonic_s - latest[2]
        latencies_ms = [past["latency_ms"] for past in history]
        return {
            "source": printable(self.source.label),
            "bundle": manifest.name,
            "device": self.detector.info()["device"],
            "calibration_images": len(manifest.calibration.scores),
            "false_reject_rate": self.detector.false_reject_rate,
            "threshold": self.detector.threshold,
            "frames": self.slot.frames,
            **{key: getattr(self.tally, key) for key in _OF_TALLY},
            "p50_ms": percentile(latencies_ms, 50) if history else None,
            "p99_ms": percentile(latencies_ms, 99) if history else None,
            "rate_hz": _rate_hz(heard_s, Moment.now().monotonic_s),
            "recent": len(history),
            "recent_anomalous": sum(past["is_anomalous"] for past in history),
            "latest": latest and latest[0],
            "lost": self.lost,
            "idle_s": idle_s,
            "usual_s": _usual_s(heard_s),
            "history": [past for past in history if past["frame"] > after],
        }

    def summary(self) -> dict[str, Any]:
        """What an overview of several cameras shows, as JSON values."""
        state = self.state(after=sys.maxsize)
        latest = state.pop("latest") or {}
        keys = ("frame", "captured", "score", "p_value", "is_anomalous", "health", "drift")
        return {**state, "latest": {key: latest[key] for key in keys if key in latest}}

    def set_rate(self, rate: float) -> float:
        """Set the Detector's false-reject rate.

        Returns:
            The new threshold.

        Raises:
            CalibrationError: the calibration images cannot promise ``rate``.
        """
        self.detector.false_reject_rate = rate
        return self.detector.threshold

    def note(self, word: str, text: str) -> None:
        """Take what ``Capture`` says of the signal: lost, or there again."""
        if word in ("lost", "watch", "back"):
            self.lost = text.partition("; trying again")[0] if word == "lost" else None

    def looks(self) -> tuple[str, int | None]:
        """Channel order and bit depth of the frames, as the latest had them."""
        with self._lock:
            latest = self._latest
        if latest is None:
            return "bgr", self.detector.bit_depth
        return latest[1].color, latest[1].bit_depth

    def picture(self, *, heatmap: bool, small: bool = False) -> bytes | None:
        """JPEG of the latest frame, drawn once for all browsers; None before the first verdict.

        Args:
            heatmap: with it on top.
            small: with sides up to SMALL_SIDE pixels instead of LONGEST_SIDE.
        """
        with self._lock:
            latest = self._latest
        if latest is None:
            return None
        line, result, _ = latest
        with self._drawing:
            number, data = self._drawn.get((heatmap, small), (-1, b""))
            if number != line["frame"]:
                image = (
                    result.overlay()
                    if heatmap
                    else as_bgr8(result.frame, result.color, result.bit_depth)
                )
                data = picture_of(image, SMALL_SIDE if small else LONGEST_SIDE)
                self._drawn[heatmap, small] = line["frame"], data
            return data


def _usual_s(heard_s: list[float]) -> float | None:
    """The median time from one verdict to the next, of the latest LATEST; None before the third."""
    gaps = [later - one for one, later in pairwise(heard_s[-LATEST:])]
    return percentile(gaps, 50) if len(gaps) > 1 else None


def _rate_hz(heard_s: list[float], now_s: float) -> float | None:
    """Verdicts a second over the last RATE_S seconds, or over all that are kept of them."""
    late = [moment_s for moment_s in heard_s if now_s - moment_s <= RATE_S]
    if len(heard_s) < 2:
        return None
    if len(late) < len(heard_s):
        begun_s = now_s - RATE_S
    else:  # not so many seconds are kept: the first only begins the time
        begun_s, late = heard_s[0], late[1:]
    return len(late) / max(now_s - begun_s, 1e-3)


def picture_of(image: NDArray[np.uint8], longest_side: int = LONGEST_SIDE) -> bytes:
    """JPEG of [H, W, 3] BGR, shrunk to sides up to ``longest_side`` pixels."""
    import cv2

    share = longest_side / max(image.shape)
    if share < 1:
        size = [max(1, round(share * side)) for side in image.shape[1::-1]]
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = np.asarray(shrunk, np.uint8)
    return encode_jpeg(image)
