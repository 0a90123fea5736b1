"""Parts sorted into folders whose names say what they are: OK and NG, good and bad, pass and fail.

OK/*  NG/*                       without train and test: the good ones are learnt
train/OK/*  test/OK/*  test/NG/* or OK/train/*, normal_test/*, valid/images/good/*, …
ground_truth/NG/<stem>_mask.png  or masks/<stem>.png, or <stem>_mask.png beside the image

``words.py`` has the words. An image belongs to what is good only when a folder says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgead.errors import DataError, printable

from ..dataset import (
    GOOD,
    TEST_SET_LOOKS_LIKE,
    Asked,
    Found,
    Layout,
    Purpose,
    Sample,
    list_folders,
    make_sample,
    portable,
    same_name,
    way_to,
)
from ..listing import folders_in, images_below
from ..words import Split, meaning
from .good_parts import check_files
from .masks import masks_beside, match_masks


@dataclass(frozen=True)
class Place:
    """What the folders above an image say.

    Args:
        good: as in ``Meaning``.
        split: as in ``Meaning``.
        label: the folder that says what it shows; "" where none does.
        mask: whether a folder for masks is among them.
        shown: the way to the folder that says it, for messages.
        aside: whether a folder says that nobody has decided what lies there.
    """

    good: bool | None
    split: Split | None
    label: str
    mask: bool
    shown: str
    aside: bool = False


def place_of(parts: tuple[str, ...], good_name: str | None) -> Place:
    """What the folders of an image say, from the outermost on.

    good_name: of the folder that the user calls good; everything outside of it is defective then.
    Raises: DataError for a folder of good parts inside one of defective ones.
    """
    good, split, label, shown, mask, aside = None, None, "", "", False, False
    for depth, part in enumerate(parts):
        said = meaning(part)
        verdict, way = said.good, "/".join(parts[: depth + 1])
        if split and said.split and split != said.split:
            raise DataError(
                f"{printable(way)}/ means {said.split} and lies inside a folder for {split}; "
                "rename one of them, or give the inner folder alone"
            )
        split, mask = split or said.split, mask or said.mask
        if good_name is not None and good is None:
            chosen = same_name(part, good_name) or same_name(way, good_name)
            verdict = True if chosen else None
        if good is False and verdict and not mask:
            raise DataError(
                f"{printable(way)}/ means good and lies inside {printable(shown)}/, which means "
                "defective; rename one of them, or give the inner folder alone"
            )
        if said.aside and verdict is None:
            good, label, shown, aside = None, part, way, True
            break
        if verdict is not None and good is not verdict:
            good, label, shown = verdict, part, way
        elif good is None and not label and not (said.split or said.plain or said.mask):
            label, shown = part, way
    if good_name is not None and good is None and label and not aside:
        good = False
    return Place(good, split, label, mask, shown or "/".join(parts), aside)


def fits(folder: Path, purpose: Purpose) -> bool:
    """Whether a name says good or defective, directly or below folders such as train and images."""
    level = [folder]
    for _ in range(4):
        inside = [(each, meaning(each.name)) for above in level for each in folders_in(above)]
        if any(said.good is not None and not said.mask for _, said in inside):
            return True
        level = [each for each, said in inside if said.split or said.plain]
    return False


def read(root: Path, folder: Path, asked: Asked) -> Found:
    images, masks = _places(folder, asked.category)
    if asked.category is not None and not any(place.good for place in images.values()):
        raise DataError(
            f"--category {printable(asked.category)} is not a folder of images in {folder}: it "
            f"holds {list_folders(Counter(place.shown for place in images.values()))}"
        )
    splits = {place.split for place in images.values()} - {None}
    parts: dict[str, list[Sample]] = {"train": [], "test": []}
    counts: dict[str, Counter[str]] = {"good": Counter(), "defective": Counter(), "": Counter()}
    for path, place in images.items():
        where = _where(place, splits, asked.purpose)
        if where == "test" and not place.label:
            if asked.purpose == "evaluate":
                raise DataError(
                    f"{path} lies in no folder that says what it shows; {TEST_SET_LOOKS_LIKE}"
                )
            where = None
        label = portable(place.label)
        label = GOOD if place.good else f"not {label}" if label == GOOD else label
        if where is not None:
            parts[where].append(make_sample(root, path, label))
        defective = place.good is False or where == "test"
        shown = way_to(folder, path) if place.good else place.shown
        counts["good" if place.good else "defective" if defective else ""][shown] += 1
    good = [sample for part in parts.values() for sample in part if sample.is_good]
    check_files(folder, [sample.path for sample in good], LAYOUT.name, asked.by_name)
    train, test = parts["train"], parts["test"]
    if asked.purpose == "train" and not any(sample.is_good for sample in test):
        test = []  # defects alone measure nothing
    test = match_masks(folder, test, masks, images)
    if asked.purpose == "train" and not any(sample.is_good for sample in train):
        raise DataError(_nothing_to_learn(folder, images))
    return Found(train, test, _assumed(counts, asked), (*masks, *images))


def _places(folder: Path, good_name: str | None) -> tuple[dict[Path, Place], list[Path]]:
    """The images below `folder` with their places, and the masks."""
    found: dict[Path, Place] = {}
    masks: list[Path] = []
    every = images_below(folder)
    beside = set(masks_beside(every))
    known: dict[Path, Place] = {}
    for path in every:
        if path.parent not in known:
            known[path.parent] = place_of(path.parent.relative_to(folder).parts, good_name)
        place = known[path.parent]
        if place.mask or path in beside:
            masks.append(path)
        else:
            found[path] = place
    return found, masks


def _where(place: Place, splits: set[Split | None], purpose: Purpose) -> str | None:
    """train, test, or None: not taken.

    Validation is what calibration is to edgead, so its good images join those of train; it is the
    test set where there is no other. Without train or test in the names, everything is both.
    """
    if place.aside:
        return None
    split = place.split
    if split == "val":
        split = "test" if "test" not in splits or not place.good else "train"
    if split is None:
        if place.good is None:
            return None
        if not splits:
            split = "test" if purpose == "evaluate" else "train" if place.good else "test"
        elif place.good:
            split = "train" if "train" not in splits else None
        else:
            split = "test"
    return None if split == "train" and place.good is None else split


def _assumed(counts: dict[str, Counter[str]], asked: Asked) -> str:
    good, defective, aside = (list_folders(counts[key]) for key in ("good", "defective", ""))
    parts = [f"{good} taken as good"] if good else []
    parts += [f"{defective} as defective"] if defective else []
    parts += [f"{aside} left aside"] if aside else []
    return ", ".join(parts) + ("" if asked.category else "; --category NAME says otherwise")


def _nothing_to_learn(folder: Path, images: dict[Path, Place]) -> str:
    held = list_folders(Counter(place.shown for place in images.values())) or "no image"
    expected = folder / "train" / GOOD
    return (
        f"{folder} has no train/good/ or other folder with images that its name calls good: it "
        f"holds {held}; put the good training images into {expected}, or say which folder is good "
        "with --category NAME"
    )


LAYOUT = Layout(
    "sorted", "folders whose names say good or defective, such as OK and NG, in train and test or "
    "not", fits, read,
)  # fmt: skip


def words_below(folder: Path) -> bool:
    """Whether any folder below `folder` that holds images says good or defective."""
    parents = {path.parent.relative_to(folder) for path in images_below(folder)}
    return any(
        meaning(part).good is not None for way in parents for part in PurePosixPath(way).parts
    )
