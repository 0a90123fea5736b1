"""The frames that are measured with: images that are named, or golden frames; in memory."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgead.bench.closed_loop import Frame
from edgead.bundle.storage import Bundle
from edgead.errors import InputError
from edgead.images import decode_image, expand, read_image, sentence
from edgead.images.bits import check_bit_depth

MOST_IMAGES = 100  # held in memory at once; the others of a folder are left out, and that is said


class Input(NamedTuple):
    """The frames, and a path of the first one for a process of its own."""

    frames: list[Frame]
    first: Path
    source: str


def bit_depth_of(bundles: Sequence[Bundle], args: Namespace) -> int | None:
    """Of the uint16 frames, which are the same for all bundles; None where none is declared."""
    if args.bit_depth is not None and not args.images:
        raise InputError(
            "--bit-depth without --images: golden frames have the bit depth of their bundle; name "
            "the images that have this one"
        )
    declared = [bundle.manifest.preprocess.bit_depth for bundle in bundles]
    first = check_bit_depth(args.bit_depth) or declared[0]
    return 16 if first is None and any(declared) else first


def read_input(arguments: Sequence[str], bundle: Bundle, bit_depth: int | None) -> Input:
    """The images named, or the golden frames of ``bundle``; decoded, in memory."""
    if not arguments:
        names = [golden.image for golden in bundle.manifest.golden]
        frames = [decode_image(bundle.read(name), name) for name in names]
        return Input(frames, bundle.path_of(names[0]), f"golden frames of {bundle.path}")
    found = expand(arguments)
    paths, source = found.images, " ".join(arguments)
    if found.left_out:
        source += f" ({sentence(found.left_out)})"
    if len(paths) > MOST_IMAGES:
        source += f", the first {MOST_IMAGES} of {len(paths)}"
    frames = [read_image(path, bit_depth=bit_depth) for path in paths[:MOST_IMAGES]]
    return Input(frames, paths[0], source)


def kinds_of(frames: Sequence[Frame]) -> list[str]:
    """Type and shape of the frames, each once, as "uint8 480 x 640 x 3"."""
    return sorted({f"{frame.dtype} {' x '.join(map(str, frame.shape))}" for frame in frames})
