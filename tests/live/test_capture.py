"""The slot and the capture: what is dropped is counted, what is lost comes back."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edgead.live import capture as module
from edgead.live.camera import Camera
from edgead.live.capture import Capture, Slot
from edgead.live.source import Moment, Reading, Source, SourceError, parse_source
from edgead.live.sources.video import VideoReader

LONGEST_S = 60
STREAM = Source("stream", "rtsp://nowhere", "stream rtsp://nowhere")


def reading(value: int) -> Reading:
    return Reading(Moment.now(), np.full((2, 3), value, np.uint8))


class Log(list):
    """What was said; ``wait_for(word)`` returns when it was."""

    def __init__(self) -> None:
        self._more = threading.Condition()

    def __call__(self, word: str, text: str, kind: str = "") -> None:
        with self._more:
            self.append((word, text))
            self._more.notify_all()

    def wait_for(self, word: str) -> str:
        with self._more:
            assert self._more.wait_for(lambda: word in dict(self), LONGEST_S), self
        return dict(self)[word]


class ScriptedReader:
    """``steps``: a number is a frame, None a loss, an error what the next ``open`` raises."""

    ends = False

    def __init__(self, *steps):
        self.steps = list(steps)
        self.closed = 0

    def open(self) -> str:
        if self.steps and isinstance(self.steps[0], Exception):
            raise self.steps.pop(0)
        return "open"

    def read(self, stop):
        if not self.steps:
            stop.wait(LONGEST_S)
            return None
        step = self.steps.pop(0)
        return None if step is None else reading(step)

    def close(self):
        self.closed += 1


def test_the_latest_frame_wins_and_the_replaced_ones_are_counted():
    slot = Slot()
    assert slot.take(0) is None
    for value in range(4):
        slot.put(reading(value))
    frame = slot.take(0)
    assert (frame.number, frame.dropped, frame.image[0, 0]) == (3, 3, 3)
    assert slot.take(0) is None
    slot.put(reading(4))
    frame = slot.take(0)
    assert (frame.number, frame.dropped, frame.image[0, 0]) == (4, 0, 4)
    slot.put(reading(5))
    assert (slot.frames, slot.waiting) == (6, 1)


def test_the_last_frame_is_taken_before_the_end_and_a_failure_after_it():
    slot = Slot()
    slot.put(reading(0))
    slot.end(SourceError("lost"))
    slot.end()
    slot.put(reading(1))  # too late
    assert slot.done is False
    assert slot.take(0).number == 0
    with pytest.raises(SourceError, match="lost"):
        _ = slot.done


def test_with_every_frame_the_source_waits():
    slot = Slot(every_frame=True)
    given = []

    def give():
        for value in range(5):
            slot.put(reading(value))
            given.append(value)

    thread = threading.Thread(target=give)
    thread.start()
    frames = []
    for taken in range(5):
        frames.append(slot.take(LONGEST_S))
        assert len(given) <= taken + 2  # the one in work, and the one in the slot
    thread.join(LONGEST_S)
    assert [(f.number, f.dropped, f.image[0, 0]) for f in frames] == [(n, 0, n) for n in range(5)]


def test_with_every_frame_a_stop_frees_the_source():
    slot = Slot(every_frame=True)
    slot.put(reading(0))
    thread = threading.Thread(target=slot.put, args=[reading(1)])
    thread.start()
    slot.end()
    thread.join(LONGEST_S)
    assert not thread.is_alive()
    assert slot.frames == 1


def numbers(slot: Slot, count: int) -> list[int]:
    """The next ``count`` frames of a slot that waits."""
    return [int(slot.take(LONGEST_S).image.flat[0]) for _ in range(count)]


def test_a_lost_signal_is_tried_again_twice_as_long_each_time(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_DELAY_S", 0.006)
    refused = [SourceError("refused") for _ in range(3)]
    reader = ScriptedReader(0, 1, None, *refused, None, 2, 3)
    log, slot = Log(), Slot(every_frame=True)
    capture = Capture(STREAM, reader, slot, log, first_delay_s=0.002)
    capture.start()
    assert numbers(slot, 4) == [0, 1, 2, 3]
    assert capture.stop()
    assert [word for word, _ in log] == ["watch", "lost", "lost", "lost", "lost", "lost", "back"]
    waits = [text.rpartition(" in ")[2] for word, text in log if word == "lost"]
    assert waits == ["0.002 s", "0.004 s", "0.006 s", "0.006 s", "0.006 s"]
    assert log[1][1].startswith("stream rtsp://nowhere gives no more frames; trying again")
    assert log[2][1].startswith("refused; ")
    assert "opens, but gives no frame" in log[5][1]
    assert log[6][1].startswith("stream rtsp://nowhere after ")


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_a_signal_that_stays_away_is_given_up(seconds):
    reader = ScriptedReader(7, None, *[SourceError("refused") for _ in range(10_000)])
    slot = Slot()
    capture = Capture(STREAM, reader, slot, Log(), give_up_s=seconds, first_delay_s=0.002)
    capture.start()
    capture._thread.join(LONGEST_S)
    assert slot.take(0).image[0, 0] == 7  # what came before the loss is not lost
    with pytest.raises(SourceError, match=f"given up after {seconds:g} s .*: (refused|stream)"):
        _ = slot.done
    assert reader.closed > 0


class Rubbish(ScriptedReader):
    """A step "rubbish" is a frame that cannot be decoded."""

    def read(self, stop):
        if self.steps[:1] == ["rubbish"]:
            self.steps.pop(0)
            return Reading(Moment.now(), None, error="a frame cannot be decoded")
        return super().read(stop)


def test_frames_that_cannot_be_decoded_are_no_signal():
    """The camera opens each time, and gives rubbish until it is lost again."""
    slot, log = Slot(), Log()
    reader = Rubbish(7, None, *["rubbish", "rubbish", None] * 10_000)
    capture = Capture(STREAM, reader, slot, log, give_up_s=0.01, first_delay_s=0.002)
    capture.start()
    capture._thread.join(LONGEST_S)
    assert slot.take(0).error  # the latest
    with pytest.raises(SourceError, match=r"given up after 0\.01 s .*opens, but gives no frame"):
        _ = slot.done
    assert "back" not in dict(log)


def test_a_picture_after_rubbish_is_a_signal():
    slot, log = Slot(every_frame=True), Log()
    capture = Capture(STREAM, Rubbish(7, None, "rubbish", 8), slot, log, first_delay_s=0.002)
    capture.start()
    found = [slot.take(LONGEST_S) for _ in range(3)]
    assert [None if one.image is None else int(one.image[0, 0]) for one in found] == [7, None, 8]
    assert found[1].error
    log.wait_for("back")
    assert capture.stop()


def test_a_source_that_does_not_open_at_first_is_an_error_at_once():
    with pytest.raises(SourceError, match="refused"):
        Capture(STREAM, ScriptedReader(SourceError("refused")), Slot(), Log()).start()


def test_the_end_of_a_film_is_an_end(film):
    source = parse_source(str(film))
    log, slot = Log(), Slot(every_frame=True)
    Capture(source, VideoReader(source, stall_s=1, at_once=True), slot, log).start()
    assert [slot.take(LONGEST_S).number for _ in range(6)] == list(range(6))
    assert slot.take(LONGEST_S) is None
    assert slot.done
    assert [word for word, _ in log] == ["watch"]


def test_a_defect_of_the_reader_reaches_the_one_who_waits():
    class Broken(ScriptedReader):
        def read(self, stop):
            raise ZeroDivisionError("defect")

    slot = Slot()
    Capture(STREAM, Broken(), slot, Log()).start()
    assert slot.take(LONGEST_S) is None
    with pytest.raises(ZeroDivisionError):
        _ = slot.done


def test_a_driver_that_does_not_come_back_is_left_behind(monkeypatch):
    monkeypatch.setattr(module, "LEAVE_S", 0.01)
    stuck = threading.Event()

    class Stuck(ScriptedReader):
        def read(self, stop):
            stuck.wait(LONGEST_S)

    capture = Capture(STREAM, Stuck(), Slot(), Log())
    capture.start()
    assert capture.stop() is False
    stuck.set()
    capture._thread.join(LONGEST_S)
    assert capture.stop() is True


def test_an_http_camera_that_stalls_ends_and_refuses_comes_back(http_camera):
    def picture(value):
        return [np.full((70, 90, 3), value, np.uint8)] * 4  # FFmpeg wants three before it opens

    stall = threading.Event()
    camera = http_camera([*picture(10), stall], [], picture(90), [*picture(170), stall])
    source = parse_source(camera.url)
    log, slot = Log(), Slot(every_frame=True)
    capture = Capture(source, VideoReader(source, stall_s=0.3), slot, log, first_delay_s=0.01)
    capture.start()
    values = numbers(slot, 12)
    stall.set()
    assert capture.stop()
    assert values == pytest.approx([10] * 4 + [90] * 4 + [170] * 4, abs=3)  # JPEG
    words = [word for word, _ in log]
    assert words[:2] == ["watch", "lost"]
    assert words.count("back") == 2
    assert camera.connections >= 4


def test_cameras_are_asked_to_stop_at_the_same_time(monkeypatch):
    monkeypatch.setattr(module, "LEAVE_S", LONGEST_S)
    asked = [threading.Event(), threading.Event()]

    class Slow(ScriptedReader):
        def read(self, stop):
            """Its driver comes back once both were asked."""
            stop.wait(LONGEST_S)
            asked[self.steps[0]].set()
            if not asked[1 - self.steps[0]].wait(LONGEST_S / 2):
                raise ZeroDivisionError("one was waited for before the other was asked")

    captures = [Capture(STREAM, Slow(number), Slot(), Log()) for number in (0, 1)]
    for capture in captures:
        capture.start()
    for capture in captures:
        Camera.ask_to_stop(SimpleNamespace(_ask_to_stop=threading.Event(), _capture=capture))
    assert [capture.stop() for capture in captures] == [True, True]
    assert all(capture.slot.done for capture in captures)
    assert all(one.is_set() for one in asked)
