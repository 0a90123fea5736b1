"""The watched folder: no half frame, no frame twice, none lost. Looks are counted, not timed."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.images import encode_png, write_png
from edgead.live.source import SourceError, parse_source
from edgead.live.sources import folder as module
from edgead.live.sources import places
from edgead.live.sources.folder import FolderReader


@pytest.fixture
def place(tmp_path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def looks_cost_nothing(monkeypatch) -> None:
    """Every look is at everything: looks are counted here, not their costs."""
    monkeypatch.setattr(places, "SHARE", 1e9)
    monkeypatch.setattr(places, "SHARE_LISTENING", 1e9)


@pytest.fixture(params=["told", "not told"])
def told(request, monkeypatch) -> bool:
    """Whether the system tells what comes into a folder."""
    if request.param == "not told":

        def deaf(folder):
            raise OSError(errno.ENOSPC, "no more watches")

        monkeypatch.setattr(places, "Notices", deaf)
    return request.param == "told"


class Said(list):
    def __call__(self, word: str, text: str, kind: str = "") -> None:
        self.append((word, text))


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def reader(place, said, told) -> FolderReader:
    return FolderReader(parse_source(str(place)), said)


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
        (place / "folder.png").mkdir(), (place / "seen").mkdir()

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


CHANGES = {  # what is done to a file that was seen, and whether it is another part afterwards
    "touched": (lambda path, other: os.utime(path), False),
    "touched through a handle": (lambda path, other: open(path, "ab").close(), False),
    "made read-only": (lambda path, other: path.chmod(0o444), False),
    "renamed": (lambda path, other: path.rename(path.with_name("renamed.png")), False),
    "touched and renamed": (
        lambda path, other: (os.utime(path), path.rename(path.with_name("renamed.png"))),
        False,
    ),
    "renamed twice": (
        lambda path, other: path.rename(path.with_name("x.png")).rename(path.with_name("y.png")),
        False,
    ),
    "overwritten in place": (lambda path, other: path.write_bytes(other), True),
    "replaced": (lambda path, other: replaced(path, other), True),
    "removed and written anew": (lambda path, other: (path.unlink(), replaced(path, other)), True),
    "renamed, its name taken": (
        lambda path, other: (path.rename(path.with_name("old.png")), replaced(path, other)),
        True,
    ),
}


def replaced(path: Path, data: bytes) -> None:
    temporary = path.parent / ".part.png"
    temporary.write_bytes(data)
    temporary.rename(path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seen", ["as a frame", "at the start"])
def test_a_part_is_scored_once_whatever_is_done_to_its_file(
    reader, place, arrive, frames, script, change, seen, told
):
    do, is_new = CHANGES[change]
    path = place / "part.png"
    size = len(encode_png(frames[0]))
    other = encode_png(frames[1])
    if seen == "at the start":
        arrive(path, frames[0])
        reader.open()
    else:
        reader.open()
        arrive(path, frames[0])
        assert read_all(reader, script(None, None, None)) == ["part.png"]
    found = []
    stop = script(lambda: do(path, other), None, None, None, None)
    while (reading := reader.read(stop)) is not None:
        found.append(reading.image)
    if not told and seen == "at the start" and change.startswith("touched"):
        return  # nobody knows what was in it before: it counts as written to
    assert len(found) == is_new and size
    assert not is_new or np.array_equal(found[0], frames[1])


@pytest.mark.parametrize("seen", ["as a frame", "at the start"])
def test_a_file_that_is_written_to_as_memory_is_a_new_frame(reader, place, script, seen):
    header, path = b"P5\n90 70\n255\n", place / "part.pgm"

    def write():  # the system tells only that it was opened and closed
        with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
            memory[len(header) :] = bytes([7]) * 6300

    if seen == "at the start":
        path.write_bytes(header + bytes(6300))
        os.utime(path, ns=(1, 1))
    reader.open()
    if seen == "as a frame":
        path.write_bytes(header + bytes(6300))
        assert read_all(reader, script(None, None, None)) == ["part.pgm"]
    stop, found = script(write, None, None, None, None), []
    while (reading := reader.read(stop)) is not None:
        found.append(reading.image)
    assert [image.min() for image in found] == [7]


def test_a_folder_that_was_replaced_gives_what_is_new_and_nothing_twice(
    reader, place, arrive, frames, script
):
    """As where a disk is unmounted, others write to the empty place, and it is mounted again."""
    arrive(place / "old.png", frames[0])
    reader.open()
    arrive(place / "seen.png", frames[1])
    assert read_all(reader, script(None, None, None)) == ["seen.png"]
    away = place.rename(place.with_name("away"))
    place.mkdir()
    assert reader.read(script(None, None)) is None
    arrive(place / "between.png", frames[2])
    shutil.copy2(away / "seen.png", place / "seen.png")  # a copy of what was scored
    assert reader.open() == "another folder has its name; 2 images are there, 1 of them new"
    assert read_all(reader, script(None, None, None)) == ["between.png"]
    place.rename(place.with_name("second"))
    away.rename(place)
    assert reader.read(script(None, None)) is None
    arrive(place / "late.png", frames[3])
    assert "3 images are there, 1 of them new" in reader.open()
    assert read_all(reader, script(None, None, None)) == ["late.png"]


NAMES = [
    b"caf\xe9.png", b"two\nlines.png", b"\x1b[31m.png", b"\x01.png", b"x" * 251 + b".png",
    "\u202egnp.\u0645.png".encode(), "\u2028.png".encode(), b"%s{}.png", b" .png", b"-.png",
    b"a\\b.PNG",
]  # fmt: skip


def test_a_file_may_have_any_name(reader, place, frames, script):
    reader.open()
    data = encode_png(frames[0])

    def fill():
        for name in NAMES:
            with open(os.path.join(os.fsencode(place), name), "wb") as stream:
                stream.write(data)

    names = read_all(reader, script(fill, None, None, None))
    assert sorted(map(os.fsencode, names)) == sorted(NAMES)


def test_what_is_no_file_or_cannot_be_read_is_passed_over(
    reader, place, arrive, frames, script, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    reader.open()

    def fill():
        os.mkfifo(place / "pipe.png")
        (place / "folder.png").mkdir()
        (place / "dangling.png").symlink_to("nowhere")
        (place / "round.png").symlink_to("round.png")
        with (place / "huge.png").open("wb") as stream:
            stream.truncate(2**33)  # no disk is taken
        arrive(place / "last.png", frames[0])

    found = {}
    stop = script(fill, None, None, None)
    while (reading := reader.read(stop)) is not None:
        found[Path(reading.file).name] = reading.error
    assert found.keys() == {"huge.png", "last.png"} and found["last.png"] is None
    assert "8.0 GiB, expected at most" in found["huge.png"]
    assert reader.left_out == {"not a regular file": 2, "dangling link": 2}


def test_whatever_a_decoder_does_is_an_error_of_that_file(
    reader, place, arrive, frames, script, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    real, raised = module.open_image, [MemoryError(), cv2.error("no codec"), ValueError("x")]

    def decode(path, **more):
        if raised:
            raise raised.pop()
        return real(path, **more)

    monkeypatch.setattr(module, "open_image", decode)
    reader.open()
    for number in range(4):
        arrive(place / f"{number}.png", frames[number])
    found = [reader.read(script(*[None] * 9)) for _ in range(4)]
    assert [reading.error is None for reading in found] == [False, False, False, True]


def test_what_edgead_wrote_is_no_frame_and_is_counted(reader, place, arrive, frames, script, said):
    reader.open()

    def fill():
        write_png(place / "part_heatmap.png", frames[0], "picture")  # as edgead score --heatmap
        (place / "renamed.png").write_bytes(encode_png(frames[1], "frame"))  # of some evidence
        arrive(place / "part.png", frames[2])

    assert read_all(reader, script(fill, None, None, None)) == ["part.png"]
    assert reader.left_out["picture of edgead"] == 2
    assert [word for word, _ in said if word == "skip"] == ["skip"] * 2


def test_what_a_writer_has_open_is_waited_for(place, said, frames, script, monkeypatch):
    """BMP: half of it, and then zeros, could be decoded all the same."""
    reader = FolderReader(parse_source(str(place)), said)
    reader.open()
    data = cv2.imencode(".bmp", frames[0])[1].tobytes()
    stream = (place / "part.bmp").open("wb", buffering=0)
    stream.write(data[: len(data) // 2])
    stream.truncate(len(data))

    def end():
        stream.seek(len(data) // 2)
        stream.write(data[len(data) // 2 :])
        stream.close()

    reading = reader.read(script(*[None] * 6, end, None, None, None))
    assert np.array_equal(reading.image, frames[0])


def test_a_folder_whose_changes_are_not_told_is_looked_at(place, said, arrive, frames, script):
    """As one on another machine: inotify takes the order and says nothing."""
    reader = FolderReader(parse_source(str(place)), said)
    reader.open()
    reader._place._notices.take = lambda: places.News()
    arrive(place / "part.png", frames[0])
    assert read_all(reader, script(*[None] * 4)) == ["part.png"]
    assert not reader._place.listens
    assert "files come that it does not tell of" in said[0][1]


def test_too_much_to_tell_means_a_look_at_everything(place, said, arrive, frames, script):
    reader = FolderReader(parse_source(str(place)), said)
    reader.open()
    reader._place._next_look_s = float("inf")  # otherwise there is no look
    assert read_all(reader, script(lambda: arrive(place / "a.png", frames[0]), None, None)) != []
    news = [places.News(), places.News(uncertain=True)]
    reader._place._notices.take = lambda: news.pop() if news else places.News()
    arrive(place / "b.png", frames[1])
    os.utime(place, ns=(0, 0))
    assert read_all(reader, script(None, None, None)) == ["b.png"]
    assert reader._place.listens
