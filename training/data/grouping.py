"""Which part an image shows: by an expression that is found in its name, or by a list."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgead.errors import DataError, printable, shortened
from edgead.files import os_sentence, read_file

from .dataset import portable

LISTS = (".csv", ".json")
HEADER = ("image", "part")
FORMS = 'a line IMAGE,PART for each image, or in .json {"IMAGE": "PART", …}'


def is_list(group: str) -> bool:
    """Whether ``--group`` is a list of images and their parts, not an expression."""
    return group.endswith(LISTS) and ("(" not in group or Path(group).is_file())


def grouped(names: Sequence[str], group: str) -> list[str]:
    """The part that each image shows.

    Args:
        names: of the images, "/" between folders.
        group: a regular expression whose first group, found in the name, is the part; or the path
            of a list, .csv or .json. An image's entry there is its path or the end of it, in whole
            folders and names, the extension left out or not; the longest one counts.

    Raises:
        DataError: an expression or a list that cannot be read, or does not tell the part of each.
    """
    found = told(names, group)
    absent = [name for name, part in zip(names, found, strict=True) if part is None]
    if absent and is_list(group):
        raise DataError(
            f"--group {printable(group)} does not say which part {len(absent)} of {len(names)} "
            f"images show, such as {printable(absent[0])}; add a line for each, as "
            f"{printable(PurePosixPath(absent[0]).name)},PART"
        )
    if absent:
        raise DataError(
            f"--group {group} does not say which part {absent[0]} shows; give an expression whose "
            "first group is found in every name"
        )
    return [part for part in found if part is not None]


def told(names: Sequence[str], group: str) -> list[str | None]:
    """As ``grouped``, but None for each image whose part is not told."""
    if is_list(group):
        return _listed(names, group, _read(group))
    pattern = _compiled(group)
    matches = (pattern.search(name) for name in names)
    return [(match.group(1) or None) if match else None for match in matches]


def _compiled(group: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read in another way
            pattern = re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(
            f"--group {shortened(group)} is not a regular expression: {error}"
        ) from error
    if not pattern.groups:
        raise DataError(
            f"--group {group} has no group; put parentheses around what is the same in all images "
            f"of one part, as in '_num_([0-9]+)', or give a list of images and parts, .csv or .json"
        )
    return pattern


def _listed(names: Sequence[str], group: str, listed: Mapping[str, str]) -> list[str | None]:
    entries = [next((end for end in _ends(name) if end in listed), None) for name in names]
    first: dict[str, str] = {}
    for name, entry in zip(names, entries, strict=True):
        if entry is not None and first.setdefault(entry, name) != name:
            raise DataError(
                f"--group {printable(group)}: {printable(entry)} may be "
                f"{printable(first[entry])} or {printable(name)}; list their paths"
            )
    return [None if entry is None else listed[entry] for entry in entries]


def _ends(name: str) -> list[str]:
    """What may stand for an image in a list, the longest first: "a/b.png", "a/b", "b.png", "b"."""
    folders = portable(name).split("/")
    found = []
    for at in range(len(folders)):
        end = "/".join(folders[at:])
        stem = PurePosixPath(folders[-1]).stem
        found += [end, "/".join((*folders[at:-1], stem))]
    return found


def _read(group: str) -> dict[str, str]:
    """Image to part, as the list says. Raises: DataError."""
    try:
        text = read_file(group).decode("utf-8-sig")
        rows = _of_json(text) if group.endswith(".json") else _of_csv(text)
    except OSError as error:
        raise DataError(f"cannot read the list of --group: {os_sentence(error)}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(
            f"--group {printable(group)} is not a list of images and their parts "
            f"({shortened(printable(error))}); expected {FORMS}, in UTF-8"
        ) from error
    listed: dict[str, str] = {}
    for image, part in rows:
        if listed.setdefault(image, part) != part:
            raise DataError(
                f"--group {printable(group)} says that {printable(image)} shows "
                f"{printable(listed[image])} and {printable(part)}; leave one"
            )
    if not listed:
        raise DataError(f"--group {printable(group)} lists no image; expected {FORMS}")
    return listed


def _of_csv(text: str) -> list[tuple[str, str]]:
    rows = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        cells = tuple(cell.strip() for cell in row)
        if cells in ((), ("",)) or (not rows and cells == HEADER):
            continue
        rows.append(_entry(cells, f"line {reader.line_num}"))
    return rows


def _of_json(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, Any]] | Any = json.loads(text, object_pairs_hook=list)
    if not text.lstrip().startswith("{"):
        raise ValueError("no object")
    return [
        _entry((image, str(part) if type(part) is int else part), repr(image))
        for image, part in pairs
    ]


def _entry(cells: tuple[Any, ...], where: str) -> tuple[str, str]:
    if len(cells) != 2 or not all(isinstance(cell, str) and cell for cell in cells):
        raise ValueError(f"{where} is not one image and one part")
    return portable(cells[0]).removeprefix("./"), cells[1]


def absolute(group: str) -> str:
    """``group``, for the record of a run: a list by a path that holds in any folder."""
    return str(Path(group).resolve()) if is_list(group) else group


def name_of(group: str) -> str:
    """``group`` as other machines may read it: of a list, the name."""
    return Path(group).name if is_list(group) else group
