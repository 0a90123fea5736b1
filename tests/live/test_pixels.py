"""Pixel formats: bytes by hand, and the camera maker's own converter on bytes drawn at random."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgead.errors import InputError
from edgead.live.sources.pixels import FORMATS, PATTERNS, format_of, image_of

BY_NAME = {form.name: form for form in FORMATS.values()}

BY_HAND = [
    # PFNC, p: least significant bits first. 0x3FF, 0x000, 0x155, 0x2AA
    ("Mono10p", "ff 03 50 95 aa", [0x3FF, 0x000, 0x155, 0x2AA]),
    ("Mono12p", "23 61 45", [0x123, 0x456]),
    # GigE Vision: high bits in the outer bytes, low bits of both in the middle one
    ("Mono12Packed", "12 63 45", [0x123, 0x456]),
    ("Mono10Packed", "ff 13 00", [0x3FF, 0x001]),
    ("Mono12", "23 01 56 04", [0x123, 0x456]),
    ("Mono16", "34 12 ff ff", [0x1234, 0xFFFF]),
    ("Mono8", "00 7f ff", [0x00, 0x7F, 0xFF]),
]


@pytest.mark.parametrize(("name", "data", "expected"), BY_HAND)
def test_bytes_by_hand(name, data, expected):
    image = image_of(bytes.fromhex(data), BY_NAME[name], 1, len(expected))
    assert image.tolist() == [expected]
    assert image.dtype == (np.uint8 if name == "Mono8" else np.uint16)
    assert BY_NAME[name].bit_depth == (None if name == "Mono8" else int(name[4:6]))


def test_a_packed_row_of_odd_length_ends_within_a_byte():
    data = bytes.fromhex("23 61 45 89 07")  # 0x123, 0x456, 0x789: three rows of one pixel
    assert image_of(data, BY_NAME["Mono12p"], 3, 1).tolist() == [[0x123], [0x456], [0x789]]
    # With padding each row begins at a byte.
    data = bytes.fromhex("23 01 ff 56 04 ff 89 07")
    image = image_of(data, BY_NAME["Mono12p"], 3, 1, padding=1)
    assert image.tolist() == [[0x123], [0x456], [0x789]]


def test_colours_come_as_bgr_without_the_fourth_channel():
    pixel = bytes([1, 2, 3, 9])
    assert image_of(pixel[:3], BY_NAME["BGR8"], 1, 1).tolist() == [[[1, 2, 3]]]
    assert image_of(pixel[:3], BY_NAME["RGB8"], 1, 1).tolist() == [[[3, 2, 1]]]
    assert image_of(pixel, BY_NAME["RGBa8"], 1, 1).tolist() == [[[3, 2, 1]]]
    assert image_of(pixel, BY_NAME["BGRa8"], 1, 1).tolist() == [[[1, 2, 3]]]
    deep = np.array([0x0FFF, 0x0002, 0x0003], "<u2").tobytes()
    assert image_of(deep, BY_NAME["RGB12"], 1, 1).tolist() == [[[3, 2, 0xFFF]]]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bits", [8, 12])
def test_a_mosaic_of_one_colour_gives_that_colour(pattern, bits):
    dtype, bgr = (np.uint8, (10, 100, 200)) if bits == 8 else (np.uint16, (100, 1000, 4000))
    value = {"b": bgr[0], "g": bgr[1], "r": bgr[2]}
    cell = np.array([value[letter] for letter in pattern], dtype).reshape(2, 2)
    mosaic = np.tile(cell, (4, 5))
    short = pattern[:2].upper()
    image = image_of(mosaic.tobytes(), BY_NAME[f"Bayer{short}{bits}"], 8, 10)
    assert (image == np.array(bgr)).all()
    grey = image_of(mosaic.tobytes(), BY_NAME[f"Bayer{short}{bits}"], 8, 10, pattern="none")
    assert grey.tolist() == mosaic.tolist()
    told = image_of(mosaic.tobytes(), BY_NAME[f"Mono{bits}"], 8, 10, pattern=pattern)
    assert told.tolist() == image.tolist()


def test_what_is_kept_is_not_the_camera_s_memory():
    data = bytearray(12)
    image = image_of(data, BY_NAME["Mono8"], 3, 4)
    data[:] = b"\xff" * 12
    assert not image.any()


@pytest.mark.parametrize("name", ["Mono8", "Mono12p", "Mono12Packed", "RGB8"])
def test_too_few_bytes_are_refused(name):
    whole = {"Mono8": 20, "Mono12p": 30, "Mono12Packed": 30, "RGB8": 60}[name]
    image_of(bytes(whole), BY_NAME[name], 4, 5)
    with pytest.raises(InputError, match=f"has {whole - 1} bytes, 4 rows|has {whole - 1} bytes"):
        image_of(bytes(whole - 1), BY_NAME[name], 4, 5)


def test_an_unknown_format_is_named_with_those_that_are_read():
    with pytest.raises(InputError, match=r"Coord3D \(0x01200000\), which is not read: .*Mono12p"):
        format_of(0x01200000, "Coord3D")


PYLON_NAMES = {
    "RGB8": "RGB8packed", "BGR8": "BGR8packed", "RGBa8": "RGBA8packed", "BGRa8": "BGRA8packed",
    "RGB10": "RGB10packed", "BGR10": "BGR10packed", "RGB12": "RGB12packed",
    "BGR12": "BGR12packed", "RGB16": "RGB16packed", "Mono10Packed": "Mono10packed",
    "Mono12Packed": "Mono12packed",
}  # fmt: skip


def test_codes_are_those_of_the_maker(pylon):
    compared = 0
    for code, form in FORMATS.items():
        theirs = getattr(pylon, f"PixelType_{PYLON_NAMES.get(form.name, form.name)}", None)
        if theirs is not None:
            assert theirs & 0xFFFFFFFF == code, form.name
            compared += 1
    assert compared >= 35


@pytest.mark.parametrize(
    "name",
    ["Mono10", "Mono12", "Mono16", "Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed"],
)
def test_every_value_is_that_of_the_maker_s_converter(pylon, name):
    height, width = 10, 16
    code = next(code for code, form in FORMATS.items() if form.name == name)
    form = FORMATS[code]
    rng = np.random.default_rng(form.bits)
    if form.packing:
        size = height * width * (12 if form.packing == "Packed" else form.bits) // 8
        raw = rng.integers(0, 256, size, dtype=np.uint8)
    else:
        raw = rng.integers(0, 2**form.bits, height * width).astype("<u2").view(np.uint8)
    theirs = pylon.PylonImage()
    theirs.AttachMemoryView(memoryview(raw.tobytes()), code, width, height, 0)
    converter = pylon.ImageFormatConverter()
    converter.OutputPixelFormat = pylon.PixelType_Mono16
    converter.OutputBitAlignment.Value = "LsbAligned"
    expected = converter.Convert(theirs).GetArray()
    assert np.array_equal(image_of(raw, form, height, width), expected)
    assert len(np.unique(expected)) > 100


def test_a_mosaic_looks_as_the_maker_s(pylon):
    code = 0x01080009
    picture = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48)
    )
    mosaic = picture[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = picture[::2, ::2, 2], picture[1::2, 1::2, 0]
    theirs = pylon.PylonImage()
    theirs.AttachMemoryView(memoryview(mosaic.tobytes()), code, 64, 48, 0)
    converter = pylon.ImageFormatConverter()
    converter.OutputPixelFormat = pylon.PixelType_BGR8packed
    expected = converter.Convert(theirs).GetArray().astype(int)[2:-2, 2:-2]
    found = image_of(mosaic, FORMATS[code], 48, 64).astype(int)[2:-2, 2:-2]
    # Each interpolates in its own way; with red and blue exchanged they are far apart.
    assert np.abs(found - expected).mean() < 8 < 20 < np.abs(found[..., ::-1] - expected).mean()
