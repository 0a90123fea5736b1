"""Image files in: pixels as they are looked at, or a refusal that says what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.files import read_file
from edgead.images import bmp, jpeg, png, pnm, tiff, webp
from edgead.images.bits import check_bit_depth
from edgead.images.decoded import COPY_AGAIN, Decoded, ImageFile
from edgead.images.depth import settle
from edgead.images.orientation import upright

_DECODERS: tuple[tuple[tuple[bytes, ...], Callable[[bytes], Decoded]], ...] = (
    ((png.SIGNATURE,), png.decode),
    ((b"\xff\xd8\xff",), jpeg.decode),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), tiff.decode),
    ((b"BM",), bmp.decode),
    ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), pnm.decode),
    ((b"RIFF",), webp.decode),
)


def read_image(path: str | os.PathLike[str], *, bit_depth: int | None = None) -> NDArray[Any]:
    """Read an image file as a frame: PNG, JPEG, BMP, TIFF, WebP, PBM, PGM or PPM.

    An EXIF or TIFF orientation is applied, as ``cv2.imread`` does. Alpha is dropped, a palette is
    resolved. The first page is read.

    Args:
        path: of the file; its content tells the format.
        bit_depth: of the 16-bit frames that are expected, 9 to 16: white is ``2**bit_depth - 1``;
            None: 16. A file that declares its own depth is brought to it.

    Returns:
        [H, W] grey or [H, W, 3] BGR, uint8 or uint16.

    Raises:
        InputError: unreadable, a piece is missing or damaged, samples or colours of another kind,
            values above ``bit_depth``; with the path.
    """
    return open_image(path, bit_depth=bit_depth).frame


def open_image(
    path: str | os.PathLike[str], *, bit_depth: int | None = None, data: bytes | None = None
) -> ImageFile:
    """Read an image file as ``read_image`` does, with what else it says.

    Args:
        path: of the file.
        bit_depth: as for ``read_image``.
        data: content of the file, where it was read already.

    Returns:
        The frame, the number of pages and the orientation that was applied.

    Raises:
        InputError: as ``read_image``.
    """
    check_bit_depth(bit_depth)
    try:
        content = read_file(path) if data is None else data
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
    return _opened(content, os.fspath(path), bit_depth)


def decode_image(data: bytes, name: str, *, bit_depth: int | None = None) -> NDArray[Any]:
    """Decode the bytes of an image file, as ``read_image`` does.

    Args:
        data: content of the file.
        name: what messages call it.
        bit_depth: as for ``read_image``.

    Returns:
        [H, W] grey or [H, W, 3] BGR, uint8 or uint16.

    Raises:
        InputError: as ``read_image``.
    """
    check_bit_depth(bit_depth)
    return _opened(data, name, bit_depth).frame


def _opened(data: bytes, name: str, bit_depth: int | None) -> ImageFile:
    if not data:
        raise InputError(f"image {name} is an empty file; copy it again")
    decoder = next((decode for starts, decode in _DECODERS if data.startswith(starts)), None)
    if decoder is None:
        raise InputError(
            f"image {name} cannot be decoded ({len(data)} bytes): it is truncated, damaged or not "
            f"an image; expected PNG, JPEG, BMP, TIFF, WebP, PBM, PGM or PPM: {COPY_AGAIN}"
        )
    try:
        decoded = decoder(data)
    except InputError as error:
        raise InputError(f"image {name} {error}") from error
    except MemoryError as error:
        raise InputError(f"image {name} declares more pixels than fit into the memory") from error
    try:
        samples = settle(decoded, bit_depth)
    except InputError as error:
        raise InputError(f"image {name}: {error}") from error
    orientation = decoded.orientation if 1 <= decoded.orientation <= 8 else 1
    return ImageFile(upright(samples, orientation), decoded.pages, orientation)
