"""What is measured: a bundle on a device, in this process or in one of libedgead (``native``)."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgead.bench.closed_loop import Frame, Timed
from edgead.bench.cold_start import cold_start
from edgead.bench.open_loop import OpenLoop, open_loop
from edgead.bundle.storage import Bundle


class Scores(Protocol):
    """What is used of a Detector."""

    def info(self) -> dict[str, str]:
        """What serves."""

    def score(self, frame: Frame) -> Timed:
        """A Result."""


class Subject(ABC):
    """A bundle on a device, opened and qualified; ``asked``: the arguments of the Detector."""

    process: int | None = None  # the number of its own one

    def __init__(self, label: str, bundle: Bundle, asked: dict[str, Any]) -> None:
        self.label, self.bundle, self.asked = label, bundle, asked

    @abstractmethod
    def info(self) -> dict[str, str]:
        """What serves."""

    @abstractmethod
    def score(self, frame: Frame) -> Timed:
        """Score a frame; its times, and ``end_to_end`` where this process cannot take it."""

    @abstractmethod
    def open_loop(self, found: OpenLoop, stopped: Callable[[], object]) -> None:
        """Let the frames of ``found`` arrive, and note there what becomes of them."""

    def doubts(self, frame: Frame) -> list[str]:
        """What speaks against its times."""
        del frame
        return []

    def rss_mb(self) -> float | None:
        """Memory of its own process."""
        return None

    @abstractmethod
    def cold_start_ms(self, image: Path) -> float:
        """From the start of a new process to its verdict of ``image``."""


class InPython(Subject):
    """A Detector.

    Args:
        label, bundle, asked: of the Subject
        detector: that was asked for
        frames: those of the open loop, taken in order, again and again
    """

    def __init__(
        self,
        label: str,
        bundle: Bundle,
        asked: dict[str, Any],
        detector: Scores,
        frames: Sequence[Frame],
    ) -> None:
        super().__init__(label, bundle, asked)
        self._frames, self._detector = frames, detector

    def info(self) -> dict[str, str]:
        """That of the Detector."""
        return self._detector.info()

    def score(self, frame: Frame) -> Timed:
        """The Result."""
        return self._detector.score(frame)

    def open_loop(self, found: OpenLoop, stopped: Callable[[], object]) -> None:
        """See ``open_loop``."""
        frames = self._frames

        def serve(number: int) -> object:
            return self._detector.score(frames[number % len(frames)])

        open_loop(serve, found, stopped=stopped)

    def cold_start_ms(self, image: Path) -> float:
        """Of an interpreter with ``first_verdict``."""
        words = [sys.executable, "-m", "edgead.bench.first_verdict"]
        return cold_start([*words, str(self.bundle.path), str(image), json.dumps(self.asked)])
