"""Every encoding of every container becomes the samples that were written, or is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
import pytest
from encoders import Tiff, bmp, jpeg_with, packed, png, pnm, riff, webp_picture

from edgead.errors import InputError
from edgead.images import decode_image, open_image

RNG = np.random.default_rng(11)
SHAPE = (21, 35)
GREY, RGB, PALETTE = 1, 2, 3


def samples(bits: int, *channels: int) -> np.ndarray:
    found = RNG.integers(0, 2**bits, (*SHAPE, *channels))
    found[5:9] = found[5, 0]  # something to compress
    return found


def full(stored: np.ndarray, white: int) -> np.ndarray:
    """White at 255 up to 8 bits, else at 65535, exactly rounded in float64."""
    top = 255 if white < 256 else 65535
    return np.floor(stored * float(top) / white + 0.5).astype(np.uint8 if top == 255 else np.uint16)


def agrees(data: bytes, expected: np.ndarray) -> None:
    found = decode_image(data, "x")
    assert found.flags.c_contiguous
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    ("bits", "colours"),
    [(b, 0) for b in (1, 2, 4, 8, 16)] + [(b, c) for b in (8, 16) for c in (2, 4, 6)],
)
def test_png(bits: int, colours: int, pieces: int, interlaced: bool) -> None:
    """Gamma, a transparent colour and alpha change nothing."""
    stored = samples(bits, {0: 1, 2: 3, 4: 2, 6: 4}[colours])
    extra = [(b"gAMA", b"\0\0\xb1\x8f")]
    extra += [(b"tRNS", b"\0\1" * (3 if colours == 2 else 1))] if colours in (0, 2) else []
    data = png(stored, bits, colours, extra, interlaced=interlaced, pieces=pieces)
    colour = stored[:, :, 2::-1] if colours in (2, 6) else stored[:, :, 0]
    agrees(data + b"what follows IEND", full(colour, 2**bits - 1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int) -> None:
    palette = RNG.integers(0, 256, (2**bits, 3)).astype(np.uint8)
    indices = samples(bits)
    expected = palette[:, ::-1][indices]
    extra = [(b"PLTE", palette.tobytes()), (b"tRNS", bytes(2 ** (bits - 1)))]
    agrees(png(indices, bits, 3, extra), expected)
    for scale in (256, 257):
        table = {320: (3, (palette.T.astype(int) * scale).ravel().tolist())}
        agrees(Tiff(bits, PALETTE, tags=table).write(indices), expected)
    if bits != 2:
        for down in (False, True):
            agrees(bmp(indices, bits, palette[:, ::-1], down=down), expected)


@pytest.mark.parametrize("down", [False, True])
def test_bmp(down: bool) -> None:
    stored = samples(8, 4)
    agrees(bmp(stored[:, :, :3], 24, down=down), stored[:, :, :3].astype(np.uint8))
    agrees(bmp(stored, 32, down=down), stored[:, :, :3].astype(np.uint8))


@pytest.mark.parametrize("white", [1, 3, 15, 100, 255, 256, 1000, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pgm_and_ppm(kind: int, white: int) -> None:
    stored = RNG.integers(0, white + 1, (*SHAPE, 3) if kind in (3, 6) else SHAPE)
    colour = stored[:, :, ::-1] if kind in (3, 6) else stored
    agrees(pnm(stored, kind, white, b"# a comment\n"), full(colour, white))


@pytest.mark.parametrize("kind", [1, 4])
def test_pbm(kind: int) -> None:
    stored = samples(1)
    agrees(pnm(stored, kind), np.uint8(255) * (1 - stored).astype(np.uint8))


Case = tuple[int, int, int, int, int, int, str, bool, tuple[int, int] | None, bool]


def tiffs() -> Iterator[Case]:
    """Bits, photometric, alpha, compression, predictor, planes, order, big, tile, bits reversed."""
    for case in product(
        (1, 2, 4, 8, 10, 12, 14, 16), (0, GREY, RGB), (0, 1), (1, 8, 32946, 32773, 5), (1, 2),
        (1, 2), "<>", (False, True), (None, (16, 16)), (False, True),
    ):  # fmt: skip
        if case[4] == 1 or case[0] in (8, 16):
            yield case


def check_tiff(case: Case, rows: int) -> tuple[bytes, np.ndarray]:
    bits, colours, alpha, compression, predictor, planes, order, big, tile, turned = case
    channels = (3 if colours == RGB else 1) + alpha
    stored = samples(bits, channels)
    tags = {338: (3, [2])} if alpha else {}
    how = Tiff(bits, colours, order, big, compression, predictor, planes, tile, rows, turned, tags)
    data = how.write(stored)
    colour = stored[:, :, 2::-1] if colours == RGB else stored[:, :, 0]
    agrees(data, full(2**bits - 1 - colour if colours == 0 else colour, 2**bits - 1))
    return data, stored


def test_tiff() -> None:
    """Every 23rd of the encodings: each value of each of their parts is among them."""
    cases = list(tiffs())[::23]
    assert len(cases) > 200
    for number, case in enumerate(cases):
        check_tiff(case, (5, 21, 100)[number % 3])


@pytest.mark.exhaustive
def test_every_tiff() -> None:
    for number, case in enumerate(tiffs()):
        check_tiff(case, (5, 21, 100)[number % 3])


def test_tifffile_reads_the_same() -> None:
    """The writer of these tests is right: another library finds the samples."""
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    compared = 0
    for case in list(tiffs())[::41]:
        data, stored = check_tiff(case, 5)
        if case[0] in (1, 8, 16) and case[3] in (1, 8, 32773) and not case[9] and case[4] == 1:
            found = tifffile.imread(io.BytesIO(data))
            channels = stored.shape[2]
            planes = stored.transpose(2, 0, 1) if case[5] == 2 and channels > 1 else stored
            np.testing.assert_array_equal(found.reshape(planes.shape), planes)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "LA", "RGBA", "YCbCr", "I;16", "CMYK", "LAB"]
)
def test_pillow_writes_tiff(mode: str, compression: str) -> None:
    """What Pillow's libtiff writes is what Pillow reads back, or refused in a sentence."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    soft = cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    rgb = image.fromarray(soft)
    by_way = {"I;16": "L", "LA": "RGBA"}.get(mode)
    picture = image.merge("LAB", rgb.split()) if mode == "LAB" else rgb
    picture = picture.convert(by_way) if by_way else picture
    picture = picture.convert(mode) if mode != "LAB" else picture
    buffer = io.BytesIO()
    try:
        picture.save(buffer, "TIFF", compression=compression)
    except (OSError, RuntimeError, ValueError):
        assert compression == "jpeg" and mode in ("1", "P", "I;16", "LA")  # which JPEG cannot hold
        return
    data = buffer.getvalue()
    if mode in ("CMYK", "LAB") or (mode == "YCbCr" and compression != "jpeg"):
        with pytest.raises(InputError, match=r"holds \S+.*expected grey, palette or RGB"):
            decode_image(data, "x")
        return
    if compression == "jpeg" and mode in ("LA", "RGBA"):
        with pytest.raises(InputError, match=r"JPEG of [24] channels"):
            decode_image(data, "x")
        return
    read = image.open(io.BytesIO(data))
    if mode in ("1", "L", "LA"):
        expected = np.asarray(read.convert("L"))
    elif mode == "I;16":
        expected = np.asarray(read).astype(np.uint16)
    else:
        expected = np.asarray(read.convert("RGB"))[:, :, ::-1]
    np.testing.assert_array_equal(decode_image(data, "x"), expected)


JPEGS = [
    (quality, sampling, progressive, interval, grey)
    for quality in (30, 95)
    for sampling in (0x411111, 0x221111, 0x211111, 0x121111, 0x111111)
    for progressive in (0, 1)
    for interval in (0, 3)
    for grey in (False, True)
]


@pytest.mark.parametrize(("quality", "sampling", "progressive", "interval", "grey"), JPEGS)
def test_jpeg_is_what_opencv_reads(
    quality: int, sampling: int, progressive: int, interval: int, grey: bool
) -> None:
    soft = cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (83, 61))
    options = [
        cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
        cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, interval,
    ]  # fmt: skip
    data = cv2.imencode(".jpg", soft[:, :, 0] if grey else soft, options)[1].tobytes()
    agrees(data, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def test_whole_jpegs_with_more_in_them() -> None:
    """A thumbnail, another picture behind the end, fill bytes, an unknown version of JFIF."""
    soft = cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (83, 61))
    data = cv2.imencode(".jpg", soft)[1].tobytes()
    small = cv2.imencode(".jpg", soft[::4, ::4])[1].tobytes()
    expected = decode_image(data, "x")
    for more in (
        jpeg_with(data, (0xE1, b"Exif\0\0" + small), (0xE2, b"MPF\0" + small)),
        data + small + small[:100],
        data + b"\0" * 5000,
        data.replace(b"JFIF\0\x01", b"JFIF\0\x07"),
        data[:2] + b"\xff" * 7 + data[2:],
        data[:-2] + b"\xff" * 7 + data[-2:],
        data[:-2] + b"\0" * 64 + data[-2:],
        jpeg_with(data, (0xFE, b"\xff\xd9\xff\xda IEND")),
    ):
        agrees(more, expected)


@pytest.mark.parametrize("quality", [80, 101])
@pytest.mark.parametrize("alpha", [False, True])
def test_webp(quality: int, alpha: bool) -> None:
    soft = cv2.resize(RNG.integers(0, 256, (6, 8, 4), np.uint8), (83, 61))
    soft[:, :, 3] |= 1  # of transparent pixels the encoder changes the colours
    picture = soft if alpha else soft[:, :, :3]
    data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    agrees(data, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    if quality > 100:
        np.testing.assert_array_equal(decode_image(data, "x"), soft[:, :, :3])


def test_flat_pictures_are_no_holes() -> None:
    """Of one colour, WebP holds its longest rows of zeros."""
    for value in (0, 128, 255):
        for side in (16, 200, 1024):
            data = cv2.imencode(".webp", np.full((side, side, 3), value, np.uint8))[1].tobytes()
            assert decode_image(data, "x").shape == (side, side, 3)


def test_cmyk_jpeg_is_refused() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    buffer = io.BytesIO()
    image.fromarray(samples(8, 4).astype(np.uint8), "CMYK").save(buffer, "JPEG")
    with pytest.raises(InputError, match="holds CMYK"):
        decode_image(buffer.getvalue(), "x")


def test_what_is_refused() -> None:
    rgba = samples(8, 4)
    flat = np.zeros((4, 4, 4), int)
    solid = samples(8, 4)
    solid[:, :, 3] = 255
    agrees(Tiff(8, RGB, tags={338: (3, [1])}).write(solid), solid[:, :, 2::-1].astype(np.uint8))
    for data, said in (
        (Tiff(8, RGB, tags={338: (3, [1])}).write(rgba), "multiplied by a transparent alpha"),
        (Tiff(8, 5).write(rgba), "holds CMYK"),
        (Tiff(8, 8).write(rgba[:, :, :3]), "holds CIE Lab"),
        (Tiff(8, 6).write(rgba[:, :, :3]), "holds YCbCr"),
        (Tiff(8, 1, tags={339: (3, [2])}).write(rgba[:, :, 0]), "int8 samples"),
        (Tiff(16, 1, tags={339: (3, [3])}).write(rgba[:, :, 0]), "float16 samples"),
        (Tiff(8, 1, tags={259: (3, [50000])}).write(rgba[:, :, 0]), "compressed by Zstandard"),
        (Tiff(8, RGB, tags={258: (3, [5, 6, 5])}).write(flat[:, :, :3]), "different bits"),
        (bmp(rgba[:, :, 0], 8)[:30] + b"\1" + bmp(rgba[:, :, 0], 8)[31:], "encoding 1"),
        (pnm(rgba[:, :, 0], 5, 100), "above the maximum of 100"),
        (pnm(rgba[:, :, 0], 2, 100), "above the maximum of 100"),
        (Tiff(8, 1).write(rgba[:, :, :3]), "has 3 channels"),
        (Tiff(8, RGB).write(rgba[:, :, [0, 1, 2, 3, 3]]), "has 5 channels"),
        (Tiff(8, RGB).write(rgba[:, :, :2]), "has 2 channels"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "not a WebP"),
        (b"GIF89a" + bytes(100), "expected PNG, JPEG, BMP, TIFF, WebP"),
        (b"P5\n0 4\n255\n", "at least one pixel"),
        (b"P5\n4 4\n70000\n" + bytes(32), "maximum of 1 to 65535"),
    ):
        with pytest.raises(InputError, match=f"image x .*{said}"):
            decode_image(data, "x")


def test_pages_are_counted_and_the_first_is_read() -> None:
    first, second = samples(8, 3), samples(8, 3)
    small = first[:4, :4]
    data = Tiff(8, RGB).write(first, second, second)
    found = open_image("x", data=data)
    assert found.pages == 3
    np.testing.assert_array_equal(found.frame, first[:, :, ::-1])
    thumbnail = Tiff(8, RGB, tags={254: (4, [1])}).write(small)
    assert open_image("x", data=thumbnail).pages == 1
    animation = [(b"acTL", b"\0\0\0\x05\0\0\0\0"), (b"fcTL", bytes(26)), (b"fdAT", b"damaged")]
    still = open_image("x", data=png(first, 8, 2, animation))
    assert still.pages == 5
    np.testing.assert_array_equal(still.frame, first[:, :, ::-1])
    assert open_image("x", data=2 * pnm(first, 6, 255)).pages == 2
    assert open_image("x", data=pnm(first, 6, 255)).pages == 1


def test_an_animated_webp() -> None:
    soft = cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (40, 30))
    lossless = cv2.imencode(".webp", soft, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    kind, held = webp_picture(lossless)
    picture = kind + len(held).to_bytes(4, "little") + held + b"\0" * (len(held) % 2)
    size = (39).to_bytes(3, "little") + (29).to_bytes(3, "little")
    canvas = (b"VP8X", b"\2\0\0\0" + size)
    frame = (b"ANMF", bytes(6) + size + bytes(4) + picture)
    found = open_image("x", data=riff(canvas, (b"ANIM", bytes(6)), frame, frame))
    assert found.pages == 2
    np.testing.assert_array_equal(found.frame, soft)
    part = (b"ANMF", b"\1" + frame[1][1:])
    with pytest.raises(InputError, match="first picture is a part"):
        open_image("x", data=riff(canvas, part))


def test_the_writer_packs_bits() -> None:
    """By hand: three samples of 12 bits, and a row that ends within a byte."""
    assert packed(np.array([[0xABC, 0xDEF, 0x123]]), 12) == bytes.fromhex("abcdef1230")
    assert packed(np.array([[1, 0, 1]]), 1) == b"\xa0"
