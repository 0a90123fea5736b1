"""GigE Vision cameras: the fake one of Aravis, on the network of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event

import pytest

from edgead.errors import DeviceError
from edgead.live.source import SourceError, parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.libaravis import aravis
from edgead.live.sources.setup import Setup

FAKE = "arv-fake-gv-camera-0.8"
LONGEST_S = 60


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


def test_a_gige_camera_numbers_and_times_its_frames(fake_gige, opened, images):
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


def test_a_gige_camera_that_is_taken_is_named_and_one_that_went_away_is_lost(
    fake_gige, opened, images
):
    process = fake_gige()
    reader, _ = opened("aravis:127.0.0.1", stall_s=0.5, **SMALL)
    images(reader, 1)
    code = (  # a process of its own, as another program is
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


def test_a_camera_killed_and_restarted_gives_verdicts_again(fake_gige, watch, bundle_dir, finish):
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
    assert finish(watched)[0] == 0
