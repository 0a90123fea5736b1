"""Which files are images, in folders and on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgead.errors import InputError

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"
)  # fmt: skip
"""File name endings that count as images, lower case; case does not matter in a folder."""


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files directly inside a folder; hidden files are left out.

    Args:
        folder: path of the folder.

    Returns:
        Their paths, sorted by name; an empty list is the caller's to judge.

    Raises:
        InputError: there is no such folder, or it cannot be listed.
    """
    directory = Path(folder)
    if not directory.is_dir():
        kind = "is a file" if directory.exists() else "does not exist"
        raise InputError(f"folder {folder} {kind}; expected a folder of images, check the path")
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot list folder {folder}: {error.strerror or error}") from error
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
    ]


def expand(arguments: Sequence[str]) -> list[Path]:
    """Files as they are named, folders as the images in them, in the order given.

    Raises:
        InputError: a path that does not exist, a folder without an image.
    """
    paths: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if not argument or not path.exists():
            raise InputError(
                f"{argument or repr('')} does not exist: an image or a folder of images was "
                "expected"
            )
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise InputError(
                f"{path} holds no image: a folder with PNG, JPEG, … files in it was expected "
                "(folders inside it are not searched)"
            )
        paths += found
    return paths
