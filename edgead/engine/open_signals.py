"""What was learnt, read from the files of a bundle and checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgead.bundle.entries import Memory, Whitening
from edgead.bundle.storage import Bundle
from edgead.engine.memories import OpenedMemory, ReadMemory, check_room
from edgead.engine.whitening import OpenedWhitening, whiten_by
from edgead.errors import BundleError, InputError
from edgead.nearest import NearestMemory

_DTYPES = ("float32", "float16")

INDEXED = 28
"""Bytes for each value of a memory while its index is made; measured with 64 and 152 channels."""


def open_memories(
    bundle: Bundle, free: Callable[[], int | None] = lambda: None
) -> tuple[OpenedMemory, ...]:
    """Read the memories of a bundle.

    Args:
        bundle: its files are read, and their digests checked, once.
        free: bytes that may be taken; None where that is not known.

    Raises:
        BundleError: a file that is not the array the manifest describes.
        DeviceError: more than is free; says the largest that fits.
    """
    return tuple(_opened(bundle, entry, free) for entry in bundle.manifest.memories)


def read_memories(bundle: Bundle) -> tuple[ReadMemory, ...]:
    """Read the memories of a bundle for a device.

    Args:
        bundle: its files are read, and their digests checked.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_read(bundle, entry) for entry in bundle.manifest.memories)


def _read(bundle: Bundle, entry: Memory) -> ReadMemory:
    kept, root = bundle.read_array(entry.file), bundle.manifest.map.distance == "l2"
    if kept.ndim != 2 or kept.shape[1] != entry.channels or kept.dtype.name not in _DTYPES:
        raise bundle.unlike(entry.file, kept, f"[rows, {entry.channels}], float32 or float16")
    blended = entry.temperature is not None
    if entry.neighbours > len(kept) and not blended:
        raise bundle.unlike(entry.file, kept, f"at least {entry.neighbours} rows")
    if not np.isfinite(kept).all():
        raise BundleError(
            f"bundle {bundle.path}: {entry.file} holds a NaN or an infinity, expected finite "
            "features: copy the bundle again, or learn it again"
        )
    counts, scored = (
        None if name is None else bundle.read_places(name, entry.size) / np.float32(entry.channels)
        for name in (entry.places, entry.scored)
    )
    if root:
        counts, scored = (None if x is None else np.sqrt(x) for x in (counts, scored))
    shares = None if entry.shares is None else bundle.read_places(entry.shares, entry.size)
    assert counts is not None  # a memory always counts in the map
    return ReadMemory(entry, np.ascontiguousarray(kept), counts, root, scored, shares)


def _opened(bundle: Bundle, entry: Memory, free: Callable[[], int | None]) -> OpenedMemory:
    read = _read(bundle, entry)
    if (left := free()) is not None:
        check_room("the memory of this machine", left, len(read.rows), INDEXED * entry.channels)
    try:
        index = NearestMemory(read.rows)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.file}: {error}") from error
    return OpenedMemory(entry, index, read.counts, read.root, read.scored, read.shares)


def open_whitenings(bundle: Bundle) -> tuple[OpenedWhitening, ...]:
    """Read the whitenings of a bundle.

    Args:
        bundle: its files are read, and their digests checked, once.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    return tuple(_whitening(bundle, entry) for entry in bundle.manifest.whitenings)


def _whitening(bundle: Bundle, entry: Whitening) -> OpenedWhitening:
    height, width = entry.size
    count, regions = entry.count, -(-height // entry.side) * -(-width // entry.side)
    mean = bundle.read_floats(entry.mean, (count, height, width))
    factors = bundle.read_floats(entry.factors, (regions, count, count))
    centre = None
    if entry.centre is not None:
        centre = bundle.read_floats(entry.centre, (count,))[:, None, None]
    counts, scored = (
        None if name is None else bundle.read_places(name, entry.size)
        for name in (entry.places, entry.scored)
    )
    try:
        whiten_by(mean, factors, entry.side, centre)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {entry.factors}: {error}") from error
    return OpenedWhitening(entry, mean, factors, centre, counts, scored)
