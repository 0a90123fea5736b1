"""line.toml: what it may say, and that a mistake is named by its line and key."""

from __future__ import annotations

from datetime import datetime
from threading import Event

import numpy as np
import pytest

from edgead.errors import DeviceError, InputError
from edgead.live import schedule as module
from edgead.live.camera_settings import KEYS, CameraSettings
from edgead.live.clock import Clock
from edgead.live.line_file import line_of, read_line_file
from edgead.live.region import Region, parse_region
from edgead.live.schedule import Schedule, Until, parse_schedule
from edgead.live.source import Moment

GOOD = """\
# two cameras
[defaults]
bundle = "cell.edgead"
rate_hz = 10

[sink.plant]
kind = "mqtt"
host = "broker"

[[camera]]
name = "left"
source = "0"
sinks = ["plant"]

[[camera]]
name = "right"
source = "rtsp://me:hush@10.0.0.7/main"
bundle = "other.edgead"
roi = [10, 20,
       300, 200]
schedule = "mon-fri 06:00-22:00"
options = { exposure_us = 5000 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "line.toml"
        path.write_text(text)
        return path

    return write


def test_a_good_file_is_read(write, tmp_path):
    file = read_line_file(write(GOOD))
    left, right = file.cameras
    assert (left.name, left.source, left.rate_hz, left.sinks) == ("left", "0", 10.0, ("plant",))
    assert left.bundle == str(tmp_path / "cell.edgead")  # from the folder of the file
    assert right.bundle == str(tmp_path / "other.edgead")
    assert right.roi == Region(10, 20, 300, 200)
    assert right.options == {"exposure_us": 5000}
    assert [(sink.name, sink.settings["host"]) for sink in file.sinks] == [("plant", "broker")]


def test_a_source_that_lies_beside_the_file_is_found_there(write, tmp_path):
    (tmp_path / "incoming").mkdir()
    text = GOOD.replace('source = "0"', 'source = "incoming"')
    assert read_line_file(write(text)).cameras[0].source == str(tmp_path / "incoming")


MISTAKES = [
    ("rate_hz = 10", "rate_hz = 0", r"line 4: defaults\.rate_hz is 0: expected a number from"),
    ("rate_hz = 10", 'name = "x"', r"line 4: defaults\.name is not a key of a camera"),
    ('name = "left"', 'name = "a/b"', r"line 11: camera\.name is 'a/b': expected a name"),
    ('name = "right"', 'name = "left"', r"line 16: camera\.name 'left' is there twice"),
    ('name = "right"', "", r"line 15: camera\.name is missing"),
    ('source = "0"', "source = 0", r"line 12: camera\.source is 0: expected a text"),
    ('source = "0"', "", r"line 10: camera\.source is missing"),
    (
        'sinks = ["plant"]',
        'sinks = ["plan"]',
        r"line 13: camera\.sinks names 'plan' \(did you",
    ),
    ("rate_hz = 10", "rate = 10", r"line 4: defaults\.rate is not a key .*did you mean rate_hz\?"),
    ("300, 200]", "300, 0]", r"line 19: camera\.roi: roi \[10, 20, 300, 0\]: expected x, y, width"),
    (
        "mon-fri",
        "moon-fri",
        r"line 21: camera\.schedule: schedule 'moon-fri 06:00-22:00': expected",
    ),
    ("exposure_us = 5000", "a = [1]", r"line 22: camera\.options is .*: expected a table of texts"),
    ('kind = "mqtt"', "", r"line 6: sink\.plant has no kind"),
    ("[sink.plant]", "[sinks.plant]", r"line 6: sinks is unknown \(did you mean sink\?\)"),
    ("# two cameras", "two cameras", r"is not TOML: .*line 1"),
    (GOOD, "", r"line 1: camera is missing or no list of tables"),
    (GOOD, "[camera]\nname = 'x'", r"line 1: camera is missing or no list of tables"),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES)
def test_a_mistake_is_named_by_line_and_key(write, old, new, words):
    assert old in GOOD
    with pytest.raises(InputError, match=words):
        read_line_file(write(GOOD.replace(old, new)))


def test_two_cameras_may_not_share_a_folder_of_evidence(write):
    text = GOOD.replace("rate_hz = 10", 'evidence = "seen"')
    with pytest.raises(InputError, match=r"line 15: camera\.evidence .*left too: each camera"):
        read_line_file(write(text))


def test_evidence_does_not_lie_where_records_keep_frames(write):
    records = '[records]\nfolder = "records"\n'
    own = 'name = "left"\nevidence = "seen/../records/left"'
    text = records + GOOD.replace('name = "left"', own, 1)
    with pytest.raises(InputError, match=r"evidence .*is where \[records\] keeps frames: choose"):
        read_line_file(write(text))
    read_line_file(write(text.replace("seen/../records/left", "records/seen")))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--config: .*nothing\.toml does not exist"):
        read_line_file(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(InputError, match="byte 2 is not UTF-8"):
        read_line_file(tmp_path / "latin.toml")


def test_what_is_wrong_later_has_its_line_and_its_exit_code(write):
    file = read_line_file(write(GOOD))

    def fail():
        raise DeviceError("the engine fails")

    with pytest.raises(DeviceError, match=r"line 18: camera\.bundle: the engine fails"):
        file.within(("camera", 1, "bundle"), fail)


def test_lines_of_values_that_take_several():
    text = 'a = """\n[b]\nc = 1\n"""\n# c = 2\n\n[b]\nc = [\n  3,\n]\n'
    assert [line_of(text, where) for where in (("a",), ("b",), ("b", "c"), ("d",))] == [1, 7, 8, 1]


def test_every_setting_of_a_camera_has_its_key():
    assert set(KEYS) == set(CameraSettings.__dataclass_fields__)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "-1,0,2,2", "0,0,0,2", "a,0,2,2", ""])
def test_a_region_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="expected x, y, width and height in pixels"):
        parse_region(text)


def test_a_region_is_cut_and_one_over_the_edge_is_refused():
    image = np.arange(5 * 7).reshape(5, 7)
    assert parse_region("2,1,3,4").cut(image).tolist() == image[1:5, 2:5].tolist()
    with pytest.raises(InputError, match="over the edge of a frame of 5 x 7"):
        parse_region("5,0,3,1").cut(image)


MONDAY = datetime(2026, 11, 30)


@pytest.mark.parametrize(
    ("texts", "inside", "outside"),
    [
        (["mon-fri 06:00-22:00"], ["0 06:00", "4 21:59"], ["0 05:59", "0 22:00", "5 12:00"]),
        (["08:00-12:30"], ["0 08:00", "6 12:29"], ["2 12:30"]),
        (["22:00-06:00"], ["0 23:00", "1 05:59"], ["0 21:59", "1 06:00"]),
        (["fri 22:00-06:00"], ["4 22:00", "5 05:00"], ["4 05:00", "5 22:00"]),
        (["sat-mon 00:00-24:00"], ["5 00:00", "6 12:00", "0 23:59"], ["1 00:00", "4 23:59"]),
        (["mon 06:00-07:00", "tue 08:00-09:00"], ["0 06:30", "1 08:30"], ["0 08:30"]),
    ],
)
def test_a_schedule_is_open_within_its_spans(texts, inside, outside):
    spans = parse_schedule(texts).spans
    for moments, expected in ((inside, True), (outside, False)):
        for moment in moments:
            day, hour, minute = int(moment[0]), int(moment[2:4]), int(moment[5:])
            now = MONDAY.replace(day=30, hour=hour, minute=minute)
            now = now if day == 0 else datetime(2026, 12, day, hour, minute)
            assert now.weekday() == day
            assert Schedule(spans, lambda now=now: now).is_open is expected, moment


@pytest.mark.parametrize(
    "text", ["", "mon", "6:00-7:00", "06:00-06:00", "06:00-25:00", "06:60-07:00", "xxx 06:00-07:00"]
)
def test_a_schedule_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="expected days and hours as mon-fri"):
        parse_schedule([text])


def test_a_camera_sleeps_until_its_schedule_opens_whatever_the_clock_does(script, monkeypatch):
    hours = iter([5, 5, 5, 9])  # the clock is set forward while it sleeps
    schedule = Schedule(
        parse_schedule(["08:00-12:00"]).spans, lambda: MONDAY.replace(hour=next(hours, 9))
    )
    said = []
    assert schedule.wait(script(None, None, None), lambda *words: said.append(words)) is False
    assert said == [("sleep", "outside of its schedule until Mon 08:00")]
    assert not Until(Event(), schedule).is_set()
    assert module.LOOK_S <= 1


def test_a_clock_that_is_set_is_told_once_and_a_slow_one_is_not():
    said = []
    moments = iter(
        [Moment(1000.0, 0.0), Moment(1010.0, 10.0), Moment(4620.0, 20.0), Moment(4630.9, 30.0)]
    )
    clock = Clock(lambda *words: said.append(words), lambda: next(moments))
    for _ in range(3):
        clock.tick()
    assert [word for word, *_ in said] == ["clock"]
    assert "was set by +3600.0 s" in said[0][1]
