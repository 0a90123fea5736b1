"""The loop: takes the latest frame, scores it, writes one JSON line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DeviceError, InputError, printable
from edgead.files import in_words
from edgead.live.capture import Frame, Slot
from edgead.live.checks import Checks
from edgead.live.log import Say
from edgead.live.output import Output
from edgead.live.region import Region
from edgead.live.scorer import Scorer
from edgead.live.source import Moment
from edgead.live.tally import Tally
from edgead.records.lines import Line, to_json
from edgead.result import Result

WAIT_S = 0.2
"""How long the loop waits for a frame before it looks whether it should stop."""
MOST_REGIONS = 16
LONGEST = 4096  # bytes, where fewer regions can make it so
"""A longer line could be cut in two by kill -9: a pipe takes 4096 bytes at once."""
LATEST_S = 253402300799.0
"""The last second of the year 9999."""
_OF_STAMP = ("camera_frame", "camera_time_ns", "lost_packets", "lost_frames")


class Listener(Protocol):
    """Gets every verdict after its line was written."""

    def hear(self, line: Line, result: Result) -> None:
        """Take a verdict; must not take long."""


class Receiver(Protocol):
    """Gets every line before it is written; ``edgead.live.outlets`` has some."""

    def send(self, record: Line) -> None:
        """Take a line; never blocks."""

    def lost(self, camera: str, why: str | None) -> None:
        """Take that a camera gives no frames, or with None that it does again."""


class Identity(NamedTuple):
    """Of a camera among several: its name, and a word that no other start of it has."""

    camera: str
    run: str

    def keys(self, number: int) -> Line:
        """What the line of the frame ``number`` begins with; no other line has its id."""
        return {"id": f"{self.camera}-{self.run}-{number}", "camera": self.camera}


@dataclass(eq=False)
class Loop:
    """Scores what comes into a slot and writes a line for each frame."""

    detector: Scorer
    slot: Slot  # where the frames come from
    tally: Tally  # kept up to date
    out: BinaryIO | Output  # gets the lines
    say: Say
    listeners: Sequence[Listener] = ()  # get every verdict
    checks: Checks | None = None  # look at every frame that was scored
    sinks: Sequence[Receiver] = ()  # get every line; may be replaced between two of them
    identity: Identity | None = None  # of a camera among several
    region: Region | None = None  # what is scored of a frame
    period_s: float = 0.0  # from taking a frame to the next, at least

    def __post_init__(self) -> None:
        self._looks = self._trouble = ""
        self._stopping: Callable[[], object] = bool
        self._next_s = 0.0
        self.output = self.out if isinstance(self.out, Output) else Output(self.out, self.say)

    def run(
        self, stopping: Callable[[], object], tick: Callable[[], object] = lambda: None
    ) -> None:
        """Go on until the source ends or ``stopping()`` is true; a frame in work is still written.

        Args:
            stopping: whether to stop.
            tick: called now and then, at least every WAIT_S seconds while nothing is scored.

        Raises:
            DeviceError: of the engine or the source.
            OSError: the reader of the lines is gone.
        """
        self._stopping = stopping
        while not stopping() and not self.slot.done:
            tick()
            frame = None if self.period_s and self._rests() else self.slot.take(WAIT_S)
            if frame is not None:
                if self.period_s:
                    self._next_s = Moment.now().monotonic_s + self.period_s
                self._serve(frame)

    def _rests(self) -> bool:
        """Wait for the next frame's time, up to WAIT_S seconds; whether it is still to come."""
        left_s = self._next_s - Moment.now().monotonic_s
        if left_s > 0:
            time.sleep(min(left_s, WAIT_S))
        return left_s > WAIT_S

    def _serve(self, frame: Frame) -> None:
        self.tally.dropped += frame.dropped
        started_s = Moment.now().monotonic_s
        try:
            result, found = self._score(frame)
        except DeviceError:
            raise
        except Exception as error:  # whatever a frame does, the next one is scored
            text = in_words(error)
            self.tally.failed += 1
            self._write({**self._head(frame), "error": text})
            self._note_trouble(frame, text)
            return
        self._note_trouble(frame, "")
        verdict = result.to_dict()
        regions = verdict["regions"]
        latency_ms = 1e3 * (Moment.now().monotonic_s - frame.captured.monotonic_s)
        line = {
            **self._head(frame),
            "latency_ms": latency_ms,
            "queue_age_ms": 1e3 * (started_s - frame.captured.monotonic_s),
            **verdict,
            "regions": regions[:MOST_REGIONS],
            "region_count": len(regions),
            **found,
        }
        self.tally.note(is_anomalous=result.is_anomalous, latency_ms=latency_ms)
        self._write(line)
        for listener in self.listeners:
            listener.hear(line, result)

    def _score(self, frame: Frame) -> tuple[Result, Line]:
        """The result, and what the checks say of the frame."""
        if frame.image is None:
            raise InputError(frame.error or "the source gave no picture")
        self._note_looks(frame.number, frame.image)
        image = self.region.cut(frame.image) if self.region is not None else frame.image
        if frame.bit_depth is None or image.dtype != np.uint16:
            result = self.detector.score(image)
        else:
            result = self.detector.score(image, frame.bit_depth)
        checks = self.checks
        if checks is None:
            return result, {}
        return result, checks.look(frame.number, image, result.score, frame.bit_depth)

    def _head(self, frame: Frame) -> Line:
        """What every line begins with."""
        identity = self.identity.keys(frame.number) if self.identity is not None else {}
        return {**identity, **_of_frame(frame)}

    def _write(self, line: Line) -> None:
        """One line in one write, there at once; waits for the reader."""
        while True:
            data = to_json(line) + b"\n"
            if len(data) <= LONGEST or not line.get("regions"):
                break
            line["regions"].pop()  # the lowest peak; region_count still counts it
        for sink in self.sinks:  # before it is printed: what was printed is then delivered
            sink.send(line)
        self.output.write(data, self._stopping)

    def _note_looks(self, number: int, image: NDArray[Any]) -> None:
        """Say when frames change their size or colour: the Detector takes them all."""
        height, width = image.shape[:2]
        colour = "colour" if image.ndim == 3 and image.shape[2] == 3 else "grey"
        looks = f"{height} x {width} {colour} {image.dtype}"
        if self._looks and looks != self._looks:
            text = f"frame {number} is {looks}, before it was {self._looks}"
            self.say("change", text, "looks")
        self._looks = looks

    def _note_trouble(self, frame: Frame, error: str) -> None:
        """Say that a frame could not be scored, and when it is over."""
        if error:
            kind = error
            for name in filter(None, (frame.file, printable(frame.file or ""))):
                kind = kind.replace(name, "")
            self.say("failed", f"frame {frame.number}: {error}", re.sub(r"\d+", "", kind))
        elif self._trouble:
            self.say("fine", f"frame {frame.number} could be scored again", "frames")
        self._trouble = error


def _of_frame(frame: Frame) -> Line:
    wall_s = min(max(0.0, frame.captured.wall_s), LATEST_S)  # a clock may be set to anything
    moment = datetime.fromtimestamp(wall_s, timezone.utc)
    captured = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: Line = {"frame": frame.number, "captured": captured}
    if frame.file is not None:
        line["file"] = frame.file
    if frame.dropped:
        first, last = frame.number - frame.dropped, frame.number - 1  # always neighbours
        line["dropped"] = {"count": frame.dropped, "first": first, "last": last}
    for key, value in zip(_OF_STAMP, frame.stamp or (), strict=False):
        if value is not None:
            line[key] = value
    return line
