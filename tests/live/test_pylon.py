"""Basler cameras: the emulated ones that pypylon brings."""

from __future__ import annotations

import time
from threading import Event

import cv2
import numpy as np
import pytest

from edgead import Detector
from edgead.errors import InputError
from edgead.live.source import SourceError, parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.setup import Setup


@pytest.fixture
def basler(pylon, monkeypatch) -> str:
    """The first of two emulated cameras."""
    return "pylon:0815-0000"


def test_an_emulated_camera_numbers_its_frames(basler, opened, images):
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
def test_the_bit_depth_is_that_of_the_pixel_format(basler, opened, form, bits, shape, images):
    reader, _ = opened(basler, Width=64, Height=48, pixel_format=form)
    (reading,) = images(reader, 1)
    assert (reading.bit_depth, reading.image.shape) == (bits, shape)
    assert reading.image.dtype == (np.uint16 if bits else np.uint8)
    assert bits is None or reading.image.max() < 2**bits


def test_frames_by_software_trigger_come_when_they_are_asked_for(basler, opened, images):
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
def test_what_a_basler_camera_cannot_do_is_named(basler, opened, target, options, words, images):
    with pytest.raises(SourceError, match=words):
        opened(f"pylon:{target}", **options)
    reader, _ = opened("pylon:0815-0000")  # and it is free again
    images(reader, 1)


def test_a_camera_that_is_taken_is_named(basler, pylon, opened, monkeypatch):
    from pypylon import genicam

    class Taken(pylon.InstantCamera):  # the emulation may be opened twice
        def Open(self):
            raise genicam.RuntimeException("The device is controlled by another application.")

    monkeypatch.setattr(pylon, "InstantCamera", Taken)
    with pytest.raises(SourceError, match=r"does not open: .*controlled by another .*; check that"):
        opened(basler)


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
    pylon, watch, bundle_dir, tmp_path, finish
):
    text = f'[defaults]\nbundle = "{bundle_dir}"\nthreads = 1\n'
    text += 'options = { pixel_format = "Mono12", Width = 90, Height = 70, rate_hz = 20 }\n'
    for number in range(2):
        text += f'[[camera]]\nname = "c{number}"\nsource = "pylon:0815-000{number}"\n'
    (tmp_path / "line.toml").write_text(text)
    process = watch("--config", tmp_path / "line.toml")
    lines = [process.line() for _ in range(20)]
    code, more, log = finish(process)
    lines += more
    assert code == 0 and "looks like" not in log, log  # no doubt of the bits
    for name in ("c0", "c1"):
        own = [line for line in lines if line["camera"] == name]
        assert own and all("error" not in line for line in own)
        assert all(line["camera_frame"] == line["frame"] for line in own)
        assert own[-1]["lost_frames"] == 0
        numbers = [line["frame"] for line in own]
        missing = sum(line.get("dropped", {"count": 0})["count"] for line in own)
        assert len(numbers) + missing == numbers[-1] + 1  # each frame is scored or named
    assert len({line["id"] for line in lines}) == len(lines)


def test_12_bits_are_scaled_as_12(pylon, watch, bundle_dir, tmp_path, finish):
    words = ["--bundle", bundle_dir, "--set", "pixel_format=Mono12", "--set", "Width=90"]
    words += ["--set", "Height=70", "--evidence", tmp_path / "seen", "--false-reject-rate", "0.5"]
    process = watch("pylon:0815-0000", *words)
    line = process.line()
    assert finish(process)[0] == 0
    saved = sorted((tmp_path / "seen").glob(f"*_{line['frame']:08}_frame.png"))
    frame = cv2.imread(str(saved[0]), cv2.IMREAD_UNCHANGED)
    assert frame.dtype == np.uint16 and frame.max() < 4096
    with Detector(bundle_dir, bit_depth=12) as right, Detector(bundle_dir) as wrong:
        assert right.score(frame).score == line["score"] != wrong.score(frame).score


def test_a_bit_depth_that_the_camera_contradicts_is_an_error_of_each_frame(
    pylon, watch, bundle_dir, finish
):
    words = ["--bundle", bundle_dir, "--set", "pixel_format=Mono12", "--bit-depth", "10"]
    process = watch("pylon:0815-0000", *words)
    assert "the camera gives 12 bits, --bit-depth (bit_depth) says 10" in process.line()["error"]
    assert finish(process)[0] == 0
