"""What the files of a data set hold: their digest, what they show once decoded, masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from edgead.errors import DataError, InputError
from edgead.files import read_file
from edgead.images import Remarks, open_image, read_image
from edgead.images.content import Content, content_of
from edgead.images.image_set import first_faults
from edgead.monitoring.depth import UsedBits

from .dataset import Sample, by_name


def digest(samples: Iterable[Sample]) -> str:
    """Names, labels and contents of images and masks as one digest.

    Args:
        samples: in any order; each file is read whole.

    Returns:
        sha256, 64 hexadecimal digits; the same for every order.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for sample in sorted(samples, key=by_name):
        mask = "-" if sample.mask is None else _file_digest(sample.mask)
        for part in (sample.name, sample.label, _file_digest(sample.path), mask):
            total.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return total.hexdigest()


def check_images(
    samples: Sequence[Sample],
    progress: Callable[[int, int], None] | None = None,
    *,
    used: UsedBits | None = None,
    remarks: Remarks | None = None,
) -> list[Content]:
    """Decode every image, and its mask, once.

    Args:
        samples: what to decode.
        progress: called with (images done, images in all).
        used: has the bit depth of the images, and is shown each.
        remarks: is shown each file.

    Returns:
        What each image shows, for ``edgead.images.image_set.examine``.

    Raises:
        DataError: counts the unusable images, and names the first five with the reason.
    """
    faults: list[str] = []
    used = UsedBits() if used is None else used
    contents: list[Content] = []
    for done, sample in enumerate(samples, 1):
        try:
            file = open_image(sample.path, bit_depth=used.bit_depth)
            if remarks is not None:
                remarks.add(file)
            used.add(file.frame)
            if sample.mask is not None:
                read_mask(sample, file.frame.shape[:2])
            contents.append(content_of(file.frame))
        except (InputError, DataError) as error:
            faults.append(str(error))
        if progress is not None:
            progress(done, len(samples))
    if faults:
        raise DataError(
            f"{len(faults)} of {len(samples)} images cannot be used; replace or remove them: "
            f"{first_faults(faults)}"
        )
    return contents


def read_mask(sample: Sample, frame_size: tuple[int, int]) -> np.ndarray:
    """The pixels of a sample's defect.

    Args:
        sample: one of a test set.
        frame_size: (height, width) of its image in pixels.

    Returns:
        [H, W] bool; all False for a good sample.

    Raises:
        DataError: an unreadable mask, one of another size, or a defect without mask.
    """
    if sample.mask is None:
        if sample.is_good:
            return np.zeros(frame_size, dtype=bool)
        raise DataError(f"{sample.path} shows a defect ({sample.label}) and has no mask")
    try:
        mask = read_image(sample.mask)
    except InputError as error:
        raise DataError(f"the mask of {sample.path} cannot be read: {error}") from error
    if mask.shape[:2] != tuple(frame_size):
        raise DataError(
            f"{sample.mask} is {mask.shape[0]}x{mask.shape[1]} (height x width) and its image "
            f"{sample.path} is {frame_size[0]}x{frame_size[1]}; expected a mask of the image's size"
        )
    return np.asarray(mask.any(axis=2) if mask.ndim == 3 else mask != 0)


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
