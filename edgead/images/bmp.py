"""BMP: what its header promises has to be there."""

from __future__ import annotations

import struct

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN, Decoded, opencv_pixels

_PLAIN, _MASKS, _MASKS_WITH_ALPHA = 0, 3, 6
_KNOWN_MASKS = {
    16: ((0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)),
    32: ((0xFF0000, 0xFF00, 0xFF),),
}


def decode(data: bytes) -> Decoded:
    """The image in ``data``: palette, or 16, 24 or 32 bits a pixel without compression.

    Raises:
        InputError: rows are missing, or another encoding; without the file's name.
    """
    try:
        pixels, header = struct.unpack_from("<II", data, 10)
        if header == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            compression = _PLAIN
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        masks = struct.unpack_from("<III", data, 54) if compression != _PLAIN else ()
    except struct.error as error:
        raise InputError(f"is truncated: its header is cut; {COPY_AGAIN}") from error
    if (
        compression not in (_PLAIN, _MASKS, _MASKS_WITH_ALPHA)
        or (masks and masks not in _KNOWN_MASKS.get(bits, ()))
        or bits not in (1, 4, 8, 16, 24, 32)
    ):
        raise InputError(
            f"is a BMP of {bits} bits in encoding {compression}; expected one without compression, "
            f"in the usual order of colours: save it as PNG"
        )
    expected = pixels + -(-width * bits // 32) * 4 * abs(height)
    if len(data) < expected or width <= 0 or not height:
        raise InputError(f"is truncated: {len(data)} of {expected} bytes are there; {COPY_AGAIN}")
    return Decoded(opencv_pixels(data))
