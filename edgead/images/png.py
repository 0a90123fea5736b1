"""PNG: every chunk is checked, and only those that make pixels reach the decoder."""

from __future__ import annotations

import zlib

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN, Decoded, opencv_pixels
from edgead.images.depth import significant
from edgead.images.orientation import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_WITH_ALPHA = 4


def decode(data: bytes) -> Decoded:
    """The image in ``data``; its alpha, animation, colour profile and gamma do not count.

    Raises:
        InputError: a chunk is missing, cut or damaged; without the file's name.
    """
    chunks = _chunks(data)
    first = {kind: data[start:end] for kind, start, end in reversed(chunks)}
    # OpenCV's versions differ in what they do with an animation and with transparency.
    kept = [(start, end) for kind, start, end in chunks if kind[:1].isupper()]
    whole = SIGNATURE + b"".join(data[start - 8 : end + 4] for start, end in kept)
    samples = opencv_pixels(whole)
    depth, colours = first[b"IHDR"][8], first[b"IHDR"][9]
    if colours == _GREY_WITH_ALPHA and samples.ndim == 3:
        samples = samples[:, :, 0]
    white, low_bits = None, 0
    if depth == 16 and b"sBIT" in first:
        bits = first[b"sBIT"][: 1 if colours in (0, _GREY_WITH_ALPHA) else 3]
        white, low_bits = significant(samples, max(bits, default=0))
    frames = int.from_bytes(first.get(b"acTL", b"")[:4], "big")
    orientation = exif_orientation(first.get(b"eXIf", b""))
    return Decoded(samples, orientation, white, low_bits, max(frames, 1))


def _chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of what every chunk holds, up to IEND."""
    found: list[tuple[bytes, int, int]] = []
    position, view = len(SIGNATURE), memoryview(data)
    while not found or found[-1][0] != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        kind, start, end = data[position + 4 : position + 8], position + 8, position + 8 + length
        if end + 4 > len(data):
            raise InputError(f"is truncated: its end is missing; {COPY_AGAIN}")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise InputError(
                f"is damaged: the checksum of its chunk at byte {position} is wrong; {COPY_AGAIN}"
            )
        found.append((kind, start, end))
        position = end + 4
    if found[0][0] != b"IHDR" or found[0][2] - found[0][1] != 13:
        raise InputError(f"is damaged: it does not begin with a header; {COPY_AGAIN}")
    return found
