"""Orientation tags are applied as cv2.imread does by default, in every container that has one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoders import Tiff, chunk, exif, jpeg_with, riff, webp_picture

from edgead import Detector
from edgead.images import ORIENTATION, ImageFile, Remarks, decode_image, open_image, read_image

RNG = np.random.default_rng(8)
SOFT = cv2.resize(RNG.integers(0, 256, (4, 6, 3), np.uint8), (48, 32))

# Where row 0 and column 0 of what is stored are seen: EXIF 2.32, tag 274, by hand.
SEEN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda a: a.swapaxes(0, 1)[::-1],  # left, bottom
}


def jpeg(value: int, order: str) -> bytes:
    return jpeg_with(
        cv2.imencode(".jpg", SOFT)[1].tobytes(), (0xE1, b"Exif\0\0" + exif(value, order))
    )


def png(value: int, order: str) -> bytes:
    data = cv2.imencode(".png", SOFT)[1].tobytes()
    return data[:33] + chunk(b"eXIf", exif(value, order)) + data[33:]


def webp(value: int, order: str) -> bytes:
    data = cv2.imencode(".webp", SOFT, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    size = (47).to_bytes(3, "little") + (31).to_bytes(3, "little")
    canvas = (b"VP8X", b"\x08\0\0\0" + size)
    return riff(canvas, webp_picture(data), (b"EXIF", exif(value, order)))


def tiff(value: int, order: str) -> bytes:
    return Tiff(8, 2, order, rows=10, tags={274: (3, [value])}).write(SOFT[:, :, ::-1])


def tiled_grey_tiff(value: int, order: str) -> bytes:
    return Tiff(8, 1, order, tile=(16, 16), tags={274: (3, [value])}).write(SOFT[:, :, 0])


WRITERS = [jpeg, png, webp, tiff, tiled_grey_tiff]
IN_EVERY_OPENCV = [jpeg, png, tiff]  # it turns each tile of a TIFF by itself


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("write", WRITERS)
def test_every_orientation(write: Callable[[int, str], bytes], value: int, order: str) -> None:
    stored = decode_image(write(1, order), "x")
    assert stored.shape[:2] == SOFT.shape[:2]
    found = open_image("x", data=write(value, order))
    np.testing.assert_array_equal(found.frame, SEEN[value](stored))
    assert found.frame.flags.c_contiguous
    assert found.orientation == value


@pytest.mark.parametrize("value", range(0, 10))
@pytest.mark.parametrize("write", IN_EVERY_OPENCV)
def test_cv2_imread_sees_the_same(
    write: Callable[[int, str], bytes], value: int, tmp_path: Path
) -> None:
    """Values beyond 1 to 8 mean nothing to either."""
    for order in "<>":
        (tmp_path / "a").write_bytes(write(value, order))
        expected = cv2.imread(str(tmp_path / "a"))
        if expected is None:  # OpenCV 5.0 fails on quarter turns of a TIFF
            assert write is tiff and value in (5, 6, 7, 8)
            continue
        found = read_image(tmp_path / "a")
        np.testing.assert_array_equal(found, expected)


def test_sixteen_bits_turn_too() -> None:
    deep = RNG.integers(0, 65536, (5, 7))
    data = Tiff(16, tags={274: (3, [6])}).write(deep)
    np.testing.assert_array_equal(decode_image(data, "x"), SEEN[6](deep))


def test_the_first_exif_segment_that_says_it_counts() -> None:
    data = cv2.imencode(".jpg", SOFT)[1].tobytes()
    turned = (0xE1, b"Exif\0\0" + exif(6))
    xmp = (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    silent = [
        b"",
        b"II",
        b"none of it",
        exif(1)[:8],
        exif(1)[:14],
        exif(1).replace(b"\x12\1", b"\0\1"),
    ]
    for segments, expected in (
        *(([(0xE1, b"Exif\0\0" + block), turned], 6) for block in silent),
        ([(0xE1, b"Exif\0\0" + exif(0)), turned], 0),
        ([xmp, turned], 6),
        ([turned, (0xE1, b"Exif\0\0" + exif(3))], 6),
        ([xmp], 1),
        ([(0xE1, b"Exif\0\0MM")], 1),
        ([(0xE1, b"Exif\0\0" + exif(6)[:15])], 1),
        ([(0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 10**9))], 1),
        ([(0xFE, b"Exif\0\0" + exif(6))], 1),
    ):
        written = jpeg_with(data, *segments)
        found = open_image("x", data=written)
        assert found.orientation == (expected or 1)
        seen = cv2.imdecode(np.frombuffer(written, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(found.frame, seen)


def test_what_goes_before_exif_in_other_containers() -> None:
    """PNG has the bare block, as its standard says; WebP has it either way."""
    block = b"Exif\0\0" + exif(6)
    data = cv2.imencode(".png", SOFT)[1].tobytes()
    data = data[:33] + chunk(b"eXIf", block) + data[33:]
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode_image(data, "x"), seen)
    canvas = (b"VP8X", b"\x08\0\0\0\x2f\0\0\x1f\0\0")
    picture = webp_picture(cv2.imencode(".webp", SOFT)[1].tobytes())
    assert open_image("x", data=riff(canvas, picture, (b"EXIF", block))).orientation == 6


def test_a_score_does_not_depend_on_who_reads(bundle_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.jpg"
    path.write_bytes(jpeg(6, "<"))
    with Detector(bundle_dir, threads=1) as detector:
        ours = detector.score(read_image(path)).score
        assert ours == detector.score(cv2.imread(str(path))).score
        assert ours != detector.score(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).score


def test_what_is_said_of_files() -> None:
    plain, turned = ImageFile(SOFT, 1, 1), ImageFile(SOFT, 1, 8)
    remarks = Remarks()
    for file in (plain, turned, turned, ImageFile(SOFT, 3, 1)):
        remarks.add(file)
    pages, tags = remarks.lines({"seed": 1})
    assert pages.startswith("1 of 4 files have more than one page")
    assert tags.startswith("2 of 4 files have an orientation tag")
    assert remarks.lines(ORIENTATION) == [pages]
    quiet = Remarks()
    quiet.add(plain)
    assert quiet.lines({}) == []
