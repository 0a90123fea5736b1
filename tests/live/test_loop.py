"""The loop: what is in a line, what becomes of every frame, and when it stops."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edgead import Detector
from edgead.engine.digests import Digests
from edgead.errors import DeviceError, printable
from edgead.live import source as module
from edgead.live import tally as tally_module
from edgead.live.capture import Slot
from edgead.live.log import Log
from edgead.live.loop import MOST_REGIONS, Loop
from edgead.live.source import Moment, Reading
from edgead.live.tally import Tally
from edgead.result import Result, Scale

TOLERANCE = 1e-4  # the tiny bundle's: float32 convolutions against onnxruntime's


@pytest.fixture(scope="module")
def detector(bundle_dir):
    with Detector(bundle_dir, threads=1) as opened:
        yield opened


class Stage:
    """A loop over a slot filled by hand; ``lines`` is what it wrote, ``log`` what it said."""

    def __init__(self, scorer, out=None):
        self.slot, self.out, self.log = Slot(), out or io.BytesIO(), []
        self.tally = Tally()
        self.loop = Loop(
            scorer, self.slot, self.tally, self.out, lambda *said: self.log.append(said[:2])
        )

    def feed(self, *images, **reading):
        """Each image is put and served before the next, then the source ends."""
        pending = list(images)

        def stopping():
            if pending:
                image = pending.pop(0)
                self.slot.put(Reading(Moment.now(), image, **reading))
            else:
                self.slot.end()
            return False

        self.loop.run(stopping)
        return self.lines

    @property
    def lines(self):
        text = self.out.getvalue()
        assert text == b"" or text.endswith(b"\n")
        return [json.loads(line) for line in text.splitlines()]


def test_a_line_has_what_independent_code_says_of_the_frame(detector, frames, tiny):
    lines = Stage(detector).feed(*frames)
    assert [line["frame"] for line in lines] == list(range(6))
    calibration = np.array(tiny.manifest.calibration.scores)
    for line, frame in zip(lines, frames, strict=True):
        score = tiny.truth(frame)[1]
        assert line["score"] == pytest.approx(score, abs=TOLERANCE)
        p_value = (1 + np.sum(calibration + TOLERANCE >= score)) / (len(calibration) + 1)
        assert line["p_value"] == pytest.approx(p_value)
        assert line["is_anomalous"] is bool(p_value <= 0.05)
        assert line["region_count"] == len(line["regions"])
        assert 0 <= line["queue_age_ms"] <= line["latency_ms"]
        assert set(line) == {
            "frame", "captured", "latency_ms", "queue_age_ms", "score", "p_value", "is_anomalous",
            "threshold", "regions", "region_count", "timings_ms",
        }  # fmt: skip
    assert lines[3]["is_anomalous"] is True
    assert set(lines[3]["regions"][0]) == {"x", "y", "width", "height", "area", "peak"}


def test_the_captured_time_is_iso_utc(detector, frames, monkeypatch):
    clock = SimpleNamespace(time=lambda: 1767225599.9996, perf_counter=lambda: 5.0)
    monkeypatch.setattr(module, "time", clock)
    (line,) = Stage(detector).feed(frames[0])
    assert line["captured"] == "2025-12-31T23:59:59.999Z"


def test_a_clock_that_jumps_spoils_no_latency(detector, frames, monkeypatch):
    walls = iter([2e9, 0.0, 4e9, 3e9, 0.0, 4e9, 1e9] * 10)
    steady = iter(range(1000))
    clock = SimpleNamespace(time=lambda: next(walls), perf_counter=lambda: next(steady) / 1000)
    monkeypatch.setattr(module, "time", clock)
    stage = Stage(detector)
    lines = stage.feed(*frames)
    # Capture, start and end look at the clock once each, one millisecond apart.
    assert [line["queue_age_ms"] for line in lines] == pytest.approx([1.0] * 6)
    assert [line["latency_ms"] for line in lines] == pytest.approx([2.0] * 6)
    assert lines[1]["captured"] > lines[2]["captured"]  # the wall clock is told as it was
    assert [line["frame"] for line in lines] == list(range(6))
    assert stage.tally.percentile_ms(99) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("wall_s", "captured"),
    [(-1e9, "1970-01-01T00:00:00.000Z"), (1e18, "9999-12-31T23:59:59.000Z")],
)
def test_a_clock_that_is_far_off_ends_nothing(detector, frames, monkeypatch, wall_s, captured):
    clock = SimpleNamespace(time=lambda: wall_s, perf_counter=lambda: 5.0)
    monkeypatch.setattr(module, "time", clock)
    (line,) = Stage(detector).feed(frames[0])
    assert line["captured"] == captured


@pytest.mark.parametrize("error", [MemoryError(), ValueError("x"), cv2.error("bad\nlines")])
def test_whatever_a_frame_does_the_next_one_is_scored(detector, frames, error):
    class Scorer:
        def score(self, frame):
            if frame is frames[1]:
                raise error
            return detector.score(frame)

    stage = Stage(Scorer())
    lines = stage.feed(*frames[:3])
    assert ["error" in line for line in lines] == [False, True, False]
    assert type(error).__name__ in lines[1]["error"]
    assert [word for word, _ in stage.log] == ["failed", "fine"]


def test_the_dropped_frames_are_named(detector, frames):
    stage = Stage(detector)
    for image in frames[:4]:
        stage.slot.put(Reading(Moment.now(), image))
    lines = stage.feed(*frames[4:])
    assert [line["frame"] for line in lines] == [4, 5]  # the fifth replaced the fourth
    assert lines[0]["dropped"] == {"count": 4, "first": 0, "last": 3}
    assert "dropped" not in lines[1]
    tally = stage.tally
    assert (tally.verdicts, tally.dropped, stage.slot.frames) == (2, 4, 6)


def test_a_frame_in_work_is_finished_and_written_when_the_stop_comes(detector, frames):
    came = []

    class Scorer:
        def score(self, frame):
            came.append(True)  # the signal arrives while the frame is scored
            stage.slot.put(Reading(Moment.now(), frame))
            return detector.score(frame)

    stage = Stage(Scorer())
    stage.slot.put(Reading(Moment.now(), frames[0]))
    stage.loop.run(lambda: bool(came))
    assert [line["frame"] for line in stage.lines] == [0]
    assert stage.slot.waiting == 1


def test_frames_that_change_size_or_colour_are_scored_and_it_is_said(detector, make_frame, tiny):
    images = [
        make_frame(1),
        make_frame(2),
        make_frame(3, (48, 64)),
        make_frame(4, (48, 64), np.uint16),
        make_frame(5, (96, 40, 3)),
    ]
    stage = Stage(detector)
    lines = stage.feed(*images)
    expected = [tiny.truth(image)[1] for image in images]
    assert [line["score"] for line in lines] == pytest.approx(expected, abs=TOLERANCE)
    assert stage.log == [
        ("change", "frame 2 is 48 x 64 grey uint8, before it was 70 x 90 colour uint8"),
        ("change", "frame 3 is 48 x 64 grey uint16, before it was 48 x 64 grey uint8"),
        ("change", "frame 4 is 96 x 40 colour uint8, before it was 48 x 64 grey uint16"),
    ]


def test_a_frame_that_cannot_be_scored_is_a_line_with_the_error_and_the_rest_goes_on(
    detector, frames
):
    stage = Stage(detector)
    bad = frames[0].astype(np.float32)
    lines = stage.feed(frames[0], bad, bad, frames[1])
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert all("the frame is float32" in line["error"] for line in lines[1:3])
    assert set(lines[1]) == {"frame", "captured", "error"}
    assert "score" in lines[3]
    assert [word for word, _ in stage.log] == ["change", "failed", "failed", "change", "fine"]
    assert (stage.tally.verdicts, stage.tally.failed) == (2, 2)


def test_a_file_that_cannot_be_read_is_a_line_with_its_name(detector):
    (line,) = Stage(detector).feed(None, file="a/b.png", error="image a/b.png is an empty file")
    assert (line["file"], line["error"]) == ("a/b.png", "image a/b.png is an empty file")


def test_files_with_the_same_trouble_are_one_line_and_a_count(detector):
    said = []
    stage = Stage(detector)
    stage.loop.say = Log(said.append).say
    for number in range(50):
        name = f"in/{'x' * number}\n{number}.png"
        for shown in (name, printable(name)):
            stage.slot.put(Reading(Moment.now(), None, name, f"image {shown}: {number} bytes lack"))
            stage.loop.run(iter([False, True]).__next__)
    assert len(said) == 1 and len(stage.lines) == 100


def test_a_device_that_fails_ends_the_loop_and_keeps_what_was_written(detector, frames):
    class Scorer:
        def score(self, frame):
            if frame is frames[1]:
                raise DeviceError("the engine is gone")
            return detector.score(frame)

    stage = Stage(Scorer())
    with pytest.raises(DeviceError):
        stage.feed(*frames)
    assert [line["frame"] for line in stage.lines] == [0]


def test_a_line_is_one_write_and_no_longer_than_a_pipe_takes_at_once():
    """POSIX promises that a write of up to PIPE_BUF (4096) bytes to a pipe is not divided."""
    writes = []

    class Raw(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            writes.append(bytes(data))
            return len(data)

    peaks = np.zeros((60, 60), np.float32)
    peaks[::3, ::3] = np.random.default_rng(0).uniform(1 / 3, 1, (20, 20)) * 1e-30

    class Scorer:
        def score(self, frame):
            scale = Scale(typical=0.0, threshold=1e-32)
            return Result(1 / 3, 1 / 3, True, 2e-32 / 3, peaks, {}, "bgr", scale, frame=frame)

    stage = Stage(Scorer(), io.BufferedWriter(Raw()))
    image = np.zeros((60, 60), np.uint8)
    for number in range(1000):
        stage.slot.put(Reading(Moment.now(), image, file="x" * 500 + f"{number}.png"))
    stage.loop.run(lambda: bool(writes))
    (written,) = writes
    line = json.loads(written)
    assert line["region_count"] == 400
    assert len(line["regions"]) == MOST_REGIONS
    best = np.sort(peaks, axis=None)[::-1][:MOST_REGIONS]
    assert [region["peak"] for region in line["regions"]] == pytest.approx(list(best))
    assert written.endswith(b"\n") and len(written) <= 4096 - 1400  # of the checks: test_checks


def test_digests_take_the_place_of_the_lowest_regions_in_a_full_line():
    peaks = np.zeros((60, 60), np.float32)
    peaks[::3, ::3] = np.random.default_rng(0).uniform(1 / 3, 1, (20, 20)) * 1e-30
    hashed = "0123456789abcdef" * 4
    digests = Digests(hashed, hashed, ((hashed, hashed),) * 12, hashed, {"color": "bgr"})

    class Scorer:
        def score(self, frame):
            scale = Scale(typical=0.0, threshold=1e-32)
            return Result(
                1 / 3, 1 / 3, True, 2e-32 / 3, peaks, {}, "bgr", scale, digests=digests, frame=frame
            )

    stage = Stage(Scorer())
    (line,) = stage.feed(np.zeros((60, 60), np.uint8), file="x" * 500 + ".png")
    written = stage.out.getvalue()
    assert len(written) <= 4096 < len(written) + 150  # a region takes less: none was left out idly
    assert line["digests"] == digests.to_json()
    assert line["region_count"] == 400
    best = np.sort(peaks, axis=None)[::-1][: len(line["regions"])]
    assert 0 < len(best) < MOST_REGIONS
    assert [region["peak"] for region in line["regions"]] == pytest.approx(list(best))


def test_percentiles_are_of_the_last_verdicts(monkeypatch):
    monkeypatch.setattr(tally_module, "KEPT", 4)
    tally = Tally()
    assert tally.percentile_ms(50) is None
    for ms in (9.0, 1.0, 2.0):
        tally.note(is_anomalous=ms > 8, latency_ms=ms)
    assert tally.percentile_ms(50) == 2 and tally.percentile_ms(100) == 9
    for ms in (3.0, 4.0):
        tally.note(is_anomalous=False, latency_ms=ms)
    assert tally.percentile_ms(100) == 4  # 9 is the fifth last
    assert (tally.verdicts, tally.anomalous) == (5, 1)
