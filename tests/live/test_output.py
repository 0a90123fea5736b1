"""Lines out: JSON in UTF-8 whatever a file is called, and whole whatever the disk does."""

from __future__ import annotations

import errno
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.live.output import Output
from edgead.records.lines import to_json


@given(st.binary(max_size=255))
def test_a_name_of_any_bytes_comes_back_from_a_line(name):
    text = os.fsdecode(name)
    data = to_json({"file": text})
    assert os.fsencode(json.loads(data.decode("utf-8"))["file"]) == name
    assert data.decode("utf-8").splitlines() == [data.decode("utf-8")]


class Disk(io.RawIOBase):
    """Takes ``room`` bytes, in pieces of up to ``piece``; then ENOSPC until it has more room."""

    def __init__(self, room, piece):
        self.room, self.piece, self.data = room, piece, b""

    def writable(self):
        return True

    def write(self, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data[: min(self.room, self.piece)])
        self.data += part
        self.room -= len(part)
        return len(part)


@given(
    rooms=st.lists(st.integers(0, 40), max_size=30),
    first=st.integers(0, 60),
    piece=st.integers(1, 30),
)
def test_on_a_disk_that_is_full_now_and_then_lines_are_whole_or_lost_and_counted(
    rooms, first, piece
):
    disk = Disk(first, piece)
    output = Output(disk, lambda *_: None)
    lines = [f"line {number:04d} {'x' * (number % 7)}\n".encode() for number in range(len(rooms))]
    for line, room in zip(lines, rooms, strict=True):
        output.write(line, bool)
        disk.room += room
    kept = disk.data.splitlines(keepends=True)
    begun = [kept.pop()] if kept and not kept[-1].endswith(b"\n") else []
    assert [line for line in lines if line in kept] == kept  # whole, in order, none twice
    assert all(any(line.startswith(part) for line in lines) for part in begun)
    assert len(kept) + len(begun) + output.lost == len(lines)


def test_a_full_disk_is_said_and_over_when_it_is_over():
    said, disk = [], Disk(4, 100)
    output = Output(disk, lambda *words: said.append(words))
    output.write(b"first\n", bool)
    output.write(b"second\n", bool)
    disk.room = 100
    output.write(b"third\n", bool)
    assert disk.data == b"first\nthird\n" and output.lost == 1
    assert [word for word, *_ in said] == ["failed", "failed", "fine"]
    assert "no space left on the disk" in said[0][1]


def test_a_reader_that_is_gone_ends_it():
    class Gone(Disk):
        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Output(Gone(0, 1), lambda *_: None).write(b"x\n", bool)
