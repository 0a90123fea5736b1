"""Image files out: whole or not at all."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.files import write_file
from edgead.images.mark import Mark, marked


def encode_png(array: NDArray[Any], mark: Mark | None = None) -> bytes:
    """Encode an array as PNG, lossless.

    Args:
        array: [H, W] or [H, W, 3] BGR, uint8 or uint16.
        mark: what keeps edgead from taking the file for a part; None: it is input, on purpose.

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
    return bytes(data.tobytes()) if mark is None else marked(data.tobytes(), mark)


def encode_jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """JPEG bytes of ``image``, marked as a picture for people: [H, W] or [H, W, 3] BGR, sides up
    to 65500."""
    import cv2

    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return marked(data.tobytes(), "picture")


def write_png(path: str | os.PathLike[str], array: NDArray[Any], mark: Mark | None = None) -> None:
    """Write an array as PNG, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        array, mark: as ``encode_png`` takes them.

    Raises:
        InputError: an array that is not an image.
        OSError: the file cannot be written.
    """
    write_file(path, encode_png(array, mark))
