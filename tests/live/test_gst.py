"""GStreamer: its own test picture, and a camera behind its RTSP server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from threading import Event

import numpy as np
import pytest

from edgead.errors import DeviceError
from edgead.live.source import SourceError, parse_source
from edgead.live.sources.libgstreamer import gstreamer


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
def test_a_pipeline_s_pictures_are_read(gst, opened, form, expected, images):
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


def test_a_mosaic_of_gstreamer_is_coloured(gst, opened, images):
    red = "gst:videotestsrc is-live=true pattern=red ! video/x-bayer,format=grbg,width=90,height=70"
    reader, _ = opened(red)
    (reading,) = images(reader, 1)
    assert np.abs(reading.image[4:-4, 4:-4].astype(int) - (0, 0, 255)).max() <= 3


def test_a_pipeline_that_ends_is_at_its_end(gst, opened, images):
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


def test_an_rtsp_camera_is_read_by_opencv_and_by_gstreamer(rtsp_server, opened, images):
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
