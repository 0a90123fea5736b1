"""Which layout a folder has, which categories, and what must be in it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgead.errors import DataError, printable
from edgead.images import sentence

from .dataset import (
    GOOD,
    TEST_SET_LOOKS_LIKE,
    UNREAD,
    Asked,
    Dataset,
    Found,
    Layout,
    Purpose,
    Sample,
    by_name,
    portable,
    same_name,
    way_to,
)
from .layouts import FOLDER, LAYOUTS, SORTED
from .layouts.good_parts import ANNOTATIONS
from .layouts.sorted_parts import words_below
from .listing import SUFFIXES, each_folder_once, entries_below, folders_in
from .words import meaning

_WITH_FOLDERS_OF_MASKS = ("mvtec", "sorted", "oneclass")
_Places = dict[str, Path]  # folders by category; "" for a data set without categories


def open_dataset(
    path: str | os.PathLike[str],
    *,
    purpose: Purpose = "train",
    layout: str | None = None,
    category: str | None = None,
) -> Dataset:
    """Find the images of a data set; few are decoded, see the layouts.

    Args:
        path: the folder, or one that holds a folder for each category.
        purpose: "train" requires at least two good training images of every category (one to learn
            from, one to calibrate with); "evaluate" requires a test set only.
        layout: one of ``LAYOUTS``; None: the one that fits.
        category: None: all categories together. Of the layouts oneclass and sorted: the folder
            that is good.

    Returns:
        The samples, and the layout that was recognised.

    Raises:
        DataError: a folder that is missing, empty, ambiguous or lacks what is expected; masks
            without image, images without mask among others that have one.
    """
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"purpose is {purpose!r}; expected 'train' or 'evaluate'")
    with each_folder_once():
        return _open(Path(path), purpose, layout, category)


def _open(root: Path, purpose: Purpose, layout: str | None, category: str | None) -> Dataset:
    if not root.exists():
        raise DataError(f"{root} does not exist; give a folder of images of good parts")
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the folder that holds the images")
    kind, places = _recognise(root, purpose, layout, category)
    chosen = _chosen(root, kind, places, category)
    asked = Asked(purpose, None if "" not in chosen else category, by_name=layout is not None)
    samples: tuple[list[Sample], list[Sample]] = ([], [])  # of train and of test
    assumed, read = [], set()
    for name, folder in chosen.items():
        found = kind.read(root, folder, asked)
        if kind.classes:
            found = _one_good(root, found, category)
        for known, more in zip(samples, (found.train, found.test), strict=True):
            known += [replace(sample, category=portable(name)) for sample in more]
        if found.assumed:
            assumed += [f"{printable(name)}: {found.assumed}" if name else found.assumed]
        read |= set(found.also_read)
    train, test = (tuple(sorted(part, key=by_name)) for part in samples)
    _check_names(train + test)
    read |= {file for sample in train + test for file in (sample.path, sample.mask) if file}
    left_out, unread = _left_out(root, chosen if category is not None else {"": root}, read)
    if purpose == "evaluate":
        _check_masks(root, chosen, kind)
    good = tuple(sample for sample in train if sample.is_good)
    dataset = Dataset(
        root, kind.name, good, test, len(train) - len(good), tuple(assumed),
        left_out, unread,
    )  # fmt: skip
    _check(dataset, purpose, places)
    return dataset


def _check_names(samples: tuple[Sample, ...]) -> None:
    """Raises: DataError for two files whose names differ only in how they are composed."""
    seen: dict[str, Path] = {}
    for sample in samples:
        other = seen.setdefault(sample.name, sample.path)
        if other != sample.path:
            raise DataError(
                f"{sample.path} and {os.fsencode(other)!r} have one name, composed in two ways of "
                "Unicode; rename or remove one"
            )


def _left_out(
    root: Path, folders: Mapping[str, Path], read: set[Path]
) -> tuple[dict[str, int], dict[str, int]]:
    """What was not taken: reasons to numbers, and folders that are not read to images."""
    reasons: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for folder in folders.values():
        for path, reason in entries_below(folder):
            if path in read:
                continue
            reasons[reason or UNREAD] += 1
            if reason is None:
                unread[portable(way_to(root, path))] += 1
    return dict(reasons), dict(unread)


def _check_masks(root: Path, folders: Mapping[str, Path], layout: Layout) -> None:
    """Raises: DataError for a folder of masks that holds only something else, such as JSON."""
    if layout.name not in _WITH_FOLDERS_OF_MASKS:
        return
    held: dict[Path, Counter[str]] = defaultdict(Counter)
    for folder in folders.values():
        for path, reason in entries_below(folder):
            if any(meaning(part).mask for part in path.parent.relative_to(root).parts):
                held[path.parent][reason or ""] += 1
    for folder, reasons in sorted(held.items()):
        foreign = {reason: n for reason, n in reasons.items() if reason in ANNOTATIONS}
        if foreign and not reasons[""]:
            files = ", ".join(f"{n} {suffix}" for suffix, n in sorted(foreign.items()))
            raise DataError(
                f"{folder} holds {files} where masks are expected: an image for each image with a "
                "defect, of its size, 0 for good pixels and anything else for the defect (PNG, "
                "BMP or TIFF); draw the annotations as masks, or move the folder away"
            )


def _recognise(
    root: Path, purpose: Purpose, name: str | None, category: str | None
) -> tuple[Layout, _Places]:
    """The layout, and the folders of the categories, or the root itself."""
    if name is not None and name not in LAYOUTS:
        raise DataError(f"--layout {name} is not a layout; choose one of: {', '.join(LAYOUTS)}")
    layouts = list(LAYOUTS.values()) if name is None else [LAYOUTS[name]]
    for layout in layouts:
        if layout is SORTED and _special_inside(root, purpose, layouts):
            continue
        if name == FOLDER.name or layout.fits(root, purpose):
            return layout, {"": root}
    found: dict[str, _Places] = {}  # by the name of the first layout that fits a folder
    for folder in folders_in(root):
        fitting = [each for each in layouts if not each.classes and each.fits(folder, purpose)]
        for layout in fitting[:1]:
            found.setdefault(layout.name, {})[folder.name] = folder
    if len(found) > 1:
        held = "; ".join(f"{each}: {', '.join(found[each])}" for each in LAYOUTS if each in found)
        raise DataError(
            f"{root} holds categories of several layouts ({held}); say which to take with --layout"
        )
    if found:
        ((known, places),) = found.items()
        return LAYOUTS[known], places
    if name == SORTED.name or (name is None and _says_more(root, category)):
        return SORTED, {"": root}
    if name is not None:
        raise DataError(
            f"{root} does not look like --layout {name}; expected {layouts[0].tree}"
            + ("" if layouts[0].classes else ", directly or in a folder for each category")
        )
    return FOLDER, {"": root}


def _special_inside(root: Path, purpose: Purpose, layouts: Sequence[Layout]) -> bool:
    """Whether a folder that itself says nothing of good parts has a layout of its own."""
    special = [each for each in layouts if not each.classes and each not in (SORTED, FOLDER)]
    named = ((folder, meaning(folder.name)) for folder in folders_in(root))
    return any(
        layout.fits(folder, purpose)
        for folder, said in named
        if said.good is None and said.split is None
        for layout in special
    )


def _says_more(root: Path, category: str | None) -> bool:
    """Whether a folder deeper inside says good or defective, or is the one that the user names."""
    if category is None:
        return words_below(root)
    return (root / category).is_dir() or any(
        same_name(path.name, category) for path in folders_in(root)
    )


def _chosen(root: Path, layout: Layout, places: _Places, category: str | None) -> _Places:
    if category is None or layout.classes or (layout is SORTED and "" in places):
        return places
    category = next((name for name in places if same_name(name, category)), category)
    if "" in places:
        raise DataError(
            f"--category {category}: {root} has no folders of categories; remove the option "
            f"(layout {layout.name})"
        )
    if category not in places:
        raise DataError(
            f"--category {category} is not in {root}; give one of {', '.join(sorted(places))}"
        )
    return {category: places[category]}


def _one_good(root: Path, found: Found, good: str | None) -> Found:
    """Labels "good" for the class of that name; the others keep theirs."""
    classes = sorted({sample.label for sample in found.train})
    good = None if good is None else portable(good)
    if good not in classes:
        given = "no class was named" if good is None else f"--category {good} is none of them"
        shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise DataError(
            f"{root}/train holds folders of classes ({shown}) and {given}; say which one is good "
            f"with --category"
        )
    train, test = (
        [replace(sample, label=GOOD) if sample.label == good else sample for sample in samples]
        for samples in (found.train, found.test)
    )
    return Found(train, test)


def _check(dataset: Dataset, purpose: Purpose, places: _Places) -> None:
    if purpose == "evaluate":
        if not dataset.test:
            raise DataError(
                f"{dataset.root} has no test set; {TEST_SET_LOOKS_LIKE}. docs/data.md shows the "
                f"other layouts"
            )
        return
    inside = {"mvtec": f"train/{GOOD}", "frames": "training/frames"}.get(dataset.layout, "")
    good = " good" if dataset.n_left_out else ""
    cure = "; or move the folder of this category away" if dataset.categories else ""
    if others := sentence({key: n for key, n in dataset.left_out.items() if key != UNREAD}):
        cure = f"; {others}{cure}"
    if dataset.layout == "frames":
        cure += "; videos are decoded by: edgead frames VIDEO… --every 5 --out DATA"
    for category in dataset.categories or ("",):
        count = sum(sample.category == category for sample in dataset.train)
        if count < 2:
            raise DataError(
                f"{places.get(category, dataset.root) / inside} holds {('no', 'one')[count]}{good} "
                f"image ({SUFFIXES}); expected at least two images of good parts, one to learn "
                f"from and one to calibrate with, and better 50 or more{cure}"
            )
