"""Files and folders on disk, in an order that is the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from edgead.errors import DataError
from edgead.images import IMAGE_SUFFIXES

SUFFIXES = ", ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))  # for messages


def is_image(path: Path) -> bool:
    """Whether the name ends like that of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_below(folder: Path) -> list[Path]:
    """The images below `folder`, sorted; none where there is no such folder."""
    return [path for path in files_below(folder) if is_image(path)] if folder.is_dir() else []


def folders_in(folder: Path) -> list[Path]:
    """The folders directly inside `folder`, hidden ones left out, sorted; none without `folder`."""
    return [path for path in _entries(folder) if path.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """The images directly inside `folder`, hidden ones left out, sorted; none without `folder`."""
    return [path for path in _entries(folder) if is_image(path) and path.is_file()]


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder`, links followed, hidden files and folders left out, sorted."""
    found: list[Path] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back to a folder already walked
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(parent, name) for name in files if not name.startswith("."))
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be listed: {error.strerror}; check its permissions"
    ) from error
