"""JPEG: decoded by libjpeg-turbo, whose warnings tell a damaged file from a whole one."""

from __future__ import annotations

import re
import struct

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN, MOST_PIXELS, Decoded
from edgead.images.orientation import exif_orientation

_PICTURES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segment that says how large the picture is and of how many components."""
_APP1, _EXIF = 0xE1, b"Exif\0\0"
_PIXELS_A_BYTE = 1024  # at most: a block of 64 takes a bit, and 512 is what they amount to
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_FILLED = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SEQUENTIAL = "Invalid SOS parameters"
"""A warning of libjpeg about a header, of files whose pixels are right."""


def decode(data: bytes) -> Decoded:
    """The image in ``data``: grey, or the colours that it stands for as BGR.

    Raises:
        InputError: a piece is missing or damaged, CMYK, 12 bits; without the file's name.
    """
    import simplejpeg

    headers = _segments(data)
    about = next((held for kind, held in headers if kind in _PICTURES and held[5:]), None)
    if about is None:
        raise InputError(f"is truncated: it ends before its picture begins; {COPY_AGAIN}")
    height, width, components = struct.unpack_from(">HHB", about, 1)
    if height * width > min(MOST_PIXELS, _PIXELS_A_BYTE * len(data)):
        raise InputError(
            f"declares {width} x {height} pixels; it is damaged or too large; {COPY_AGAIN}"
        )
    if components == 4:
        raise InputError(
            "holds CMYK, the colours of a printing press; expected grey or RGB: convert it once, "
            "with the colour profile of the press"
        )
    colours = "GRAY" if components == 1 else "BGR"
    jfif = data.find(b"JFIF\0", 0, 30) + 5
    if jfif > 5 and data[jfif] != 1:  # libjpeg warns of other versions, which mean the same
        data = data[:jfif] + b"\1" + data[jfif + 1 :]
    try:
        samples = simplejpeg.decode_jpeg(data, colours)
    except ValueError as error:
        if not _harmless(data, str(error)):
            raise _refusal(str(error)) from error
        samples = simplejpeg.decode_jpeg(data, colours, strict=False)
    return Decoded(samples[:, :, 0] if colours == "GRAY" else samples, _orientation(headers))


def _refusal(said: str) -> InputError:
    cut = "Premature end" in said
    return InputError(
        f"is {'truncated' if cut else 'damaged'}: {said}; {COPY_AGAIN}"
        if cut or "Corrupt" in said
        else f"cannot be decoded: {said}; expected a JPEG of 8 bits, baseline or progressive"
    )


def _harmless(data: bytes, said: str) -> bool:
    """Whether a whole file can make libjpeg warn like this."""
    filled = _FILLED.search(said)
    if filled:  # some cameras fill up to a round size with zeros before the end mark
        return bytes(int(filled[1])) + _END in data
    ended = data.rfind(_END) > data.rfind(_SCAN)
    return ended and _SEQUENTIAL in said


def _orientation(headers: list[tuple[int, bytes]]) -> int:
    """Of the EXIF segments; programs add one before or behind another's."""
    started = (held for kind, held in headers if kind == _APP1 and held.startswith(_EXIF))
    return exif_orientation(*(held[len(_EXIF) :] for held in started))


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, content) of every segment up to the first scan."""
    found: list[tuple[int, bytes]] = []
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        kind = data[position + 1]
        if kind in (0xFF, 0x00, 0x01) or 0xD0 <= kind <= 0xD8:
            position += 1 if kind == 0xFF else 2
            continue
        if kind in (0xD9, 0xDA):
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        found.append((kind, data[position + 4 : position + 2 + length]))
        position += 2 + max(length, 2)
    return found
