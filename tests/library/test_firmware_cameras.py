"""examples/firmware with cameras: V4L2, which is simulated, and GStreamer, which is real."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import firmware  # type: ignore[import-not-found]
import numpy as np
import pytest
from firmware import Client, Service

from edgead import Detector

LOST = (0, 1, 2, 5, 6)  # the numbers that a driver gave its frames: two were lost before


@pytest.fixture(scope="session")
def v4l2(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return firmware.make(installed, tmp_path_factory.mktemp("v4l2"), "v4l2")


@pytest.fixture(scope="session")
def device(compiled: Any) -> Path:
    """A library that simulates a camera."""
    path: Path = compiled("simulated_v4l2.c", "-shared", "-fPIC")
    return path


def watch(program: Path, bundle: Path, device: Path, **settings: object) -> Service:
    script = "".join(f",{number}" for number in LOST)
    given = {"SIMULATED": "/dev/video9", "FORMAT": "BGR3", "SEQUENCE": script, **settings}
    return Service(program, bundle, "/dev/video9", LD_PRELOAD=device, **given)


def test_frames_are_scored_where_the_driver_put_them(
    v4l2: Path, bundle_dir: Path, device: Path
) -> None:
    with watch(v4l2, bundle_dir, device) as service:
        found = service.lines()
        assert service.process.returncode == 2  # unplugged: systemd starts it again
    assert "the camera gives no frames any more: No such device" in service.stderr
    dropped = sum(line["dropped"]["count"] for line in found if "dropped" in line)
    assert len(found) + dropped == LOST[-1] + 1 and found[-1]["frame"] == LOST[-1]
    assert dropped >= 2 and {line["frame"] for line in found} <= set(LOST)
    with Detector(bundle_dir, device="cpu", threads=1) as detector:
        for line in found:
            sample = 10 * LOST.index(line["frame"])
            assert line["score"] == detector.score(np.full((6, 8, 3), sample, np.uint8)).score
            assert 3000 <= line["latency_ms"] < 4000 + 1e3 * firmware.LONGEST_S  # of its time stamp


def test_a_frame_that_the_driver_calls_damaged_is_no_verdict(
    v4l2: Path, bundle_dir: Path, device: Path
) -> None:
    with watch(v4l2, bundle_dir, device, DAMAGED=1, SEQUENCE=",0,1") as service:
        found = service.lines()
    assert found[-1]["frame"] == 1
    assert found[-1]["error"] == "the driver marks the frame as damaged"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"FORMAT": "YUYV"}, "/dev/video9 gives YUYV, expected NV12, BGR3"),
        ({"FEW": 1}, "/dev/video9 does not begin to capture"),
        ({"SIMULATED": "/dev/null"}, "/dev/video9 cannot be used: No such file"),
    ],
)
def test_a_device_that_cannot_be_used_is_said(
    v4l2: Path, bundle_dir: Path, device: Path, settings: dict[str, Any], said: str
) -> None:
    with watch(v4l2, bundle_dir, device, **settings) as service:
        assert service.lines() == [] and service.process.returncode == 2
    assert said in service.stderr


@pytest.fixture(scope="session")
def gstreamer(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = ["pkg-config", "gstreamer-app-1.0", "gstreamer-video-1.0"]
    if shutil.which("pkg-config") is None or subprocess.run(asked).returncode != 0:
        pytest.skip("GStreamer is not installed")
    return firmware.make(installed, tmp_path_factory.mktemp("gstreamer"), "gstreamer")


def pipeline(form: str, *, count: int = 3, pattern: str = "white") -> str:
    size = "width=37,height=23"  # rows of an odd number of bytes, which GStreamer fills up to four
    source = f"videotestsrc num-buffers={count} pattern={pattern}"
    return f"{source} ! video/x-raw,format={form},{size} ! appsink name=frames"


@pytest.mark.parametrize("form", ["BGR", "RGB", "BGRx", "RGBA", "GRAY8", "GRAY16_LE"])
def test_a_pipeline_is_a_camera(gstreamer: Path, bundle_dir: Path, form: str) -> None:
    with Service(gstreamer, bundle_dir, pipeline(form, pattern="red")) as service:
        found = service.lines()
        assert service.process.returncode == 0
    assert found[-1]["frame"] == 2
    grey = {"GRAY8": np.uint8, "GRAY16_LE": np.uint16}
    red = np.zeros((23, 37, 3), np.uint8)
    red[:, :, 2] = 255
    with Detector(bundle_dir, device="cpu", threads=1) as detector:
        for line in found:
            assert "error" not in line
            if form not in grey:  # how bright red is in grey is GStreamer's affair
                assert line["score"] == detector.score(red).score


@pytest.mark.parametrize(
    ("matrix", "wrong"),  # wrong: B G R of red's Y U V when read by the other matrix, by hand
    [("bt601", (0, 24, 255)), ("bt709", (2, 0, 233))],
)
def test_nv12_is_seen_in_the_colours_that_the_pipeline_says(
    gstreamer: Path, bundle_dir: Path, matrix: str, wrong: tuple[int, ...]
) -> None:
    size = f"38,height=24,colorimetry={matrix}"
    words = pipeline("NV12", pattern="red").replace("37,height=23", size)
    with Service(gstreamer, bundle_dir, words) as service:
        found = service.lines()[-1]["score"]
    colours = [np.full((24, 38, 3), colour, np.uint8) for colour in ((0, 0, 255), wrong)]
    with Detector(bundle_dir, device="cpu", threads=1) as detector:
        right, other = (abs(detector.score(one).score - found) for one in colours)
    assert right < other / 3


def test_what_a_pipeline_lacks_is_said(gstreamer: Path, bundle_dir: Path, tmp_path: Path) -> None:
    with Service(gstreamer, bundle_dir, pipeline("YUY2")) as service:
        found = service.lines()
    assert found and all("add videoconvert" in line["error"] for line in found)
    for words, said in (
        ("nosuchelement ! appsink name=frames", "nosuchelement"),
        ("videotestsrc ! fakesink", "expected a pipeline that ends in appsink name=frames"),
        (f"filesrc location={tmp_path}/no ! appsink name=frames", "filesrc"),
    ):
        with Service(gstreamer, bundle_dir, words) as service:
            assert service.lines() == [] and service.process.returncode == 2
        assert said in service.stderr


def test_a_pipeline_goes_on_until_it_is_told(
    gstreamer: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts"
    words = pipeline("BGR", count=-1).replace("videotestsrc", "videotestsrc is-live=true")
    with Service(gstreamer, bundle_dir, words, EDGEAD_SOCKET=path) as service:
        Client(path).take(5)
        service.send(signal.SIGTERM)
        assert service.process.wait(firmware.LONGEST_S) == 0
