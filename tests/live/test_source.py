"""What is watched, and what happens when it cannot be."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edgead.errors import InputError
from edgead.live.source import SourceError, parse_source, quiet_opencv
from edgead.live.sources import video
from edgead.live.sources.video import VideoReader


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", "camera"),
        ("/dev/null", "camera"),  # a device, as /dev/video0 is
        ("rtsp://10.0.0.7:554/main", "stream"),
        ("https://example.org/live.m3u8", "stream"),
        ("rtsp://me:let!me!in@10.0.0.7/main", "stream"),
        ("http://10.0.0.7/video?on=1!2", "stream"),
        ("videotestsrc ! videoconvert ! appsink", "GStreamer pipeline"),
        ("rtspsrc location=rtsp://10.0.0.7/a ! appsink", "GStreamer pipeline"),
        ("videotestsrc!appsink", "GStreamer pipeline"),
        ("rtsp://10.0.0.7/a ! decodebin ! appsink", "GStreamer pipeline"),  # as gst-launch takes it
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


def test_a_pipeline_may_be_longer_than_any_file_name():
    text = f"videotestsrc name={'x' * 5000} ! appsink"
    assert parse_source(text).kind == "GStreamer pipeline"


@pytest.mark.parametrize(
    "text", ["", "nothing.avi", "x" * 5000, "a\0b", "file:///nothing.avi", "-1"]
)
def test_what_is_none_of_them_is_refused_with_the_choices(text):
    with pytest.raises(InputError, match=r"a camera's number .* a video file or a folder"):
        parse_source(text)


def test_an_image_is_sent_to_score(arrive, frames, tmp_path):
    with pytest.raises(InputError, match="edgead score"):
        parse_source(str(arrive(tmp_path / "one.PNG", frames[0])))


LOGINS = {
    "rtsp://me:hush@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hush!@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hush@hush@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hush/hush@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hush@/hush@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hu sh@10.0.0.7/a": "stream rtsp://…@10.0.0.7/a",
    "rtsp://me:hush?hush@10.0.0.7/a": "stream rtsp://…",
    "rtsp://me:hush#hush@10.0.0.7/a?b": "stream rtsp://…",
    "http://10.0.0.7/v.cgi?user=me&pwd=hush": "stream http://10.0.0.7/v.cgi?…",
    "http://10.0.0.7/v.cgi?user=me&pwd=a@hush": "stream http://…",
    "rtsp://10.0.0.7/user=me_password=hush_channel=1": "stream rtsp://10.0.0.7/user=…",
    "rtspsrc location=rtsp://me:hush@h/a ! appsink": "pipeline rtspsrc location=rtsp://…@h/a ! "
    "appsink",
    'rtspsrc location="rtsp://me:hu sh!hush@h/a" ! appsink': "pipeline rtspsrc "
    'location="rtsp://…@h/a" ! appsink',
    "rtspsrc location=rtsp://h/a user-id=me user-pw=hush ! appsink": "pipeline rtspsrc "
    "location=rtsp://h/a user-id=… user-pw=… ! appsink",
    r"""souphttpsrc user-id = 'me' user-pw="hu\"sh hush" ! appsink""": "pipeline souphttpsrc "
    "user-id = … user-pw=… ! appsink",
    """a location='http://h/a?pwd=hush b' proxy-pw=(string)"a hush" ! appsink""": "pipeline "
    "a location='http://h/a?…' proxy-pw=… ! appsink",
    "srtsrc uri=srt://h:1?passphrase=hush passphrase=hu\\ sh ! appsink": "pipeline srtsrc "
    "uri=srt://h:1?… passphrase=… ! appsink",
}


@pytest.mark.parametrize(("text", "label"), LOGINS.items())
def test_a_login_stays_out_of_the_label(text, label):
    source = parse_source(text)
    assert (source.target, source.label) == (text, label)


@pytest.mark.parametrize(
    "text", ["me:hush@10.0.0.7/a", "10.0.0.7/v.cgi?user=me&pwd=hush", "file://me:hush@h/a"]
)
def test_a_login_stays_out_of_a_refusal(text):
    with pytest.raises(InputError, match="does not exist") as caught:
        parse_source(text)
    assert "hush" not in str(caught.value) and "me" not in str(caught.value).split(" does ")[0]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("rtsp://10.0.0.7:554/main", "stream rtsp://10.0.0.7:554/main"),
        ("videotestsrc pattern=18 ! appsink", "pipeline videotestsrc pattern=18 ! appsink"),
        (
            "v4l2src device=/dev/video0 ! x264enc key-int-max=30 ! appsink",
            "pipeline v4l2src device=/dev/video0 ! x264enc key-int-max=30 ! appsink",
        ),
    ],
)
def test_what_is_no_login_is_shown(text, label):
    assert parse_source(text).label == label


def test_a_source_that_does_not_open_shows_no_login():
    for text in ("rtsp://me:hush@127.0.0.1:9/a", "rtspsrc user-pw=hush location=a ! appsink"):
        with pytest.raises(SourceError) as caught:
            VideoReader(parse_source(text), stall_s=0.1).open()
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


class Holey:
    """A cv2.VideoCapture whose ``grab`` works and whose ``retrieve`` fails where ``holes`` says."""

    def __init__(self, images, holes, ends=True):
        self._images, self._holes, self._ends, self._at = images, holes, ends, -1

    def isOpened(self):
        return True

    def get(self, key):
        return 0.0

    def getBackendName(self):
        return "HOLEY"

    def grab(self):
        self._at += 1
        return not self._ends or self._at < len(self._images)

    def retrieve(self):
        if self._at in self._holes:
            return False, None
        return True, self._images[self._at]

    def release(self):
        pass


def test_a_frame_of_a_film_that_cannot_be_decoded_is_an_error_and_the_rest_is_seen(
    film, frames, monkeypatch
):
    holey = Holey(frames * 10, {1, *range(4, 50)})
    monkeypatch.setattr(VideoReader, "_opened", lambda _: holey)
    reader = VideoReader(parse_source(str(film)), stall_s=1, at_once=True)
    reader.open()
    found = list(iter(lambda: reader.read(threading.Event()), None))
    assert len(found) == 60
    for number, reading in enumerate(found):
        if number in holey._holes:
            assert reading.image is None
            assert reading.error == f"a frame of video file {film} cannot be decoded"
        else:
            assert reading.image is (frames * 10)[number] and reading.error is None


def test_a_library_that_raises_gives_an_error_or_a_loss(frames, monkeypatch):
    class Raising(Holey):
        def grab(self):
            if self._at == 3:
                raise cv2.error("the stream is damaged")
            return super().grab()

        def retrieve(self):
            if self._at == 1:
                raise MemoryError
            return super().retrieve()

    monkeypatch.setattr(VideoReader, "_opened", lambda _: Raising(frames, ()))
    reader = VideoReader(parse_source("0"), stall_s=1)
    reader.open()
    found = list(iter(lambda: reader.read(threading.Event()), None))
    assert [reading.error is None for reading in found] == [True, False, True, True]


def test_a_pipeline_opens_with_an_opencv_whose_gstreamer_knows_no_limits(frames, monkeypatch):
    """OpenCV 4.6 refuses a pipeline for the two properties, and opens it without."""

    class Closed(Holey):
        def isOpened(self):
            return False

    def capture(target, api, limits=None):
        assert (target, api) == ("videotestsrc ! appsink", cv2.CAP_GSTREAMER)
        return Holey(frames, ()) if limits is None else Closed(frames, ())

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    reader = VideoReader(parse_source("videotestsrc ! appsink"), stall_s=1)
    assert reader.open().endswith("by HOLEY")
    assert reader.read(threading.Event()).image is frames[0]


def test_an_opencv_without_the_module_logging_is_silenced_too(monkeypatch):
    levels = []
    monkeypatch.delattr(cv2.utils, "logging")
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    quiet_opencv()
    assert levels == [0]


def test_a_camera_that_gives_only_rubbish_is_lost(frames, monkeypatch):
    endless = Holey(frames, range(2, 10**6), ends=False)
    monkeypatch.setattr(VideoReader, "_opened", lambda _: endless)
    reader = VideoReader(parse_source("0"), stall_s=1)
    reader.open()
    found = list(iter(lambda: reader.read(threading.Event()), None))
    assert [reading.image is None for reading in found] == [False] * 2 + [True] * 30


def test_a_file_that_is_no_video_is_refused_with_a_cure(tmp_path):
    path = tmp_path / "notes.avi"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"notes\.avi cannot be opened: .* convert it with ffmpeg"):
        VideoReader(parse_source(str(path)), stall_s=1).open()


@pytest.mark.parametrize(
    ("name", "code"), [("a.avi", "MJPG"), ("a.mkv", "FFV1"), ("a.avi", "XVID")]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_film_that_is_cut_off_says_where_and_what_is_there_is_seen(
    tmp_path, frames, name, code, share
):
    path = tmp_path / name
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 100, (90, 70))
    for number in range(40):
        writer.write(frames[number % 6])
    writer.release()
    whole = VideoReader(parse_source(str(path)), stall_s=1, at_once=True)
    assert ", 40 frames, by" in whole.open()
    all_of_them = list(iter(lambda: whole.read(threading.Event()), None))
    assert len(all_of_them) == 40
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    cut = VideoReader(parse_source(str(path)), stall_s=1, at_once=True)
    cut.open()
    seen = 0
    with pytest.raises(
        InputError, match=r"stops after (\d+) of 40 frames: it is cut off"
    ) as caught:
        while (reading := cut.read(threading.Event())) is not None:
            assert np.array_equal(reading.image, all_of_them[seen].image)  # no half picture
            seen += 1
    assert f" after {seen} of " in str(caught.value) and 0 < seen < 40


@pytest.mark.parametrize(
    ("name", "code"), [("a.ts", "mp4v"), ("a.mpg", "mpg1"), ("a.wmv", "WMV2"), ("a.mp4", "mp4v")]
)
def test_a_film_that_cannot_say_that_its_end_is_missing_says_so(tmp_path, frames, name, code):
    path = tmp_path / name
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (96, 72))
    for number in range(20):
        writer.write(cv2.resize(frames[number % 6], (96, 72)))
    writer.release()
    reader = VideoReader(parse_source(str(path)), stall_s=1, at_once=True)
    assert ("a missing end is not noticed" in reader.open()) == (name != "a.mp4")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_picture_that_a_camera_broke_off_is_no_frame(frames, http_camera, share):
    picture = cv2.imencode(".jpg", frames[0])[1].tobytes()
    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    half = head.encode() + picture[: int(share * len(picture))]
    reader = VideoReader(parse_source(http_camera([*frames, half]).url), stall_s=60)
    reader.open()
    seen = list(iter(lambda: reader.read(threading.Event()), None))
    assert len(seen) == len(frames) and not any(reading.error for reading in seen)


def test_a_recording_that_is_streamed_ends_and_a_camera_does_not(film, frames, http_camera):
    """Opened again, a recording would give the same frames as new ones."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=film.parent)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{film.name}"
        reader = VideoReader(parse_source(url), stall_s=60, at_once=True)
        reader.open()
        assert reader.ends
        assert len(list(iter(lambda: reader.read(threading.Event()), None))) == len(frames)
        server.shutdown()
    camera = VideoReader(parse_source(http_camera(frames).url), stall_s=60)
    camera.open()
    assert not camera.ends


@pytest.mark.parametrize("text", ["9" * 5000, "\u0663", "1e3", "-1", "0x1"])
def test_what_is_no_number_of_a_camera_is_refused(text):
    with pytest.raises(InputError, match="does not exist"):
        parse_source(text)


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
