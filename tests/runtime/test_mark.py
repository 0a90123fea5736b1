"""The mark in what edgead writes: pixels stay, and it is found wherever the file goes."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgead.images import encode_jpeg, encode_png, mark_in, own_output
from edgead.images.mark import HEAD_BYTES

RNG = np.random.default_rng(5)
ARRAYS = [
    RNG.integers(0, 256, (40, 50), np.uint8),
    RNG.integers(0, 256, (7, 3, 3), np.uint8),
    RNG.integers(0, 65536, (64, 32), np.uint16),
    RNG.integers(0, 65536, (1, 1, 3), np.uint16),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.ndim}")
@pytest.mark.parametrize("mark", ["picture", "frame"])
def test_a_marked_png_is_the_plain_one_and_a_text_that_other_readers_know(array, mark):
    data, plain = encode_png(array, mark), encode_png(array)
    assert data == encode_png(array, mark)
    assert (mark_in(data), mark_in(data[:HEAD_BYTES]), mark_in(plain)) == (mark, mark, None)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, array)
    with Image.open(io.BytesIO(data)) as other:  # Pillow checks the chunk's CRC
        other.load()
        assert other.text == {"edgead": mark}
    start = data.index(b"tEXt") - 4
    assert data[:start] + data[start + 4 + 4 + len(b"edgead\0" + mark.encode()) + 4 :] == plain


def test_a_marked_jpeg_is_the_plain_one_and_a_comment_that_other_readers_know():
    image = RNG.integers(0, 256, (40, 50, 3), np.uint8)
    data = encode_jpeg(image)
    _, plain = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert mark_in(data) == "picture" and mark_in(plain.tobytes()) is None
    with Image.open(io.BytesIO(data)) as other:
        assert other.info["comment"] == b"edgead\0picture"
        assert other.info["jfif_version"] == (1, 1)
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.imdecode(plain, 1)
    )


def test_own_output_goes_by_what_is_in_the_file(tmp_path: Path):
    written = tmp_path / "x_heatmap.png"
    written.write_bytes(encode_png(ARRAYS[0], "picture"))
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(written, tmp_path / "elsewhere/part-0001.JPEG")
    (tmp_path / "link.png").symlink_to(moved)
    os.link(moved, tmp_path / "hard.png")
    for path in (moved, tmp_path / "link.png", str(tmp_path / "hard.png")):
        assert own_output(path) == "picture"
    (tmp_path / "x_heatmap.png").write_bytes(encode_png(ARRAYS[0]))  # only the name is like it
    assert own_output(tmp_path / "x_heatmap.png") is None


def test_what_cannot_be_read_has_no_mark_and_holds_nobody_up(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "dangling.png").symlink_to("nowhere")
    for name in ("pipe.png", "empty.png", "dangling.png", "absent.png", ".", "nul\0.png"):
        assert own_output(tmp_path / name) is None


def test_words_elsewhere_are_no_mark(tmp_path: Path):
    assert mark_in(b"tEXtedgead\0picture") is None  # neither PNG nor JPEG
    assert mark_in(encode_png(ARRAYS[0]) + b"tEXtedgead\0picture") is None  # behind the head
    assert mark_in(b"") is None
