"""WebP: the first picture of the file, without its alpha."""

from __future__ import annotations

from collections.abc import Iterator

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN, Decoded, opencv_pixels
from edgead.images.orientation import exif_orientation

_PICTURES = (b"VP8 ", b"VP8L")
_FRAME_HEADER = 16
_LONGEST_ZEROS, _PIXELS_A_ZERO = 64, 2000
"""Zero bytes in a row, in all and for so many pixels, that no picture is encoded with: those of one
colour have a fifth of them. The format has no checksum."""


def decode(data: bytes) -> Decoded:
    """The picture in ``data``, or the first of an animation where it covers the whole canvas.

    Raises:
        InputError: a chunk is missing or cut, or damaged; without the file's name.
    """
    if data[8:12] != b"WEBP":
        raise InputError("is a RIFF file and not a WebP; expected an image: leave it out")
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < end or end < 20:
        raise InputError(f"is truncated: {len(data)} of {end} bytes are there; {COPY_AGAIN}")
    chunks = list(_chunks(data[:end], 12))
    frames = [content for kind, content in chunks if kind == b"ANMF"]
    if frames:
        canvas = next(content for kind, content in chunks if kind == b"VP8X")[4:10]
        if any(frames[0][:6]) or frames[0][6:12] != canvas:
            raise InputError("is an animation whose first picture is a part; save it as PNG")
        chunks = list(_chunks(frames[0], _FRAME_HEADER)) + chunks
    picture = next(((kind, held) for kind, held in chunks if kind in _PICTURES), None)
    if picture is None:
        raise InputError(f"is damaged: there is no picture in it; {COPY_AGAIN}")
    kind, held = picture
    # Alone, so that no version of OpenCV looks at animation, alpha or orientation.
    body = b"WEBP" + kind + len(held).to_bytes(4, "little") + held + b"\0" * (len(held) % 2)
    samples = opencv_pixels(b"RIFF" + len(body).to_bytes(4, "little") + body)
    hole = max(_LONGEST_ZEROS, samples.shape[0] * samples.shape[1] // _PIXELS_A_ZERO)
    if bytes(hole) in held:
        raise InputError(f"is damaged: there is a hole of zeros in it; {COPY_AGAIN}")
    blocks = (held.removeprefix(b"Exif\0\0") for kind, held in chunks if kind == b"EXIF")
    orientation = exif_orientation(*blocks)
    return Decoded(samples, orientation, pages=max(len(frames), 1))


def _chunks(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk from ``position`` on."""
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + length > len(data):
            raise InputError(f"is damaged: a chunk goes beyond its end; {COPY_AGAIN}")
        yield data[position : position + 4], data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
