"""Files and folders on disk, in an order that is the same everywhere.

What is never taken (hidden and system entries, what edgead wrote) is ``edgead.images.listing``'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from edgead.errors import DataError, InputError
from edgead.images import IMAGE_SUFFIXES, walk
from edgead.images.listing import SAVED_FRAME, why_not_searched

from .dataset import portable, same_name

SUFFIXES = ", ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))  # for messages


_Entries = list[tuple[Path, str | None]]
_walked: ContextVar[dict[tuple[Path, bool], _Entries] | None] = ContextVar("walked", default=None)


@contextmanager
def each_folder_once() -> Iterator[None]:
    """Inside, a folder that was looked at is not looked at again: network folders are slow."""
    token = _walked.set({})
    try:
        yield
    finally:
        _walked.reset(token)


def entries_below(folder: Path, *, deep: bool = True) -> _Entries:
    """As ``edgead.images.walk``; nothing where there is no such folder. Raises: DataError."""
    known = _walked.get()
    found = None if known is None else known.get((folder, deep))
    if found is None:
        try:
            found = list(walk(folder, deep=deep)) if folder.is_dir() else []
        except InputError as error:
            raise DataError(str(error)) from error
        if known is not None:
            known[folder, deep] = found
    return found


def images_below(folder: Path) -> list[Path]:
    """The images below `folder`, sorted; none where there is no such folder."""
    return sorted(path for path, reason in entries_below(folder) if reason is None)


def images_in(folder: Path) -> list[Path]:
    """The images directly inside `folder`, sorted; none where there is no such folder."""
    return [path for path, reason in entries_below(folder, deep=False) if reason is None]


def saved_frames_in(folder: Path) -> list[Path]:
    """The frames that edgead saved in `folder`, which the user named and holds no other images."""
    found = entries_below(folder, deep=False)
    return [path for path, reason in found if reason == SAVED_FRAME]


def folders_in(folder: Path) -> list[Path]:
    """The folders directly inside `folder` that may hold images, sorted; none without `folder`."""
    return [path for path in _paths_in(folder) if path.is_dir() and why_not_searched(path) is None]


def image_names_in(folder: Path) -> list[str]:
    """The names in `folder` that end like those of images; no file is looked at."""
    names = (path.name for path in _paths_in(folder))
    return [name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]


def named(folder: Path, name: str) -> Path:
    """The entry of `folder` with that name, however it is composed; ``folder / name`` without."""
    exact = folder / name
    if not os.path.lexists(exact):
        for path in _paths_in(folder):
            if same_name(path.name, name):
                return path
    return exact


def files_by_name(root: Path, folder: Path) -> dict[str, Path]:
    """The images below `folder` by their way from `root`, however their names are composed."""
    return {portable(path.relative_to(root).as_posix()): path for path in images_below(folder)}


def _paths_in(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be listed: {error.strerror}; check its permissions"
        ) from error
