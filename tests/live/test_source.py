"""What is watched, and what happens when it cannot be."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edgead.errors import InputError
from edgead.live import video
from edgead.live.source import SourceError, parse_source
from edgead.live.video import VideoReader


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", "camera"),
        ("/dev/null", "camera"),  # a device, as /dev/video0 is
        ("rtsp://10.0.0.7:554/main", "stream"),
        ("https://example.org/live.m3u8", "stream"),
        ("videotestsrc ! videoconvert ! appsink", "GStreamer pipeline"),
        ("rtspsrc location=rtsp://10.0.0.7/a ! appsink", "GStreamer pipeline"),
    ],
)
def test_a_source_is_told_by_how_it_is_written(text, kind):
    source = parse_source(text)
    assert (source.kind, source.target) == (kind, text)


def test_files_and_folders_are_told_by_looking(film, tmp_path):
    odd = tmp_path / "a!b"  # a folder may have a name that looks like a pipeline
    odd.mkdir()
    assert parse_source(str(film)).kind == "video file"
    assert parse_source(str(odd)).kind == "folder"


@pytest.mark.parametrize("text", ["", "nothing.avi", "file:///nothing.avi", "-1"])
def test_what_is_none_of_them_is_refused_with_the_choices(text):
    with pytest.raises(InputError, match=r"a camera's number .* a video file or a folder"):
        parse_source(text)


def test_an_image_is_sent_to_score(arrive, frames, tmp_path):
    with pytest.raises(InputError, match="edgead score"):
        parse_source(str(arrive(tmp_path / "one.PNG", frames[0])))


@pytest.mark.parametrize(
    "text", ["rtsp://me:hush@10.0.0.7/a", "rtspsrc location=rtsp://me:hush@h/a ! appsink"]
)
def test_a_login_stays_out_of_the_label(text):
    source = parse_source(text)
    assert "hush" in source.target
    assert "hush" not in source.label and "me" not in source.label
    with pytest.raises(SourceError) as caught:
        VideoReader(source, stall_s=0.1).open()
    assert "hush" not in str(caught.value)


def test_a_film_gives_its_frames_then_none(film, frames):
    reader = VideoReader(parse_source(str(film)), stall_s=1, at_once=True)
    assert reader.open().startswith("70 x 90, 100 Hz")
    stop = threading.Event()
    found = [reader.read(stop) for _ in range(len(frames) + 1)]
    assert found.pop() is None
    for reading, frame in zip(found, frames, strict=True):
        # JPEG blurs colour, but frames of other seeds are far away.
        assert np.abs(reading.image[:16].astype(int) - frame[:16]).mean() < 6
    moments = [reading.captured.monotonic_s for reading in found]
    assert moments == sorted(moments)


def test_a_film_plays_at_its_own_pace(film, script, monkeypatch):
    asked = []

    class Stop(script):
        def wait(self, seconds):
            asked.append(seconds)
            return super().wait(seconds)

    monkeypatch.setattr(video, "time", SimpleNamespace(perf_counter=lambda: 7.0))
    reader = VideoReader(parse_source(str(film)), stall_s=1)
    reader.open()
    stop = Stop(*[None] * 10)
    while reader.read(stop) is not None:
        pass
    # The clock stands still, so frame k is k periods of 10 ms away; the last look finds the end.
    assert asked == pytest.approx([0.01 * k for k in range(7)])


def test_a_file_that_is_no_video_is_refused_with_a_cure(tmp_path):
    path = tmp_path / "notes.avi"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"notes\.avi cannot be opened: .* convert it with ffmpeg"):
        VideoReader(parse_source(str(path)), stall_s=1).open()


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("97", r"camera 97 does not open: .*ls /dev/video"),
        ("nonsense ! appsink", "pipeline nonsense ! appsink does not open: "),
        ("http://127.0.0.1:9/live", "does not open: check the address"),
    ],
)
def test_a_source_that_does_not_open_is_a_device_error_with_a_cure(text, cure):
    with pytest.raises(SourceError, match=cure) as caught:
        VideoReader(parse_source(text), stall_s=1).open()
    assert caught.value.exit_code == 2


def test_ffmpeg_keeps_quiet_and_the_environment_decides(watch, bundle_dir, monkeypatch):
    """Nobody listens at port 9: FFmpeg would say so in words of its own."""
    for level, lines in ((None, 3), ("32", 3)):
        if level is not None:
            monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", level)
        process = watch("rtsp://127.0.0.1:9/x", "--bundle", bundle_dir)
        out, err = process.process.communicate()
        assert len(err.splitlines()) == lines and err.count("edgead: stream") == 1, err
        assert ("FFMPEG" in out) == (level is not None)
