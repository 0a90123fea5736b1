"""The loop: takes the latest frame, scores it, writes one JSON line."""

from __future__ import annotations

import io
import json
import select
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, BinaryIO, Protocol

from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.live.capture import Frame, Slot
from edgead.live.checks import Checks
from edgead.live.source import Moment
from edgead.monitoring.percentiles import percentile
from edgead.result import Result

WAIT_S = 0.2
"""How long the loop waits for a frame before it looks whether it should stop."""
READER_S = 0.5
"""How often a loop that waits for the reader of its lines looks whether it should stop."""
MOST_REGIONS = 16
LONGEST = 4096  # bytes, where fewer regions can make it so
"""A longer line could be cut in two by kill -9: a pipe takes 4096 bytes at once."""
KEPT = 10_000
"""Latencies that are kept for the summary."""

Line = dict[str, Any]


class Scorer(Protocol):
    """What scores frames: an ``edgead.Detector``."""

    def score(self, frame: NDArray[Any]) -> Result:
        """Score one frame."""


class Listener(Protocol):
    """Gets every verdict after its line was written."""

    def hear(self, line: Line, result: Result) -> None:
        """Take a verdict; must not take long."""


class Tally:
    """What became of the frames."""

    def __init__(self) -> None:
        self.verdicts = 0
        self.anomalous = 0
        self.dropped = 0
        self.failed = 0
        # Filled beforehand, so that a process which runs for months does not grow.
        self._latencies_ms = array("d", bytes(8 * KEPT))

    def note(self, *, is_anomalous: bool, latency_ms: float) -> None:
        """Count a verdict."""
        self._latencies_ms[self.verdicts % KEPT] = latency_ms
        self.verdicts += 1
        self.anomalous += is_anomalous

    def percentile_ms(self, percent: float) -> float | None:
        """Latency at the nearest rank of the last KEPT verdicts; None before the first."""
        kept = self._latencies_ms[: min(self.verdicts, KEPT)]
        return percentile(kept, percent) if kept else None


class Loop:
    """Scores what comes into a slot and writes a line for each frame.

    Args:
        scorer: an ``edgead.Detector``.
        slot: where the frames come from.
        tally: kept up to date.
        out: gets the lines.
        say: called with (word, text) for what belongs in the log.
        listeners: get every verdict.
        checks: look at every frame that was scored.
    """

    def __init__(
        self,
        scorer: Scorer,
        slot: Slot,
        tally: Tally,
        out: BinaryIO,
        say: Callable[[str, str], None],
        listeners: Sequence[Listener] = (),
        checks: Checks | None = None,
    ) -> None:
        self._tally = tally
        self._scorer = scorer
        self._slot = slot
        self._out = out
        self._say = say
        self._listeners = listeners
        self._checks = checks
        self._looks = ""
        self._trouble = ""
        self._stopping: Callable[[], object] = bool
        self._room = _room(out)

    def run(self, stopping: Callable[[], object]) -> None:
        """Go on until the source ends or ``stopping()`` is true; a frame in work is still written.

        Raises:
            DeviceError: of the engine or the source.
            OSError: the reader of the lines is gone.
        """
        self._stopping = stopping
        while not stopping() and not self._slot.done:
            frame = self._slot.take(WAIT_S)
            if frame is not None:
                self._serve(frame)

    def _serve(self, frame: Frame) -> None:
        self._tally.dropped += frame.dropped
        started_s = Moment.now().monotonic_s
        try:
            result, found = self._score(frame)
        except InputError as error:
            self._tally.failed += 1
            self._write({**_head(frame), "error": str(error)})
            self._note_trouble(frame, str(error))
            return
        self._note_trouble(frame, "")
        regions = [asdict(region) for region in result.regions[:MOST_REGIONS]]
        latency_ms = 1e3 * (Moment.now().monotonic_s - frame.captured.monotonic_s)
        line = {
            **_head(frame),
            "latency_ms": latency_ms,
            "queue_age_ms": 1e3 * (started_s - frame.captured.monotonic_s),
            "score": result.score,
            "p_value": result.p_value,
            "is_anomalous": result.is_anomalous,
            "threshold": result.threshold,
            "regions": regions,
            "region_count": len(result.regions),
            **found,
        }
        if result.digests is not None:
            line["digests"] = result.digests.to_json()
        self._tally.note(is_anomalous=result.is_anomalous, latency_ms=latency_ms)
        self._write(line)
        for listener in self._listeners:
            listener.hear(line, result)

    def _score(self, frame: Frame) -> tuple[Result, Line]:
        """The result, and what the checks say of the frame."""
        if frame.image is None:
            raise InputError(frame.reading.error or "the source gave no picture")
        self._note_looks(frame.number, frame.image)
        result = self._scorer.score(frame.image)
        if self._checks is None:
            return result, {}
        return result, self._checks.look(frame.number, frame.image, result.score)

    def _write(self, line: Line) -> None:
        """One line in one write, there at once; waits for the reader."""
        data = _encoded(line)
        while len(data) > LONGEST and line.get("regions"):
            line["regions"].pop()  # the lowest peak; region_count still counts it
            data = _encoded(line)
        self._wait_for_room()
        self._out.write(data)
        self._out.flush()

    def _wait_for_room(self) -> None:
        """Until a full pipe was read: here a second signal finds nothing half written."""
        said = False
        while self._room is not None and not self._room.poll(1e3 * READER_S):
            if self._stopping() and not said:
                said = True
                self._say(
                    "stop", "the last line waits for the reader of stdout; a second signal drops it"
                )

    def _note_looks(self, number: int, image: NDArray[Any]) -> None:
        """Say when frames change their size or colour: the Detector takes them all."""
        height, width = image.shape[:2]
        colour = "colour" if image.ndim == 3 and image.shape[2] == 3 else "grey"
        looks = f"{height} x {width} {colour} {image.dtype}"
        if self._looks and looks != self._looks:
            self._say("change", f"frame {number} is {looks}, before it was {self._looks}")
        self._looks = looks

    def _note_trouble(self, frame: Frame, error: str) -> None:
        """Say the first of several frames with the same trouble, and when it is over."""
        if error and error != self._trouble:
            self._say("failed", f"frame {frame.number}: {error}")
        elif self._trouble and not error:
            self._say("fine", f"frame {frame.number} could be scored again")
        self._trouble = error


def _room(out: BinaryIO) -> select.poll | None:
    """What knows whether ``out`` takes a line at once; None for a buffer in memory."""
    try:
        descriptor = out.fileno()
    except io.UnsupportedOperation:
        return None
    if not hasattr(select, "poll"):  # Windows has none
        return None
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room


def _encoded(line: Line) -> bytes:
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _head(frame: Frame) -> Line:
    """What every line begins with."""
    moment = datetime.fromtimestamp(frame.captured.wall_s, timezone.utc)
    line: Line = {
        "frame": frame.number,
        "captured": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if frame.reading.file is not None:
        line["file"] = frame.reading.file
    if frame.dropped:
        # Always neighbours, so first and last name them all.
        line["dropped"] = {
            "count": frame.dropped,
            "first": frame.number - frame.dropped,
            "last": frame.number - 1,
        }
    return line
