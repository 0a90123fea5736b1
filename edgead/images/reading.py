"""Image files in: decoded as stored, and refused where bytes are missing or mean something else."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.files import read_file


def read_image(path: str | os.PathLike[str], *, bit_depth: int | None = None) -> NDArray[Any]:
    """Read an image file as a frame, as stored.

    An alpha channel is dropped, a palette is resolved, an EXIF rotation is not applied:
    scores must not depend on a tag.

    Args:
        path: of the file, in any format that OpenCV reads.
        bit_depth: of the 16-bit frames that are expected, 9 to 16: white is ``2**bit_depth - 1``;
            None: 16.

    Returns:
        [H, W] grey or [H, W, 3] BGR, uint8 or uint16.

    Raises:
        InputError: unreadable, truncated, float samples (NaN or not), no pixels; with the path.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
    return decode_image(data, os.fspath(path), bit_depth=bit_depth)


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
    import cv2

    if not data:
        raise InputError(f"image {name} is an empty file; copy it again")
    frame = None
    if not _cut_short(data):
        with contextlib.suppress(cv2.error):
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if frame is None or frame.size == 0:
        raise InputError(
            f"image {name} cannot be decoded ({len(data)} bytes): it is truncated, damaged or not "
            f"an image; copy it again or leave it out"
        )
    if frame.dtype not in (np.uint8, np.uint16):
        finite = frame.dtype.kind != "f" or np.isfinite(frame).all()
        raise InputError(
            f"image {name} holds {frame.dtype} samples{'' if finite else ', NaN or infinity too'}"
            f"; expected uint8 or uint16: save it as 8 or 16-bit with a fixed scale"
        )
    if frame.ndim == 3:
        frame = frame[:, :, 0] if frame.shape[2] < 3 else frame[:, :, :3]
    return np.ascontiguousarray(frame)


def _cut_short(data: bytes) -> bool:
    """Whether the end mark is missing; some decoders fill the rest with grey and say nothing."""
    if data.startswith(b"\xff\xd8\xff"):  # JPEG
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in data
