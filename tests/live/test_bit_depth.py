"""Watching a camera of 12 bits: the folder's files, what is said of the depth, and how often."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from edgead.bundle.storage import open_bundle
from edgead.live.checks import ENOUGH, Checks
from edgead.live.source import parse_source
from edgead.live.sources.folder import FolderReader


@pytest.fixture
def said() -> list[tuple[str, str]]:
    return []


def checks_of(bundle, said, **options) -> Checks:
    return Checks(bundle, drift=False, say=lambda *words: said.append(words), **options)


def test_12_bits_as_16_are_said_once_after_some_frames(bundle_dir, make_frame, at, said) -> None:
    checks = checks_of(open_bundle(bundle_dir), said)
    for number in range(3 * ENOUGH):
        checks.look(number, at(make_frame(number), 12), 1.0)
        assert len(said) == (number + 1 >= ENOUGH)
    checks.doubt_depth()  # at the end
    assert len(said) == 1 and said[0][0] == "note"
    assert f"no value of the {ENOUGH} frames" in said[0][1] and "--bit-depth 12;" in said[0][1]


def test_a_short_run_is_judged_at_its_end(bundle_dir, make_frame, at, said) -> None:
    checks = checks_of(open_bundle(bundle_dir), said)
    for number in range(3):
        checks.look(number, at(make_frame(number), 12), 1.0)
    assert said == []
    checks.doubt_depth()
    assert len(said) == 1 and "no value of the 3 frames" in said[0][1]


def test_nothing_is_said_of_8_bits_of_bright_frames_or_of_what_is_declared(
    bundle_dir, of_depth, tmp_path, make_frame, at, said
) -> None:
    plain, twelve = open_bundle(bundle_dir), of_depth(tmp_path / "twelve.edgead", 12)
    dark, bright = at(make_frame(1), 12), at(make_frame(2), 16)
    for checks, frames in (
        (checks_of(plain, said), [make_frame(1)] * 12),
        (checks_of(plain, said), [dark, bright, *[dark] * 12]),
        (checks_of(plain, said, bit_depth=12), [dark] * 12),
        (checks_of(plain, said, bit_depth=16), [dark] * 12),
        (checks_of(twelve, said, bit_depth=12), [dark] * 12),
        (checks_of(plain, said), []),
    ):
        for number, frame in enumerate(frames):
            checks.look(number, frame, 1.0)
        checks.doubt_depth()
    assert said == []


def test_a_file_above_the_depth_is_an_error_of_that_frame(tmp_path: Path, make_frame, at) -> None:
    reader = FolderReader(parse_source(str(tmp_path)), bit_depth=12)
    reader.open()
    frame = at(make_frame(1), 12)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    reading = reader.read(Event())
    assert reading is not None and reading.error is None
    np.testing.assert_array_equal(reading.image, frame)
    frame[3, 4] = 5000
    cv2.imwrite(str(tmp_path / "b.png"), frame)
    reading = reader.read(Event())
    assert reading is not None and reading.image is None and reading.error is not None
    assert "b.png" in reading.error and "5000" in reading.error and "4095" in reading.error


def test_watch_scores_12_bits_like_8(watch, bundle_dir, tmp_path, make_frame, at, arrive) -> None:
    place = tmp_path / "incoming"
    place.mkdir()
    words = ("--bundle", bundle_dir, "--every-frame", "--bit-depth", "12")
    process = watch(place, *words)
    process.wait_for_log("0 images are there already")
    frame = make_frame(3)
    scores = []
    for name, image in (("8.png", frame), ("12.png", at(frame, 12))):
        arrive(place / name, image)
        scores.append(process.line()["score"])
    assert scores[1] == pytest.approx(scores[0], abs=5e-3)
    arrive(place / "16.png", at(frame, 16))
    assert "at most 4095" in process.line()["error"]
    process.process.terminate()
    code, _, log = process.end()
    assert code == 0 and "--bit-depth 16" not in log
