"""Features of good images, seen as the bundle sees frames: whole or in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle
from edgead.engine.interface import Engine
from edgead.errors import InputError, printable
from edgead.learning.good_image import GoodImage
from edgead.learning.progress import Progress
from edgead.preprocess import Preprocessor
from edgead.tiling import plan_tiles

F32 = NDArray[np.float32]

MOST_BYTES = 128 << 20  # of features that are held while they are learnt from


def most_images(channels: int, size: tuple[int, int]) -> int:
    """Of how many images features [channels, height, width] are held while they are learnt from.

    Args:
        channels: of the features.
        size: (height, width) in positions.

    Returns:
        The number, at least 2, so that there are parts to compare.
    """
    return max(2, MOST_BYTES // (2 * channels * size[0] * size[1]))


class Held:
    """Features of whole images that are asked for more than once, by the names of the images.

    They are in float16, as what is learnt; those for which there is no room are computed again,
    and rounded alike.

    Args:
        most: bytes that are held.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._room, self._found = most, dict[str, NDArray[np.float16]]()

    def of(self, name: str, compute: Callable[[], F32]) -> F32:
        """The features of an image, computed where they are not held."""
        found = self._found.get(name)
        if found is None:
            found = compute().astype(np.float16)
            if found.nbytes <= self._room:
                self._found[name], self._room = found, self._room - found.nbytes
        return found.astype(np.float32)


def features_of(
    images: Sequence[GoodImage],
    bundle: Bundle,
    engine: Engine,
    progress: Progress,
    title: str = "features of the good images",
    most: int | None = None,
    held: Held | None = None,
) -> Iterator[F32]:
    """The features of each image, [positions, channels], valid until the next one is asked for.

    Args:
        images: in any number.
        bundle: on disk or a draft; where it sees tiles, an image's features are those of its tiles.
        engine: of the bundle.
        progress: is shown ``title``.
        title: what is done, for people.
        most: tiles of an image, evenly chosen; None: all.
        held: of the same network and preprocessing; not for tiles, which would be too many.
    """
    session, show = engine.session(), progress(title)
    preprocess = Preprocessor(bundle.manifest.preprocess)
    rows = session.features[0][0].reshape(bundle.manifest.memories[0].channels, -1).T
    if bundle.manifest.tiling is not None:
        held = None

    def seen(image: GoodImage) -> F32:
        pieces = _pieces(image, bundle.manifest, most)
        found = rows if len(pieces) == 1 else np.empty((len(pieces), *rows.shape), np.float32)
        for index, piece in enumerate(pieces):
            preprocess.run(piece, session.image[0])
            session.infer()
            if found is not rows:  # the next tile overwrites it
                found[index] = rows
        return found.reshape(-1, rows.shape[1])

    for done, image in enumerate(images, 1):
        yield seen(image) if held is None else held.of(image.name, lambda image=image: seen(image))  # type: ignore[misc]
        show(done, len(images))


def _pieces(image: GoodImage, manifest: Manifest, most: int | None) -> list[NDArray[Any]]:
    """What the network sees of an image: all of it, or tiles that the runtime would cut.

    Raises: InputError that names an image smaller than a tile.
    """
    frame, tiling = image.read(), manifest.tiling
    if tiling is None:
        return [frame]
    with named(image):
        plan = plan_tiles(tiling, (frame.shape[0], frame.shape[1]), manifest.map.size)
    tiles, (height, width) = list(plan.tiles(None)), tiling.size
    chosen = np.unique(np.linspace(0, len(tiles) - 1, most or len(tiles)).round().astype(int))
    corners = [(tiles[index].top, tiles[index].left) for index in chosen]
    return [frame[top : top + height, left : left + width] for top, left in corners]


@contextmanager
def named(image: GoodImage) -> Iterator[None]:
    """Say which image it was that is refused."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{printable(image.name)}: {error}") from error
