"""Industrial cameras: Basler's emulated ones, Aravis's fake one on the network, GStreamer's test
source and an RTSP server; each where its library is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from edgead.errors import DeviceError, InputError
from edgead.live.source import Source, SourceError, parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.industrial import Losses
from edgead.live.sources.libaravis import aravis
from edgead.live.sources.libgstreamer import gstreamer
from edgead.live.sources.setup import Setup

FAKE = "arv-fake-gv-camera-0.8"
LONGEST_S = 60


@pytest.fixture
def opened() -> Iterator[object]:
    """``opened(text, stall_s=…, option=…)``: a Reader that is open; what it says of itself."""
    readers = []

    def make(text: str, stall_s: float = 20.0, **options: object):
        reader = open_reader(parse_source(text), Setup(options=options, stall_s=stall_s))
        readers.append(reader)
        return reader, reader.open()

    yield make
    for reader in readers:
        reader.close()


def images(reader, number: int) -> list:
    found = [reader.read(Event()) for _ in range(number)]
    assert all(reading is not None and reading.image is not None for reading in found), found
    return found


# Basler


@pytest.fixture
def basler(pylon, monkeypatch) -> str:
    """The first of two emulated cameras."""
    return "pylon:0815-0000"


def test_an_emulated_camera_numbers_its_frames(basler, opened):
    reader, about = opened(basler, Width=64, Height=48, rate_hz=50, exposure_us=2000)
    assert about == "Emulation 0815-0000, 48 x 64 Mono8, runs freely"
    found = images(reader, 3)
    assert [reading.stamp.frame for reading in found] == [0, 1, 2]
    assert {reading.image.shape for reading in found} == {(48, 64)}
    assert [reading.stamp.lost_frames for reading in found] == [0, 0, 0]
    assert not np.array_equal(found[0].image, found[1].image)  # the test picture moves


@pytest.mark.parametrize(
    ("form", "bits", "shape"),
    [
        ("Mono12", 12, (48, 64)),
        ("Mono16", 16, (48, 64)),
        ("BayerRG12", 12, (48, 64, 3)),
        ("BGR8Packed", None, (48, 64, 3)),
        ("RGB16Packed", 16, (48, 64, 3)),
    ],
)
def test_the_bit_depth_is_that_of_the_pixel_format(basler, opened, form, bits, shape):
    reader, _ = opened(basler, Width=64, Height=48, pixel_format=form)
    (reading,) = images(reader, 1)
    assert (reading.bit_depth, reading.image.shape) == (bits, shape)
    assert reading.image.dtype == (np.uint16 if bits else np.uint8)
    assert bits is None or reading.image.max() < 2**bits


def test_frames_by_software_trigger_come_when_they_are_asked_for(basler, opened):
    reader, about = opened(basler, Width=64, Height=48, trigger="software", rate_hz=100)
    assert about.endswith("triggered by software")
    assert [reading.stamp.frame for reading in images(reader, 3)] == [0, 1, 2]


def test_a_camera_that_waits_for_a_signal_is_not_lost(basler, opened):
    reader, about = opened(basler, stall_s=0.01, trigger="line1")
    assert about.endswith("waits for line1")
    stop = Event()
    started = time.monotonic()

    class Stop:
        def is_set(self):
            return time.monotonic() - started > 0.5

        def wait(self, timeout):
            return stop.wait(timeout)

    assert reader.read(Stop()) is None
    assert time.monotonic() - started > 0.4  # far more than stall_s: it waited until it was told


def test_a_frame_that_did_not_arrive_whole_is_an_error_and_counted(basler, opened):
    # The emulation numbers the frames that fail, too.
    reader, _ = opened(basler, Width=64, Height=48, ForceFailedBufferCount=2, ForceFailedBuffer=1)
    found = [reader.read(Event()) for _ in range(4)]
    assert [reading.image is None for reading in found] == [True, True, False, False]
    assert "frame 0 of pylon 0815-0000 did not arrive whole" in found[0].error
    assert [reading.stamp.lost_frames for reading in found] == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        (
            "9",
            {},
            r"there is no such camera; those that are there: pylon:0815-0000 \(Emulation\), ",
        ),
        ("", {}, "2 cameras are meant: name one"),
        (
            "0815-0000",
            {"pixel_format": "Mono13"},
            "PixelFormat cannot be set to 'Mono13': .*Mono12",
        ),
        ("0815-0000", {"Widht": 3}, "this camera has no feature Widht"),
        ("0815-0000", {"Width": 3000000}, "Width cannot be set to 3000000"),
    ],
)
def test_what_a_basler_camera_cannot_do_is_named(basler, opened, target, options, words):
    with pytest.raises(SourceError, match=words):
        opened(f"pylon:{target}", **options)
    reader, _ = opened("pylon:0815-0000")  # and it is free again
    images(reader, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exposure": 3}, "has no option 'exposure': it has exposure_us, gain, pixel_format"),
        ({"exposure_us": 0}, "exposure_us is 0: expected more than 0 µs"),
        ({"rate_hz": "fast"}, "rate_hz is 'fast': expected more than 0 Hz"),
        ({"trigger": "lin1"}, "trigger is 'lin1': expected free or software or line0"),
        ({"bayer": "rgbg"}, "bayer is 'rgbg': expected rggb or grbg"),
    ],
)
def test_a_wrong_option_is_refused_before_the_camera_is_touched(basler, options, words):
    with pytest.raises(InputError, match=words):
        open_reader(parse_source(basler), Setup(options=options))


def test_a_live_source_drops_frames(basler):
    with pytest.raises(InputError, match="--every-frame with pylon 0815-0000: not supported"):
        open_reader(parse_source(basler), Setup(every_frame=True))


def test_two_cameras_of_12_bits_are_watched_and_every_verdict_has_its_frame(
    pylon, watch, bundle_dir, tmp_path
):
    text = f'[defaults]\nbundle = "{bundle_dir}"\nthreads = 1\n'
    text += 'options = { pixel_format = "Mono12", Width = 90, Height = 70, rate_hz = 20 }\n'
    for number in range(2):
        text += f'[[camera]]\nname = "c{number}"\nsource = "pylon:0815-000{number}"\n'
    (tmp_path / "line.toml").write_text(text)
    process = watch("--config", tmp_path / "line.toml")
    lines = [process.line() for _ in range(20)]
    process.process.send_signal(signal.SIGTERM)
    code, more, log = process.end()
    lines += more
    assert code == 0 and "looks like" not in log, log  # no doubt of the bits
    for name in ("c0", "c1"):
        own = [line for line in lines if line["camera"] == name]
        assert own and all("error" not in line for line in own)
        expected = 0
        for line in own:
            expected = line["frame"] - line.get("dropped", {"count": 0})["count"]
            assert line["camera_frame"] == line["frame"]
            assert line["lost_frames"] == 0 and expected >= 0
        numbers = [line["frame"] for line in own]
        missing = sum(line.get("dropped", {"count": 0})["count"] for line in own)
        assert len(numbers) + missing == numbers[-1] + 1  # each frame is scored or named
    assert len({line["id"] for line in lines}) == len(lines)


def test_12_bits_are_scaled_as_12(pylon, watch, bundle_dir, tmp_path):
    from edgead import Detector

    words = ["--bundle", bundle_dir, "--set", "pixel_format=Mono12", "--set", "Width=90"]
    words += ["--set", "Height=70", "--evidence", tmp_path / "seen", "--false-reject-rate", "0.5"]
    process = watch("pylon:0815-0000", *words)
    line = process.line()
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0
    import cv2

    saved = sorted((tmp_path / "seen").glob(f"*_{line['frame']:08}_frame.png"))
    frame = cv2.imread(str(saved[0]), cv2.IMREAD_UNCHANGED)
    assert frame.dtype == np.uint16 and frame.max() < 4096
    with Detector(bundle_dir, bit_depth=12) as right, Detector(bundle_dir) as wrong:
        assert right.score(frame).score == line["score"] != wrong.score(frame).score


def test_a_bit_depth_that_the_camera_contradicts_is_an_error_of_each_frame(
    pylon, watch, bundle_dir
):
    words = ["--bundle", bundle_dir, "--set", "pixel_format=Mono12", "--bit-depth", "10"]
    process = watch("pylon:0815-0000", *words)
    assert "the camera gives 12 bits, --bit-depth (bit_depth) says 10" in process.line()["error"]
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0


# GigE Vision


@pytest.fixture
def fake_gige() -> Iterator[object]:
    """``fake_gige(*words)``: starts the fake camera of Aravis on loopback; the process."""
    if shutil.which(FAKE) is None:
        pytest.skip("Aravis is not installed")
    try:
        aravis()
    except DeviceError:
        pytest.skip("Aravis is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        give_up = time.monotonic() + LONGEST_S
        while True:  # its port is fixed: other tests on this machine may have it
            process = subprocess.Popen([FAKE, "-i", "127.0.0.1", *words])
            started.append(process)
            while process.poll() is None and time.monotonic() < give_up:
                if aravis().cameras():
                    return process
            assert time.monotonic() < give_up, "the fake camera does not answer"
            time.sleep(0.2)

    yield start
    for process in started:
        process.kill()
        process.wait()


SMALL = {"Width": 120, "Height": 100, "rate_hz": 50}  # fits the network buffers of any machine


def test_a_gige_camera_numbers_and_times_its_frames(fake_gige, opened):
    fake_gige()
    reader, about = opened("aravis:127.0.0.1", exposure_us=5000, gain=2, **SMALL)
    assert about == "Fake, 100 x 120 Mono8, runs freely"
    found = images(reader, 4)
    numbers = [reading.stamp.frame for reading in found]
    times = [reading.stamp.time_ns for reading in found]
    assert numbers == list(range(numbers[0], numbers[0] + 4)) and times == sorted(set(times))
    assert {reading.image.shape for reading in found} == {(100, 120)}
    assert found[-1].stamp.lost_packets == found[-1].stamp.lost_frames == 0
    other = open_reader(parse_source("aravis:Aravis-Fake-GV01"), Setup())
    assert other.read(Event()) is None  # not open
    reader.close()
    reader, about = opened("aravis:", pixel_format="Mono16", trigger="software", **SMALL)
    assert about == "Fake, 100 x 120 Mono16, triggered by software"
    assert [reading.bit_depth for reading in images(reader, 2)] == [16, 16]


def test_a_gige_camera_that_is_taken_is_named_and_one_that_went_away_is_lost(fake_gige, opened):
    process = fake_gige()
    reader, _ = opened("aravis:127.0.0.1", stall_s=0.5, **SMALL)
    images(reader, 1)
    code = (
        "from edgead.live.source import parse_source, SourceError\n"
        "from edgead.live.sources import open_reader\n"
        "from edgead.live.sources.setup import Setup\n"
        "try: open_reader(parse_source('aravis:127.0.0.1'), Setup()).open()\n"
        "except SourceError as error: print(error)\n"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "aravis 127.0.0.1 does not open: another program controls it" in other.stdout
    images(reader, 1)  # and the first one goes on
    process.kill()
    process.wait()
    for _ in range(20):  # what had arrived
        if (reading := reader.read(Event())) is None:
            break
    assert reading is None
    with pytest.raises(SourceError, match=r"does not open: .*; Aravis finds no camera at all"):
        reader.open()
    fake_gige()
    assert reader.open().startswith("Fake, ")
    images(reader, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pixel_format": "Mono13"}, "pixel_format cannot be set to 'Mono13'"),
        ({"Widht": 3}, "Widht cannot be set to 3: .*Not found"),
        ({"trigger": "line9"}, "trigger cannot be set to 'Line9'"),
    ],
)
def test_what_a_gige_camera_cannot_do_is_named(fake_gige, opened, options, words):
    fake_gige()
    with pytest.raises(SourceError, match=words):
        opened("aravis:127.0.0.1", **options)


def test_lost_packets_are_counted_and_their_frames_are_errors(fake_gige, opened):
    fake_gige("-r", "200")  # a fifth of all packets
    reader, _ = opened("aravis:127.0.0.1", Width=200, Height=200, rate_hz=50)
    found = [reader.read(Event()) for _ in range(8)]
    broken = [reading for reading in found if reading.image is None]
    assert broken and all("did not arrive whole: " in reading.error for reading in broken)
    assert found[-1].stamp.lost_packets > 0
    assert found[-1].stamp.lost_frames >= len(broken)


def test_a_camera_killed_and_restarted_gives_verdicts_again(fake_gige, watch, bundle_dir):
    process = fake_gige()
    words = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    watched = watch(
        "aravis:127.0.0.1", "--bundle", bundle_dir, "--stall-seconds", 1, "--threads", 1, *words
    )
    before = watched.line()
    process.kill()
    process.wait()
    watched.wait_for_log("lost   aravis 127.0.0.1 gives no more frames; trying again in 0.5 s")
    fake_gige()
    watched.wait_for_log("back   aravis 127.0.0.1 after ")
    after = watched.line()
    assert after["frame"] > before["frame"] and "score" in after
    watched.process.send_signal(signal.SIGTERM)
    assert watched.end()[0] == 0


def test_losses_are_gaps_of_the_camera_s_numbers_over_its_last_one_and_reconnections():
    losses = Losses()
    for number, expected in ((7, 0), (8, 0), (11, 2), (12, 2)):
        losses.note(number, 65535)
        assert losses.frames == expected
    losses.note_packets(3)
    losses.opened()
    losses.note(1, 65535)  # began anew
    losses.note_packets(2)
    assert (losses.frames, losses.packets) == (2, 5)
    losses.opened()
    for number, expected in ((65534, 2), (65535, 2), (1, 2), (4, 4)):  # after the last comes 1
        losses.note(number, 65535)
        assert losses.frames == expected


def test_without_aravis_its_package_is_named(monkeypatch):
    aravis.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", _no_library)
    with pytest.raises(DeviceError, match=r"apt-get install libaravis-0\.8-0"):
        open_reader(Source("aravis", "1", "aravis 1"), Setup())
    gstreamer.cache_clear()
    with pytest.raises(DeviceError, match=r"apt-get install libgstreamer-plugins-base1\.0-0"):
        open_reader(Source("gst", "x", "gst x"), Setup())


def _no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


# GStreamer


@pytest.fixture
def gst() -> str:
    """The beginning of a pipeline with GStreamer's own test picture."""
    try:
        gstreamer()
    except DeviceError:
        pytest.skip("GStreamer is not installed")
    if not _has_element("videotestsrc"):
        pytest.skip("GStreamer is not installed")
    return "gst:videotestsrc is-live=true pattern=red ! video/x-raw,width=90,height=70,"


def _has_element(name: str) -> bool:
    pipeline, error = gstreamer().parse(f"{name} ! fakesink")
    if pipeline:
        gstreamer().gst_object_unref(pipeline)
    return not error


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("format=BGR", (0, 0, 255)),
        ("format=RGB", (0, 0, 255)),
        ("format=RGBx", (0, 0, 255)),
        ("format=GRAY8", None),
        ("format=GRAY16_LE", None),
        ("format=I420 ! videoconvert ! video/x-raw,format=BGR ! appsink sync=false", (0, 0, 255)),
    ],
)
def test_a_pipeline_s_pictures_are_read(gst, opened, form, expected):
    reader, about = opened(gst + form)
    assert about == "live, by GStreamer" and not reader.ends
    found = images(reader, 2)
    assert [reading.stamp.frame for reading in found] == [0, 1]
    assert found[1].stamp.time_ns > found[0].stamp.time_ns
    image = found[0].image
    assert image.shape[:2] == (70, 90)
    if expected is not None:
        assert np.abs(image.astype(int) - expected).max() <= 2
    else:
        assert image.ndim == 2 and len(np.unique(image)) == 1


def test_a_mosaic_of_gstreamer_is_coloured(gst, opened):
    red = "gst:videotestsrc is-live=true pattern=red ! video/x-bayer,format=grbg,width=90,height=70"
    reader, _ = opened(red)
    (reading,) = images(reader, 1)
    assert np.abs(reading.image[4:-4, 4:-4].astype(int) - (0, 0, 255)).max() <= 3


def test_a_pipeline_that_ends_is_at_its_end(gst, opened):
    text = "gst:videotestsrc num-buffers=3 ! video/x-raw,format=BGR,width=91,height=70"
    reader, about = opened(text)
    assert about == "at its own pace, by GStreamer" and reader.ends
    assert [reading.image.shape for reading in images(reader, 3)] == [(70, 91, 3)] * 3
    assert reader.read(Event()) is None


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("nosuch ! videoconvert", 'no element "nosuch"; try it with gst-launch'),
        ("videotestsrc ! video/x-raw,format=I420", "end it with ! videoconvert"),
    ],
)
def test_a_pipeline_that_does_not_start_says_why(gst, opened, pipeline, words):
    with pytest.raises(SourceError, match=words):
        opened(f"gst:{pipeline}")


def test_a_pipeline_s_login_is_not_shown(gst):
    source = parse_source("gst:rtspsrc location=rtsp://me:hush@10.0.0.7/a user-pw=hush ! decodebin")
    assert "hush" not in source.label


RTSP_SERVER = """
import ctypes
from ctypes import c_char_p, c_void_p
gst = ctypes.CDLL("libgstreamer-1.0.so.0"); rtsp = ctypes.CDLL("libgstrtspserver-1.0.so.0")
glib = ctypes.CDLL("libglib-2.0.so.0")
gst.gst_init(None, None)
for name in ("server_new", "server_get_mount_points", "media_factory_new"):
    getattr(rtsp, "gst_rtsp_" + name).restype = c_void_p
server = c_void_p(rtsp.gst_rtsp_server_new())
rtsp.gst_rtsp_server_set_address(server, b"127.0.0.1")
rtsp.gst_rtsp_server_set_service(server, b"0")
points = c_void_p(rtsp.gst_rtsp_server_get_mount_points(server))
factory = c_void_p(rtsp.gst_rtsp_media_factory_new())
rtsp.gst_rtsp_media_factory_set_launch(factory, b"( videotestsrc is-live=true pattern=red ! "
    b"video/x-raw,format=I420,width=96,height=64,framerate=20/1 ! jpegenc ! rtpjpegpay name=pay0 )")
rtsp.gst_rtsp_mount_points_add_factory(points, b"/live", factory)
rtsp.gst_rtsp_server_attach(server, None)
print(rtsp.gst_rtsp_server_get_bound_port(server), flush=True)
glib.g_main_loop_new.restype = c_void_p
glib.g_main_loop_run(c_void_p(glib.g_main_loop_new(None, 0)))
"""


@pytest.fixture
def rtsp_server(gst) -> Iterator[str]:
    """The address of an RTSP server with a red picture."""
    process = subprocess.Popen(
        [sys.executable, "-c", RTSP_SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    port = process.stdout.readline().decode().strip()
    if not port.isdecimal() or not _has_element("rtpjpegpay"):
        process.kill()
        process.wait()
        pytest.skip("GStreamer is not installed with its RTSP server")
    yield f"rtsp://127.0.0.1:{port}/live"
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_rtsp_camera_is_read_by_opencv_and_by_gstreamer(rtsp_server, opened):
    for text in (
        rtsp_server,
        f"gst:rtspsrc location={rtsp_server} latency=0 protocols=tcp ! rtpjpegdepay ! jpegdec ! "
        "videoconvert ! video/x-raw,format=BGR",
    ):
        reader, _ = opened(text)
        (reading,) = images(reader, 1)
        assert reading.image.shape == (64, 96, 3)
        blue, green, red = reading.image.reshape(-1, 3).T  # limited range leaves 16 to 235
        assert red.min() > 200 and max(blue.max(), green.max()) < 50


# Somebody else's


def test_a_package_brings_a_kind_of_source(tmp_path, bundle_dir, frames):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from edgead.live.source import Moment, Reading\n"
        "class Mine:\n"
        "    ends = True\n"
        "    def __init__(self, source, setup):\n"
        "        self.left, self.label = int(source.target), source.label\n"
        "        self.value = setup.options.get('value', 0)\n"
        "    def open(self): return 'mine'\n"
        "    def read(self, stop):\n"
        "        self.left -= 1\n"
        "        if self.left < 0: return None\n"
        "        return Reading(Moment.now(), np.full((70, 90), self.value, np.uint8))\n"
        "    def close(self): pass\n"
    )
    about = tmp_path / "mine-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[edgead.sources]\nmine = mine:Mine\nbroken = none:X\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "edgead", "watch", "--bundle", bundle_dir]
    done = subprocess.run(
        [*command, "mine:1", "--set", "value=7"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frame"] == 0 and "watch  mine 1: mine" in done.stderr
    done = subprocess.run([*command, "broken:1"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "the package that brings it (none:X) cannot be loaded: ModuleNotFound" in done.stderr
    missing = parse_source_error("mine:1")
    assert "mine:1 does not exist" in missing and "pylon:…" in missing


def parse_source_error(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_source(text)
    return str(caught.value)


def test_a_file_of_that_name_goes_before_a_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pylon:1").mkdir()
    assert parse_source("pylon:1").kind == "folder"
