"""The capture: a thread that reads the source, and the slot in which the latest frame waits."""

from __future__ import annotations

import threading
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgead.live.log import Say
from edgead.live.schedule import ALWAYS, Schedule, Until
from edgead.live.source import Moment, Reader, Reading, Source, SourceError, Stamp

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
LEAVE_S = 2.0
"""How long a driver may take to come back when the capture stops."""


class Frame(NamedTuple):
    """A Reading with its number; ``dropped``: how many frames before it were replaced unseen."""

    number: int
    dropped: int
    captured: Moment
    image: NDArray[Any] | None
    file: str | None
    error: str | None
    bit_depth: int | None = None
    stamp: Stamp | None = None


class Slot:
    """Holds one frame: a newer one takes its place, or waits for it with ``every_frame``."""

    def __init__(self, *, every_frame: bool = False) -> None:
        self._every_frame = every_frame
        self._changed = threading.Condition()
        self._reading: Reading | None = None
        self._put = 0  # readings given
        self._taken = 0  # readings taken or replaced
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def frames(self) -> int:
        """Frames given so far."""
        return self._put

    @property
    def waiting(self) -> int:
        """Frames, 0 or 1, that were not taken yet."""
        return int(self._reading is not None)

    @property
    def done(self) -> bool:
        """Whether the source ended and its last frame was taken; raises what ended it."""
        with self._changed:
            if not self._ended or self._reading is not None:
                return False
            if self._failure is not None:
                raise self._failure
            return True

    def put(self, reading: Reading) -> None:
        """Give a reading; with ``every_frame``, after the one before it was taken."""
        with self._changed:
            if self._every_frame:
                self._changed.wait_for(lambda: self._reading is None or self._ended)
            if self._ended:
                return
            self._reading = reading
            self._put += 1
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | None:
        """The latest frame, waiting for it up to ``timeout_s``; None when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._reading is not None or self._ended, timeout_s)
            if self._reading is None:
                return None
            number = self._put - 1
            frame = Frame(number, number - self._taken, *self._reading)
            self._reading, self._taken = None, self._put
            self._changed.notify_all()
            return frame

    def end(self, failure: BaseException | None = None) -> None:
        """No more frames will come; the first call counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._failure = True, failure
            self._changed.notify_all()


@dataclass(eq=False)
class Capture:
    """Reads a source into a slot in a thread of its own, and reconnects after a lost signal.

    Outside of its ``schedule`` the source is closed.
    """

    source: Source
    reader: Reader  # of the source
    slot: Slot  # where the frames go
    say: Say
    _: KW_ONLY
    give_up_s: float | None = None  # until a lost signal is given up; None: never
    first_delay_s: float = FIRST_DELAY_S  # doubled at each try, up to LONGEST_DELAY_S
    schedule: Schedule = ALWAYS

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._until = Until(self._stop, self.schedule)
        self._opened, self._leave_by_s = True, 0.0
        # A driver may never come back from a read: such a thread must not hold the process.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Open the source, then read in the background; raises what ``reader.open`` raises."""
        self.say("watch", f"{self.source.label}: {self.reader.open()}")
        self._thread.start()

    def start_patiently(self) -> None:
        """Open the source in the background too, and try again until it opens."""
        self._opened = False
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End the thread; ``stop`` waits for it."""
        if not self._stop.is_set():
            self._leave_by_s = Moment.now().monotonic_s + LEAVE_S
        self._stop.set()
        self.slot.end()

    def stop(self) -> bool:
        """End the thread; False when the driver holds it for more than LEAVE_S seconds."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, self._leave_by_s - Moment.now().monotonic_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if not self._opened:
                self._open_patiently()
            while not self._stop.is_set():
                while (reading := self._read()) is not None:
                    self.slot.put(reading)
                if self._until.is_set():  # stopped, or outside of the schedule
                    self.reader.close()
                    self._open_patiently()
                elif self.reader.ends:
                    break
                else:
                    self._reconnect(f"{self.source.label} gives no more frames")
        except BaseException as failure:  # belongs to the thread that waits for frames
            self.slot.end(failure)
        finally:
            self.slot.end()
            self.reader.close()

    def _read(self) -> Reading | None:
        # Event and Until answer the same two questions, which are all that a Reader asks.
        return None if self._until.is_set() else self.reader.read(self._until)

    def _open_patiently(self) -> None:
        """Open the source when its schedule says so, however long that takes."""
        if self.schedule.wait(self._stop, self.say):
            return
        try:
            self.say("watch", f"{self.source.label}: {self.reader.open()}")
        except SourceError as error:
            self._reconnect(str(error))

    def _first_picture(self) -> Reading | None:
        """The first frame that can be decoded; None when the source ends or stops before it."""
        while (reading := self._read()) is not None and reading.image is None:
            self.slot.put(reading)
        return reading

    def _reconnect(self, why: str) -> None:
        """Open the source again; returns when it gives frames or the capture stops."""
        lost_s = Moment.now().monotonic_s
        delay_s = self.first_delay_s
        while True:
            away_s = Moment.now().monotonic_s - lost_s
            if self.give_up_s is not None:
                if away_s >= self.give_up_s:
                    raise SourceError(
                        f"given up after {self.give_up_s:g} s without a signal "
                        f"(--reconnect-seconds): {why}"
                    )
                delay_s = min(delay_s, self.give_up_s - away_s)
            self.say("lost", f"{why}; trying again in {delay_s:.3g} s", "signal")
            if self._until.wait(delay_s):
                return
            try:
                about = self.reader.open()
                # What opens and gives nothing is still lost; in a folder, frames may take days.
                reading = None if self.source.waits else self._first_picture()
                if reading is not None or self.source.waits:
                    away_s = Moment.now().monotonic_s - lost_s
                    text = f"{self.source.label} after {away_s:.1f} s: {about}"
                    self.say("back", text, "signal")
                    if reading is not None:
                        self.slot.put(reading)
                    return
                if self._until.is_set():
                    return
                why = f"{self.source.label} opens, but gives no frame"
            except SourceError as error:
                why = str(error)
            self.reader.close()
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
