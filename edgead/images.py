"""Image files in and out. Frames are arrays exactly as stored: no scaling, no colour change."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.files import write_file

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"
)  # fmt: skip
"""File name endings that count as images, lower case; case does not matter in a folder."""


def read_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an image file as a frame, as stored.

    An alpha channel is dropped, a palette is resolved, an EXIF rotation is not applied:
    scores must not depend on a tag.

    Args:
        path: of the file, in any format that OpenCV reads.

    Returns:
        [H, W] grey or [H, W, 3] BGR, uint8 or uint16.

    Raises:
        InputError: unreadable, truncated, float samples (NaN or not), no pixels; with the path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
    return decode_image(data, os.fspath(path))


def decode_image(data: bytes, name: str) -> NDArray[Any]:
    """Decode the bytes of an image file, as ``read_image`` does.

    Args:
        data: content of the file.
        name: what messages call it.

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


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files directly inside a folder; hidden files are left out.

    Args:
        folder: path of the folder.

    Returns:
        Their paths, sorted by name; an empty list is the caller's to judge.

    Raises:
        InputError: there is no such folder, or it cannot be listed.
    """
    directory = Path(folder)
    if not directory.is_dir():
        kind = "is a file" if directory.exists() else "does not exist"
        raise InputError(f"folder {folder} {kind}; expected a folder of images, check the path")
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot list folder {folder}: {error.strerror or error}") from error
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
    ]


def encode_png(array: NDArray[Any]) -> bytes:
    """Encode an array as PNG, lossless.

    Args:
        array: [H, W] or [H, W, 3] BGR, uint8 or uint16.

    Returns:
        The bytes of the file.

    Raises:
        InputError: another dtype or shape.
    """
    import cv2

    image = np.asarray(array)
    shaped = image.size and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3)))
    if image.dtype not in (np.uint8, np.uint16) or not shaped:
        raise InputError(
            f"cannot save shape {image.shape}, {image.dtype} as PNG; "
            f"expected [H, W] or [H, W, 3], uint8 or uint16"
        )
    done, data = cv2.imencode(".png", np.ascontiguousarray(image))
    if not done:
        raise InputError(f"OpenCV could not encode shape {image.shape}, {image.dtype} as PNG")
    return bytes(data.tobytes())


def encode_jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """JPEG bytes of ``image``, for people: [H, W] or [H, W, 3] BGR, sides up to 65500."""
    import cv2

    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data.tobytes())


def write_png(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array as PNG, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        array: as ``encode_png`` takes it.

    Raises:
        InputError: an array that is not an image.
        OSError: the file cannot be written.
    """
    write_file(path, encode_png(array))


def expand(arguments: Sequence[str]) -> list[Path]:
    """Files as they are named, folders as the images in them, in the order given.

    Raises:
        InputError: a path that does not exist, a folder without an image.
    """
    paths: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if not argument or not path.exists():
            raise InputError(
                f"{argument or repr('')} does not exist: an image or a folder of images was "
                "expected"
            )
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise InputError(
                f"{path} holds no image: a folder with PNG, JPEG, … files in it was expected "
                "(folders inside it are not searched)"
            )
        paths += found
    return paths
