"""A folder of images of good parts, nested or not; a lone ROOT/good/ is fine too. No test set."""

from __future__ import annotations

from pathlib import Path

from edgead.errors import DataError

from ..dataset import GOOD, TEST_SET_LOOKS_LIKE, make_sample
from ..listing import folders_in, images_below
from .layout import Found, Layout, Purpose


def fits(folder: Path, purpose: Purpose) -> bool:
    return False  # any folder could be one: it is what is left when no other layout fits


def read(root: Path, folder: Path) -> Found:
    inside = {each.name: each for each in folders_in(folder)}
    mvtec_like = sorted(inside.keys() & {"train", "test", "ground_truth"})
    if mvtec_like:
        raise DataError(
            f"{folder} has {', '.join(name + '/' for name in mvtec_like)} but no train/good/; put "
            f"the good training images into {folder / 'train' / GOOD}, or give a folder that holds "
            f"nothing but images of good parts"
        )
    if GOOD in inside:
        beside = [p for p in images_below(folder) if inside[GOOD] not in p.parents]
        if beside:
            raise DataError(
                f"{folder} holds {GOOD}/ and other images beside it ({beside[0]}), which may show "
                f"defects; give {inside[GOOD]} to learn from the good ones; {TEST_SET_LOOKS_LIKE}"
            )
    return [make_sample(root, path, GOOD) for path in images_below(folder)], []


LAYOUT = Layout("folder", "images of good parts, nested or not", fits, read)
