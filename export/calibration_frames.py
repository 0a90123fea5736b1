"""The images of a run as an export takes them: with their parts; to calibrate, each once."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_training.data import Sample
from edgead_training.data.grouping import grouped
from edgead_training.run import Run

from edgead.images.content import content_of
from edgead.images.image_set import examine
from edgead.learning.good_image import GoodImage

from .learn_steps import good_images
from .options import Frames, Log


def images_of(run: Run, samples: Sequence[Sample]) -> list[GoodImage]:
    """Images of a run, each with the part it shows where the run was divided by parts."""
    names, group = [sample.name for sample in samples], run.provenance["data"].get("group")
    shows = None if group is None else dict(zip(names, grouped(names, group), strict=True))
    return good_images(samples, run.method.bit_depth, shows)


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
