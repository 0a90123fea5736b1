"""Which tile each image of magnetic_tile shows, found by laying the images over each other.

    python benchmarks/tile_parts.py DATA/magnetic_tile [--out FILE]

The names have an exposure (exp1 to exp6, a few exp0) and a number that counts through all images,
and do not name the tile. Its exposures have numbers that are near each other; other tiles lie in
between. So every image is compared with the NEAR that follow it by number: both without their
light (less a blur, over the local deviation), the middle of the smaller one is moved over the
larger one, and the highest correlation counts. Pairs are joined from the highest on, down to SAME;
a tile has no exposure twice, so neither has what is joined.

Of tiles of one lot the texture repeats a little: of pairs that are far apart by number 1 in 1000
correlates by more than .50, none of 1500 by more than .60. The list is what --group of edgead learn
takes: lines of IMAGE,PART.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from edgead_training.data import open_dataset
from numpy.typing import NDArray

from edgead.cli.main import guard
from edgead.errors import InputError
from edgead.files import write_file
from edgead.images import read_image

LIST = Path(__file__).parent / "magnetic_tile_parts.csv"
NEAR = 30  # images that follow by number
SAME = 0.5  # correlation of two exposures of one tile, at least
LIGHT, TEXTURE = 6.0, 12.0  # sigma in pixels of half size: of what is taken off and divided by
BORDER = 0.2  # of the sides: how far the cuts of a tile may differ

F32 = NDArray[np.float32]


def main() -> int:
    """Parse, find the tiles, write the list; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, default=LIST, metavar="FILE")
    args = parser.parse_args()
    dataset = open_dataset(args.data, purpose="evaluate")
    samples = sorted((*dataset.train, *dataset.test), key=lambda s: numbers_of(s.path.name)[1])
    names = [sample.path.name for sample in samples]
    textures = [texture(read_image(sample.path)) for sample in samples]
    found = joined(names, correlations(textures))
    lines = [f"{Path(name).stem},{part}\n" for name, part in zip(names, found, strict=True)]
    write_file(args.out, "".join(["image,part\n", *lines]).encode())
    sizes = Counter(Counter(found).values())
    print(f"{len(set(found))} tiles in {len(names)} images; exposures of a tile: {dict(sizes)}")
    split = {part: set[str]() for part in found}
    for sample, part in zip(samples, found, strict=True):
        split[part].add(sample.name.split("/")[0])
    both = sum(len(sides) > 1 for sides in split.values())
    print(f"tiles in both train and test: {both}")
    return 0


def numbers_of(name: str) -> tuple[int, int]:
    """Exposure and number of an image. Raises: InputError for another name."""
    found = re.fullmatch(r"exp(\d)_num_(\d+)\.\w+", name)
    if found is None:
        raise InputError(f"{name} is not an image of magnetic_tile, as exp1_num_3504.jpg")
    return int(found[1]), int(found[2])


def texture(image: NDArray[np.generic]) -> F32:
    """An image at half its size, without its light: about 0, with a local deviation of about 1."""
    grey = image if image.ndim == 2 else image[..., 1]
    half = cv2.resize(grey.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    half -= cv2.GaussianBlur(half, (0, 0), LIGHT)
    deviation = np.sqrt(cv2.GaussianBlur(np.square(half), (0, 0), TEXTURE))
    return np.asarray(half / (deviation + 1), np.float32)


def correlation(a: F32, b: F32) -> float:
    """The highest of the middle of the smaller one with the larger one, wherever it lies there."""
    small, large = sorted((a, b), key=np.size)
    rows, columns = (slice(int(BORDER * n), n - int(BORDER * n)) for n in small.shape)
    middle = small[rows, columns]
    if any(n > most for n, most in zip(middle.shape, large.shape, strict=True)):
        return 0.0
    return float(cv2.matchTemplate(large, middle, cv2.TM_CCOEFF_NORMED).max())


def correlations(textures: Sequence[F32]) -> list[tuple[float, int, int]]:
    """(correlation, i, j) of all images that are near each other by number, the highest first."""
    near = ((i, j) for i, j in combinations(range(len(textures)), 2) if j - i <= NEAR)
    return sorted(((correlation(textures[i], textures[j]), i, j) for i, j in near), reverse=True)


def joined(names: Sequence[str], pairs: Sequence[tuple[float, int, int]]) -> list[str]:
    """The tile of each image, named by the number of its first one."""
    members = [{index} for index in range(len(names))]
    exposures = [{numbers_of(name)[0]} for name in names]
    for value, i, j in pairs:
        if value >= SAME and members[i] is not members[j] and not exposures[i] & exposures[j]:
            both, seen = members[i] | members[j], exposures[i] | exposures[j]
            for index in both:
                members[index], exposures[index] = both, seen
    return [f"tile_{numbers_of(names[min(some)])[1]}" for some in members]


if __name__ == "__main__":
    sys.exit(guard(main))
