"""The images that a run learns from: checked, cut into tiles as its bundle will, preprocessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgead.errors import DataError, InputError
from edgead.images import read_image
from edgead.preprocess import Preprocessor, PreprocessParams
from edgead.tiling import Tiling, plan_tiles

from .data import Parts, Sample, digest
from .data.dataset import make_sample
from .data.listing import SUFFIXES, images_below
from .data.varied_frames import vary
from .methods.base import Progress
from .run_record import TrainingOptions

MOST_TILES = 4096  # learnt from, over all images: 3.2 GB at 256x256; more teach little
TEXTURES = 128  # at most, evenly chosen: 100 MB at 256x256
IMAGE_BYTES_IN_MEMORY = 4 << 30  # larger sets are kept in a file of the run, mapped
IMAGES_FILE = "images.f32"

Piece = tuple[slice, slice]  # rows and columns of a frame


def note_content(
    data: dict[str, Any], options: TrainingOptions, parts: Parts, textures: Sequence[Sample]
) -> None:
    """Note in ``data``, of a run's record, what its images and textures hold.

    Raises: DataError when a run that is resumed was begun with others.
    """
    found = digest(parts[0] + parts[1])
    if data.setdefault("digest", found) != found:
        raise DataError(f"the images in {options.data} changed since this run began; train again")
    found = digest(textures)
    if textures and data.setdefault("textures_digest", found) != found:
        raise DataError(
            f"the pictures in {options.textures} are not those that {options.out} was begun with; "
            "restore them, give the folder where they are with --textures, or train again"
        )


def choose_textures(folder: Path | None) -> list[Sample]:
    """Pictures of other things, TEXTURES at most. Raises: DataError for a folder without images."""
    if folder is None:
        return []
    paths = images_below(folder)
    if not paths:
        raise DataError(
            f"--textures {folder} holds no images; give a folder of pictures of other things "
            f"({SUFFIXES}), or remove the option for textures that are made up"
        )
    chosen = paths[:: math.ceil(len(paths) / TEXTURES)]
    return [make_sample(folder, path) for path in chosen]


def choose_tiles(
    parts: Parts,
    tiling: Tiling | None,
    map_size: tuple[int, int],
    seed: int,
    progress: Progress,
    bit_depth: int | None = None,
) -> list[list[Piece]]:
    """For each training image the tiles to learn from: those the runtime would cut.

    Without a tiling all of the image is one tile. Where there are more than ``MOST_TILES``, an
    equal number of every image, drawn by ``seed``.
    Raises: DataError that names an image smaller than a tile, also one to calibrate with.
    """
    train, calibration = parts
    if tiling is None:
        return [[(slice(None), slice(None))] for _ in train]
    generator, (tall, wide) = np.random.default_rng(seed), tiling.size
    chosen = []
    for sample in progress(train + calibration, "laying the tiles"):
        height, width = read_image(sample.path, bit_depth=bit_depth).shape[:2]
        try:
            plan = plan_tiles(tiling, (height, width), map_size)
        except InputError as error:
            raise DataError(f"{sample.path}: {error}") from error
        corners = [(top, left) for top in plan.rows.starts for left in plan.columns.starts]
        kept = generator.permutation(len(corners))[: max(1, MOST_TILES // len(train))]
        places = [corners[index] for index in sorted(kept)]
        chosen.append([(slice(y, y + tall), slice(x, x + wide)) for y, x in places])
    return chosen[: len(train)]


def load_textures(textures: Sequence[Sample], params: PreprocessParams) -> torch.Tensor:
    """[M, 3, H, W] float32, preprocessed; empty without any. Raises: InputError.

    They are not of the camera: white is 65535 in those of 16 bits.
    """
    if not textures:
        return torch.empty(0)
    preprocessor = Preprocessor(params, bit_depth=16)
    images = [preprocessor.run(read_image(texture.path)) for texture in textures]
    return torch.from_numpy(np.stack(images))


def load_images(
    samples: Sequence[Sample], tiles: Sequence[Sequence[Piece]], params: PreprocessParams,
    out: Path, progress: Progress, first: bool, varied: int = 0, seed: int = 0,
) -> torch.Tensor:  # fmt: skip
    """[N, 3, H, W] float32, channels last in memory, preprocessed as the runtime does it.

    N: the ``tiles`` of all images together and, after them, as often ``varied`` copies of all,
    drawn by ``seed``. A set that does not fit into memory lies in one file in ``out``, which the
    first process fills for all.
    """
    own = sum(map(len, tiles))
    shape = (own * (1 + varied), *params.size, 3)
    count = math.prod(shape)
    in_memory = 4 * count <= IMAGE_BYTES_IN_MEMORY
    if in_memory:
        images = torch.empty(shape)
    else:
        images = torch.from_file(str(out / IMAGES_FILE), shared=True, size=count).view(shape)
    preprocessor, row = Preprocessor(params), 0
    mine = samples if in_memory or first else ()
    for sample, pieces in zip(progress(mine, "reading the images"), tiles, strict=False):
        frame = read_image(sample.path, bit_depth=params.bit_depth)
        for piece in pieces:
            seen = [frame[piece]]
            for copy in range(varied):
                rng = np.random.default_rng((seed, row, copy))
                seen.append(vary(frame[piece], rng, params.bit_depth))
            for copy, each in enumerate(seen):
                image = torch.from_numpy(preprocessor.run(each))
                images[copy * own + row] = image.permute(1, 2, 0)
            row += 1
    return images.permute(0, 3, 1, 2)
