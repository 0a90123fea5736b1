"""The calibration images of an export: each content once."""

from __future__ import annotations

from collections.abc import Sequence

from edgead.images.content import content_of
from edgead.images.image_set import examine

from .options import Frames, Log


def different(
    frames: Frames, log: Log, bit_depth: int | None = None
) -> tuple[Frames, Sequence[bytes]]:
    """The frames without copies, and the digests of their contents.

    Args:
        frames: to calibrate with; each is read once.
        log: called with each warning.
        bit_depth: of 16-bit frames, where it is declared.

    Raises:
        DataError: several frames that are all copies of one, or show nothing.
    """
    contents = [content_of(frame.read()) for frame in frames]
    found = examine([frame.name for frame in frames], contents, bit_depth=bit_depth, near=False)
    for warning in found.warnings:
        log(f"warning: {warning}")
    kept = [index for index, first in enumerate(found.same) if first == index]
    return [frames[index] for index in kept], [contents[index].digest for index in kept]
