"""PBM, PGM and PPM, plain and binary: samples are scaled by the maximum that the file declares."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN, Decoded
from edgead.images.depth import FULL, rescale

_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])"
_NUMBER = _GAP + rb"+(\d{1,9})"
_BITMAP = re.compile(rb"P([14])" + 2 * _NUMBER + rb"(?=[ \t\r\n\v\f#])")
_MAP = re.compile(rb"P([2356])" + 3 * _NUMBER + rb"(?=[ \t\r\n\v\f#])")


def decode(data: bytes) -> Decoded:
    """The first image in ``data``; one of up to 255 levels is uint8 with white at 255.

    Raises:
        InputError: cut short, or a value above the declared maximum; without the file's name.
    """
    header = _BITMAP.match(data) or _MAP.match(data)
    if header is None:
        raise InputError(f"is truncated or damaged: its header is not that of a PNM; {COPY_AGAIN}")
    kind, width, height, *rest = (int(part) for part in header.groups())
    white, channels = rest[0] if rest else 1, 3 if kind in (3, 6) else 1
    if not (width and height and 0 < white <= FULL):
        raise InputError(
            f"declares {width} x {height} pixels and a maximum of {white}; expected at least one "
            f"pixel and a maximum of 1 to {FULL}: save it again"
        )
    shape = (height, width, channels)
    read = _plain if kind <= 3 else _bits if kind == 4 else _binary
    samples, pages = read(data, header.end(), shape, white)
    if (kind <= 3 or white not in (255, FULL)) and int(samples.max()) > white:
        raise InputError(
            f"holds the value {samples.max()}, above the maximum of {white} that it declares: it "
            f"is damaged, or was saved with a wrong maximum; save it again"
        )
    if kind in (1, 4):
        samples = 1 - samples  # 1 is black
    samples = samples[:, :, ::-1] if channels == 3 else samples[:, :, 0]
    if white <= 255:
        return Decoded(rescale(samples.astype(np.uint8, copy=False), white, 255), pages=pages)
    return Decoded(samples, white=white if white < FULL else None, pages=pages)


def _cut(given: int, expected: int, unit: str) -> InputError:
    return InputError(f"is truncated: {given} of {expected} {unit} are there; {COPY_AGAIN}")


def _binary(
    data: bytes, start: int, shape: tuple[int, int, int], white: int
) -> tuple[NDArray[Any], int]:
    """Samples of one byte, or two with the higher one first; images follow one another."""
    start = _raster(data, start)
    dtype = np.dtype(np.uint8 if white <= 255 else ">u2")
    size = shape[0] * shape[1] * shape[2] * dtype.itemsize
    if len(data) - start < size:
        raise _cut(len(data) - start, size, "bytes")
    samples = np.frombuffer(data, dtype, size // dtype.itemsize, start).reshape(shape)
    return samples.astype(dtype.newbyteorder("="), copy=False), _pages(data, start + size)


def _bits(data: bytes, start: int, shape: tuple[int, int, int], _: int) -> tuple[NDArray[Any], int]:
    start = _raster(data, start)
    height, width, _channels = shape
    row = -(-width // 8)
    if len(data) - start < row * height:
        raise _cut(len(data) - start, row * height, "bytes")
    packed = np.frombuffer(data, np.uint8, row * height, start).reshape(height, row)
    samples = np.unpackbits(packed, axis=1)[:, :width, None]
    return samples, _pages(data, start + row * height)


def _plain(
    data: bytes, start: int, shape: tuple[int, int, int], white: int
) -> tuple[NDArray[Any], int]:
    """Numbers in text; those of a bitmap need no gaps between them."""
    text = re.sub(rb"#[^\r\n]*", b"", data[start:])
    if not re.fullmatch(rb"[0-9\s]*", text) or re.search(rb"\d{10}", text):
        raise InputError(f"is damaged: a value is not a number; {COPY_AGAIN}")
    bitmap = data[1:2] == b"1"
    if bitmap:  # no gaps are needed there
        text = b" ".join(re.findall(rb"\d", text))
    values = np.fromstring(text.decode("ascii"), np.int64, sep=" ")
    count = shape[0] * shape[1] * shape[2]
    if len(values) < count:
        raise _cut(len(values), count, "values")
    open_end = len(values) == count and text[-1:].isdigit() and not bitmap
    if open_end and 0 < 10 * values[-1] <= white:
        raise InputError(
            f"is truncated: its last number may go on; end it with a newline, or {COPY_AGAIN}"
        )
    values = values[:count].reshape(shape)
    return values.astype(np.uint16 if values.max() <= FULL else np.uint32), 1


def _raster(data: bytes, end: int) -> int:
    """Where binary samples begin: after the one blank, or the line of a comment, at ``end``."""
    if data[end : end + 1] == b"#":
        return len(data) if (stop := data.find(b"\n", end)) < 0 else stop + 1
    return end + 1


def _pages(data: bytes, end: int) -> int:
    """1, or 2 for "more": another image follows the first."""
    following = data[end : end + 200]
    return 2 if _MAP.match(following) or _BITMAP.match(following) else 1
