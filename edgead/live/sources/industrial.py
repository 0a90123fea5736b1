"""What industrial cameras have in common: their options, and the frames they number."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgead.live.source import Source, Stop
from edgead.live.sources.pixels import PATTERNS
from edgead.live.sources.setup import Options, Setup

FREE, SOFTWARE = "free", "software"
LINES = tuple(f"line{number}" for number in range(10))
WAIT_S = 0.2
"""How long a camera is waited for before a Reader looks whether it should stop."""
GENERATIONS = {16: 2**16 - 1, 64: 2**64 - 1}
"""Bits of a camera's frame numbers -> the last one, after which comes 1."""


@dataclass(frozen=True)
class CameraOptions:
    """How a camera is set; None leaves what the camera has.

    Args:
        exposure_us: time of exposure.
        gain: as the camera counts it: decibels, where its own ``Gain`` does.
        pixel_format: by its name in PFNC, as Mono12p.
        rate_hz: of a camera that runs freely; of triggers by software.
        trigger: "free" (it runs by itself), "software" (edgead asks for each frame), or the line
            of a signal, as "line1".
        bayer: colours of the sensor's first two rows, where the pixel format does not say it, or
            "none": the mosaic stays grey.
        features: of the camera, by its own names, set last.
    """

    exposure_us: float | None = None
    gain: float | None = None
    pixel_format: str | None = None
    rate_hz: float | None = None
    trigger: str = FREE
    bayer: str | None = None
    features: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Source, setup: Setup) -> CameraOptions:
        """Of a source.

        Raises:
            InputError: one that is unknown or out of its range.
        """
        options = Options(source, setup.options)
        found = cls(
            exposure_us=options.number("exposure_us", lambda us: us > 0, "more than 0 µs"),
            gain=options.number("gain"),
            pixel_format=options.choice("pixel_format"),
            rate_hz=options.number("rate_hz", lambda hz: hz > 0, "more than 0 Hz"),
            trigger=options.choice("trigger", FREE, SOFTWARE, *LINES) or FREE,
            bayer=options.choice("bayer", *PATTERNS, "none"),
            features=options.features(),
        )
        options.finish()
        return found

    @property
    def waits_for_signal(self) -> bool:
        """Whether no frame means no signal of the machine, and not that the camera is lost."""
        return self.trigger in LINES

    @property
    def in_words(self) -> str:
        """How frames come, for the log."""
        if self.trigger == FREE:
            return "runs freely"
        return "triggered by software" if self.trigger == SOFTWARE else f"waits for {self.trigger}"


@dataclass
class Due:
    """When the next frame is asked for: the rate is kept, however late one of them was."""

    rate_hz: float | None  # None: at once
    clock: Callable[[], float] = time.monotonic
    _next_s: float = 0.0

    def opened(self) -> None:
        """The camera was opened: the first frame is due at once."""
        self._next_s = 0.0

    def wait(self, stop: Stop) -> bool:
        """Wait until it is time; whether ``stop`` was set meanwhile."""
        now_s = self.clock()
        if stop.wait(max(0.0, self._next_s - now_s)):
            return True
        period_s = 1 / self.rate_hz if self.rate_hz else 0.0
        late = self._next_s + period_s < now_s  # by more than a frame: those are not made up for
        self._next_s = (now_s if late else self._next_s) + period_s
        return False


@dataclass
class Losses:
    """Counts the frames that a camera numbered and that did not arrive, over reconnections."""

    frames: int = 0
    packets: int | None = None
    _last: int | None = None
    _packets_before: int = 0

    def note(self, number: int, last: int = GENERATIONS[64]) -> None:
        """Note the number of a frame that arrived; after ``last`` comes 1."""
        if self._last is not None:
            step = number - self._last
            if step < 0 and self._last > last - 1000:  # it began again at 1
                step += last
            if step > 1:  # a camera that began anew has smaller numbers
                self.frames += step - 1
        self._last = number

    def note_packets(self, since_opened: int | None) -> None:
        """Note how many packets did not arrive since the camera was opened."""
        if since_opened is not None:
            self.packets = self._packets_before + since_opened

    def opened(self) -> None:
        """The camera was opened: it counts from the beginning."""
        self._last = None
        self._packets_before = self.packets or 0
