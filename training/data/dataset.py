"""What a data set and a layout are: samples, with names that are the same on every machine."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from edgead.errors import printable
from edgead.images import sentence

GOOD = "good"
UNREAD = "unread image"
TEST_SET_LOOKS_LIKE = (
    "a test set has the MVTec layout: test/good/ with good images, test/<defect>/ with defective "
    "ones and, where there are masks, ground_truth/<defect>/<stem>_mask.png"
)


@dataclass(frozen=True)
class Sample:
    """One image on disk.

    Args:
        path: the image file.
        label: "good" or the name of the defect.
        mask: file of the image's size, 0 for a good pixel, anything else for a defect; or None.
        name: path relative to the data set's root, "/" between parts, the same on every machine.
        category: which of several kinds of parts it shows, with which its name begins; "" where
            the data set has only one.
    """

    path: Path
    label: str = GOOD
    mask: Path | None = None
    name: str = ""
    category: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", portable(self.path.name))

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


Purpose = Literal["train", "evaluate"]


@dataclass(frozen=True)
class Asked:
    """What ``open_dataset`` was asked for, as far as a layout has to know.

    Args:
        purpose, category: see ``open_dataset``; of a layout without classes, the folder of good
            parts.
        by_name: whether the user named the layout.
    """

    purpose: Purpose = "train"
    category: str | None = None
    by_name: bool = False


class Found(NamedTuple):
    """What a layout found, in any order.

    Args:
        train, test: samples.
        assumed: what the names of folders were taken for, for people; "" where nothing was assumed.
        also_read: images that were looked at and are neither samples nor masks of samples.
    """

    train: list[Sample]
    test: list[Sample]
    assumed: str = ""
    also_read: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One way in which people keep a data set on disk.

    Args:
        name: what --layout, run.json and the bundle call it.
        tree: what is where, in a line, for messages.
        fits: (folder, purpose) to whether it looks like one; looks at few names.
        read: (root, folder, asked) to all samples of a folder, named by the way from `root`, which
            is the folder or its parent. Those of train that are not good are left out later.
        classes: whether the labels are classes, of which --category names the good one.
    """

    name: str
    tree: str
    fits: Callable[[Path, Purpose], bool]
    read: Callable[[Path, Path, Asked], Found]
    classes: bool = False


@dataclass(frozen=True)
class Dataset:
    """What ``open_dataset`` found; samples are in the order of their names.

    Args:
        root: the folder.
        layout: one of ``LAYOUTS``.
        train: good images.
        test: good and defective images.
        n_left_out: images of train/ that are not good, in layouts that keep them there.
        assumed: what the names of folders were taken for, a sentence each.
        left_out: reasons to numbers of entries that were not taken, as ``edgead.images`` counts
            them, and ``unread image`` for images in folders that the layout does not read.
        unread: these folders, "" for the root, to numbers of images.
    """

    root: Path
    layout: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    n_left_out: int = 0
    assumed: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)

    @property
    def defects(self) -> tuple[str, ...]:
        """Names of the kinds of defects in the test set, sorted."""
        return tuple(sorted({s.label for s in self.test if not s.is_good}))

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, sorted; none where the data set is not divided into any."""
        return tuple(sorted({s.category for s in self.train + self.test} - {""}))

    def summary(self) -> str:
        """One line for people: what was found."""
        names = ", ".join(map(printable, self.categories))
        where = f"categories {names}: " if names else ""
        learn = f"{len(self.train)} good images to learn from"
        if self.n_left_out:
            learn += f" ({self.n_left_out} that are not good left out)"
        if not self.test:
            return f"{where}{learn}, no test set"
        good = sum(s.is_good for s in self.test)
        masks = sum(s.mask is not None for s in self.test)
        test = (
            f"test set: {good} good, {len(self.test) - good} defective images "
            f"(kinds: {len(self.defects)}, masks: {masks})"
        )
        return where + (f"{learn}; {test}" if self.train else test)

    def notes(self) -> list[str]:
        """Lines for people: what was assumed, and what was left out."""
        lines = list(self.assumed)
        if self.unread:
            lines.append(f"not read: {list_folders(self.unread)}")
        entries = {key: n for key, n in self.left_out.items() if key != UNREAD}
        return lines + ([sentence(entries)] if entries else [])


def list_folders(counts: Mapping[str, int], most: int = 6) -> str:
    """``OK/ (120 images), NG/ (14)``; "" is the folder itself."""
    shown = [
        f"{printable(name) + '/' if name else 'directly in it'} "
        f"({number}{'' if index else ' image' if number == 1 else ' images'})"
        for index, (name, number) in enumerate(sorted(counts.items())[:most])
    ]
    more = len(counts) - most
    folders = "folder" if more == 1 else "folders"
    return ", ".join(shown) + (f" and {more} more {folders}" if more > 0 else "")


def way_to(root: Path, file: Path) -> str:
    """The way from `root` to the folder of a file; "" where that is `root` itself."""
    return "/".join(file.parent.relative_to(root).parts)


def make_sample(root: Path, path: Path, label: str = GOOD, mask: Path | None = None) -> Sample:
    """The sample of a file below `root`, named by the way from there."""
    return Sample(path, label, mask, portable(path.relative_to(root).as_posix()))


def portable(name: str) -> str:
    """The same spelling of a name everywhere; macOS gives decomposed ones."""
    return unicodedata.normalize("NFC", name)


def same_name(a: str, b: str) -> bool:
    """Whether two names are the same, however they are composed."""
    return portable(a) == portable(b)


def by_name(sample: Sample) -> str:
    """What samples are sorted by."""
    return sample.name


def image_key(relative: Path) -> str:
    """What an image and its mask have in common: the way to them, without the suffix."""
    return portable(relative.with_suffix("").as_posix())
