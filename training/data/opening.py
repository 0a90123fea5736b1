"""Which layout a folder has, which categories, and what must be in it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from edgead.errors import DataError

from .dataset import (
    GOOD,
    TEST_SET_LOOKS_LIKE,
    Dataset,
    Found,
    Layout,
    Purpose,
    Sample,
    by_name,
    portable,
)  # fmt: skip
from .layouts import FOLDER, LAYOUTS
from .listing import SUFFIXES, folders_in

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
        category: None: all categories together. Of layout oneclass: the class that is good.

    Returns:
        The samples, and the layout that was recognised.

    Raises:
        DataError: a folder that is missing, empty, ambiguous or lacks what is expected; masks
            without image, images without mask among others that have one.
    """
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"purpose is {purpose!r}; expected 'train' or 'evaluate'")
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a folder of images of good parts")
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the folder that holds the images")
    kind, places = _recognise(root, purpose, layout)
    samples: list[list[Sample]] = [[], []]  # of train and of test
    for name, folder in _chosen(root, kind, places, category).items():
        found = kind.read(root, folder)
        if kind.classes:
            found = _one_good(root, found, category)
        for known, more in zip(samples, found, strict=True):
            known += [replace(sample, category=portable(name)) for sample in more]
    train, test = (tuple(sorted(part, key=by_name)) for part in samples)
    good = tuple(sample for sample in train if sample.is_good)
    dataset = Dataset(root, kind.name, good, test, n_left_out=len(train) - len(good))
    _check(dataset, purpose, places)
    return dataset


def _recognise(root: Path, purpose: Purpose, name: str | None) -> tuple[Layout, _Places]:
    """The layout, and the folders of the categories, or the root itself."""
    if name is not None and name not in LAYOUTS:
        raise DataError(f"--layout {name} is not a layout; choose one of: {', '.join(LAYOUTS)}")
    layouts = list(LAYOUTS.values()) if name is None else [LAYOUTS[name]]
    for layout in layouts:
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
    if name is not None:
        raise DataError(
            f"{root} does not look like --layout {name}; expected {layouts[0].tree}"
            + ("" if layouts[0].classes else ", directly or in a folder for each category")
        )
    return FOLDER, {"": root}


def _chosen(root: Path, layout: Layout, places: _Places, category: str | None) -> _Places:
    if category is None or layout.classes:
        return places
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
    classes = sorted({sample.label for sample in found[0]})
    if good not in classes:
        given = "no class was named" if good is None else f"--category {good} is none of them"
        shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise DataError(
            f"{root}/train holds folders of classes ({shown}) and {given}; say which one is good "
            f"with --category"
        )
    train, test = (
        [replace(sample, label=GOOD) if sample.label == good else sample for sample in samples]
        for samples in found
    )
    return train, test


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
