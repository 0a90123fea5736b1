"""A file of which a piece is missing or damaged is refused, where its format can tell."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from encoders import Tiff, bmp, chunk, png, pnm

from edgead.errors import InputError
from edgead.images import decode_image

RNG = np.random.default_rng(21)
SOFT = cv2.resize(RNG.integers(30, 220, (9, 12, 3), np.uint8), (120, 90))
NOISY = np.clip(SOFT + RNG.normal(0, 4, SOFT.shape), 0, 255).astype(np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, NOISY, list(options))[1].tobytes())


RGB = NOISY[:, :, ::-1]
FILES = {
    "png": encoded(".png"),
    "interlaced png": png(RGB, 8, 2, interlaced=True, pieces=9),
    "jpeg": encoded(".jpg"),
    "jpeg with restarts": encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "progressive jpeg": encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "bmp": bmp(NOISY, 24),
    "webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "ppm": pnm(RGB, 6, 255),
    "plain ppm": pnm(RGB, 3, 255),
    "tiff": Tiff(8, 2, rows=16).write(RGB),
    "deflated tiff": Tiff(8, 2, compression=8, rows=16).write(RGB),
    "lzw tiff": Tiff(8, 2, compression=5, rows=16).write(RGB),
    "lzw tiff of odd rows": Tiff(8, 1, compression=5, rows=15).write(RGB[:89, :119, 0]),
    "packbits tiff": Tiff(8, 2, compression=32773, rows=16).write(RGB),
    "tiled big tiff": Tiff(8, 2, ">", big=True, compression=8, tile=(32, 32)).write(RGB),
    "tiff of two pages": Tiff(8, 2).write(RGB, RGB),
}
CHECKED = ["png", "interlaced png", "deflated tiff", "tiled big tiff"]
"""Those with a checksum over all that makes pixels."""
NOTICED = ["jpeg", "jpeg with restarts", "progressive jpeg", "lzw tiff", "lzw tiff of odd rows"]
"""Those whose decoder loses its way in a hole."""


def refused(data: bytes) -> bool:
    try:
        decode_image(data, "x")
    except InputError as error:
        assert "image x " in str(error)
        return True
    return False


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(name: str) -> None:
    assert decode_image(FILES[name], name).shape[0] in (89, 90)
    assert not refused(FILES[name] + b"\n")


@pytest.mark.parametrize("name", FILES)
def test_every_beginning_is_refused(name: str) -> None:
    """So a file that is still being written is never scored."""
    data = FILES[name]
    if name == "plain ppm":
        data = data.rstrip()[:-1] + b"\n"  # a cut number cannot be told where a longer one may be
    ends = {*range(1, 200), *range(len(data) - 200, len(data) - 1)}
    ends |= {*RNG.integers(1, len(data) - 1, 60).tolist()}
    accepted = [end for end in sorted(ends) if not refused(data[:end])]
    assert accepted == []


def holes(data: bytes, *, sizes: tuple[int, ...]) -> Iterator[tuple[str, bytes]]:
    """Pieces in the middle that are cut out, zeros, or noise."""
    for size in sizes:
        for _ in range(6):
            start = int(RNG.integers(len(data) // 5, len(data) * 4 // 5 - size))
            yield "cut out", data[:start] + data[start + size :]
            yield "zeros", data[:start] + bytes(size) + data[start + size :]
            yield "noise", data[:start] + RNG.bytes(size) + data[start + size :]


@pytest.mark.parametrize("name", CHECKED)
def test_any_damage_is_refused_where_there_is_a_checksum(name: str) -> None:
    data = FILES[name]
    assert [
        kind for kind, bad in holes(data, sizes=(1, 5, 300)) if bad != data and not refused(bad)
    ] == []
    where, flipped = np.arange(200, len(data) // 2, 97), 0
    for place in where:
        flipped += refused(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
    assert flipped == len(where)


@pytest.mark.parametrize("name", NOTICED)
def test_large_holes_are_refused_where_the_decoder_notices(name: str) -> None:
    found = [refused(bad) for _, bad in holes(FILES[name], sizes=(700, 1200))]
    assert np.mean(found) > 0.9


@pytest.mark.parametrize("name", ["bmp", "ppm", "tiff", "webp", "lossless webp", "packbits tiff"])
def test_a_piece_that_is_cut_out_is_refused_everywhere(name: str) -> None:
    found = [refused(bad) for kind, bad in holes(FILES[name], sizes=(1, 50)) if kind == "cut out"]
    assert all(found)


@pytest.mark.parametrize("name", ["webp", "lossless webp", "packbits tiff"])
def test_holes_of_zeros_are_refused(name: str) -> None:
    size = 1000 if "tiff" in name else 300
    data = FILES[name]
    start = len(data) // 2
    assert refused(data[:start] + bytes(size) + data[start + size :])


def test_checksums_cannot_be_met_by_missing_chunks() -> None:
    """All chunks that are there are right, one of the middle is not there."""
    data = png(RGB, 8, 2, pieces=5)
    pieces = data.split(b"IDAT")
    for gone in range(1, 6):
        length = struct.unpack(">I", pieces[gone - 1][-4:])[0]
        before = b"IDAT".join(pieces[:gone])[:-4]
        after = b"IDAT".join(pieces[gone:])[length + 4 :]
        assert refused(before + after)


def test_iend_within_data_is_no_end() -> None:
    text = [(b"tEXt", b"note\0IEND" + chunk(b"IEND", b""))]
    assert not refused(png(RGB, 8, 2, text))
    assert refused(png(RGB, 8, 2, text)[:4000])


@pytest.mark.parametrize("tag", [273, 279])
def test_strips_that_are_not_there(tag: int) -> None:
    """Sparse files have strips without a place; programs that died leave them too."""
    for value in (0, 10**9):
        data = bytearray(Tiff(8, 2, rows=90).write(RGB))
        entry = data.index(struct.pack("<HHI", tag, 4, 1))
        struct.pack_into("<I", data, entry + 8, value)
        assert refused(bytes(data))


def test_a_jpeg_that_declares_more_than_its_bytes_can_hold() -> None:
    """Not tried: it would take gigabytes. Pictures of one colour are the smallest there are."""
    data = bytearray(FILES["jpeg"])
    at = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, at, 30000, 30000)
    with pytest.raises(InputError, match="declares 30000 x 30000 pixels"):
        decode_image(bytes(data), "x")
    for progressive in (0, 1):
        options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        flat = cv2.imencode(".jpg", np.full((3000, 3000, 3), 7, np.uint8), options)[1].tobytes()
        assert decode_image(flat, "x").shape == (3000, 3000, 3)


def test_directories_that_lead_nowhere() -> None:
    for data in (
        b"II*\0" + bytes(4),
        b"II*\0" + struct.pack("<I", 10**9),
        b"MM\0+" + bytes(12),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        bytearray(Tiff(8, 2).write(RGB))[:8] + bytes(100),
    ):
        assert refused(bytes(data))


def test_a_plain_number_that_may_go_on() -> None:
    assert refused(b"P2\n2 1\n255\n7 12")
    assert decode_image(b"P2\n2 1\n255\n7 12\n", "x").tolist() == [[7, 12]]
    assert decode_image(b"P2\n2 1\n255\n7 120", "x").tolist() == [[7, 120]]
    assert refused(b"P2\n2 1\n255\n7 x2\n")
    assert refused(b"P2\n2 1\n255\n7 -2\n")


def test_noise_is_refused_or_an_image() -> None:
    """Behind any signature: never a traceback."""
    for name, data in FILES.items():
        for length in (2, 8, 30, 400):
            for _ in range(10):
                refused(data[: RNG.integers(2, 40)] + RNG.bytes(length))
                place = int(RNG.integers(0, min(len(data), 400)))
                refused(data[:place] + RNG.bytes(3) + data[place + 3 :])
        assert name
