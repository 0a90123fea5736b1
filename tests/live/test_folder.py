"""The watched folder: no half frame, no frame twice, none lost. Looks are counted, not timed."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.live import folder as module
from edgead.live.folder import FolderReader
from edgead.live.source import SourceError, parse_source


@pytest.fixture
def place(tmp_path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


@pytest.fixture
def reader(place) -> FolderReader:
    return FolderReader(parse_source(str(place)))


def read_all(reader, stop) -> list[str]:
    """Names of the frames until ``stop`` is set."""
    names = []
    while (reading := reader.read(stop)) is not None:
        assert reading.error is None and reading.image is not None
        names.append(Path(reading.file).name)
    return names


def test_new_images_are_frames_the_oldest_first(reader, place, arrive, frames, script):
    arrive(place / "there already.png", frames[0])
    assert reader.open() == "1 images are there already and are left alone"

    def fill():
        for number, name in enumerate(["b.png", "a.jpg", ".hidden.png", "notes.txt", "c.PNG"]):
            path = arrive(place / name, frames[number])
            os.utime(path, ns=(number, number))
        (place / "folder.png").mkdir()

    assert read_all(reader, script(fill, None, None, None)) == ["b.png", "a.jpg", "c.PNG"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".pgm"])
def test_a_file_that_is_being_written_is_not_read_half(reader, place, frames, script, suffix):
    reader.open()
    image = frames[0][:, :, 0] if suffix == ".pgm" else frames[0]
    data = cv2.imencode(suffix, image)[1].tobytes()
    path = place / f"part{suffix}"

    def append(piece):
        with open(path, "ab") as stream:
            stream.write(piece)

    cuts = [0, 0, 10, 700, len(data) // 2, len(data)]
    steps = [lambda a=a, b=b: append(data[a:b]) for a, b in itertools.pairwise(cuts)]
    reading = reader.read(script(*steps, None, None))
    assert np.array_equal(reading.image, cv2.imdecode(np.frombuffer(data, np.uint8), -1))


def test_a_writer_that_pauses_in_the_middle_of_a_png_is_waited_for(
    reader, place, arrive, frames, script, tmp_path
):
    reader.open()
    whole = arrive(tmp_path / "whole.png", frames[0]).read_bytes()
    path = place / "part.png"
    steps = [lambda: path.write_bytes(whole[:900]), *[None] * 5, lambda: path.write_bytes(whole)]
    reading = reader.read(script(*steps, None, None))
    assert np.array_equal(reading.image, frames[0])


def test_a_file_that_still_changes_is_waited_for(reader, place, arrive, frames, script):
    reader.open()
    path = place / "part.png"
    steps = [lambda n=n: arrive(path, frames[n]) for n in range(4)]
    found = []
    stop = script(*steps, None, None, None)
    while (reading := reader.read(stop)) is not None:
        found.append(reading.image)
    assert len(found) == 1 and np.array_equal(found[0], frames[3])


def test_a_file_that_is_replaced_or_written_again_is_a_new_frame(
    reader, place, arrive, frames, script
):
    reader.open()
    path = place / "latest.png"

    def save(number):
        return lambda: arrive(path, frames[number])

    stop = script(save(0), None, None, save(1), None, None, None, path.unlink, None, save(0), None)
    found = []
    while (reading := reader.read(stop)) is not None:
        found.append(reading.image)
    assert len(found) == 3
    assert list(reader._done) == [path.name]
    assert all(np.array_equal(a, frames[n]) for a, n in zip(found, (0, 1, 0), strict=True))


def test_a_file_that_stays_unreadable_is_an_error_once_and_the_folder_goes_on(
    reader, place, arrive, frames, script, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    reader.open()

    def damage():
        (place / "bad.png").write_bytes(b"no image")
        (place / "empty.png").write_bytes(b"")

    stop = script(damage, None, None, lambda: arrive(place / "good.png", frames[0]), None, None)
    found = [reader.read(stop) for _ in range(3)]
    assert sorted(Path(r.file).name for r in found[:2]) == ["bad.png", "empty.png"]
    assert all(r.image is None and r.file in r.error for r in found[:2])
    assert Path(found[2].file).name == "good.png"
    assert reader.read(script(None, None, None)) is None


def test_a_folder_that_goes_away_is_lost_and_what_came_meanwhile_is_new(
    reader, place, arrive, frames, script
):
    arrive(place / "old.png", frames[0])
    reader.open()
    away = place.rename(place.with_name("away"))
    assert reader.read(script(None, None)) is None
    with pytest.raises(SourceError, match="cannot be listed"):
        reader.open()
    arrive(away / "new.png", frames[1])
    away.rename(place)
    reader.open()
    assert read_all(reader, script(None, None, None, None)) == ["new.png"]


def test_names_that_are_gone_take_no_memory(reader, place, arrive, frames, script):
    reader.open()
    steps = []
    for number in range(5):
        path = place / f"{number}.png"
        steps += [lambda path=path: arrive(path, frames[0]), None, None, path.unlink]
    assert len(read_all(reader, script(*steps, None))) == 5
    assert not reader._done and not reader._growing and not reader._ready
