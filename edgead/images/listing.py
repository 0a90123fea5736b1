"""Which files are images to take, in folders and on the command line, and what is left out.

Never taken: hidden files and folders, those of file systems and cameras, what is not a regular
file, and whatever edgead wrote itself: bundles, and pictures and frames that carry its mark.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead.errors import InputError, printable
from edgead.images.mark import own_output

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"
)  # fmt: skip
"""File name endings that count as images, lower case; case does not matter in a folder."""

SAVED_FRAME, OWN_PICTURE = "frame that edgead saved", "picture of edgead"
_FOLDER, _SYSTEM_FOLDER = "folder (not searched)", "system folder"
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "autorun.inf"}
_SYSTEM_FOLDERS = re.compile(
    r"""
    [@$].* | \#recycle | \#snapshot | ~snapshot | ~tmp   # Synology, QNAP, NetApp, Windows
    | recycled | recycler | recycle\.bin | system\ volume\ information | found\.\d+
    | lost\+found | lost\.dir | __macosx | network\ trash\ folder | temporary\ items
    | thevolumesettingsfolder | trash-\d+ | _?thumb(nail)?s | __pycache__
    | canonmsc | eosmisc | avf_info                      # cameras
    """,
    re.VERBOSE,
)
_BESIDE_DCIM = {"misc", "private", "system"}
_PLURALS = {
    SAVED_FRAME: "frames that edgead saved",
    OWN_PICTURE: "pictures of edgead",
    _FOLDER: "folders (not searched)",
    "bundle of edgead": "bundles of edgead",
    "not a regular file": "not regular files",
    "folder read already": "folders read already",
}


@dataclass
class Listing:
    """The images that were found, and how many entries were not taken, by reason.

    Args:
        images: their paths, sorted.
        left_out: a reason, such as ``.txt`` or ``dangling link``, to a number.
    """

    images: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def look_in(folder: str | os.PathLike[str]) -> Listing:
    """The images directly inside a folder, and what else is there.

    Frames that edgead saved (evidence, golden frames) are taken only from a folder that holds no
    other images, which then is the folder that is meant.

    Args:
        folder: path of the folder.

    Returns:
        Images sorted by name; what an empty list means is for the caller to decide.

    Raises:
        InputError: there is no such folder, it is a bundle, or it cannot be listed.
    """
    return _look(folder, deep=False)


def look_below(folder: str | os.PathLike[str]) -> Listing:
    """The images inside a folder and the folders in it, links followed, each folder once.

    As ``look_in`` otherwise; saved frames are taken from ``folder`` itself only.
    """
    return _look(folder, deep=True)


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files directly inside a folder; see ``look_in`` for what is left out.

    Args:
        folder: path of the folder.

    Returns:
        Their paths, sorted by name; what an empty list means is for the caller to decide.

    Raises:
        InputError: as ``look_in``.
    """
    return look_in(folder).images


def images_of(folder: str | os.PathLike[str]) -> Listing:
    """As ``look_in``, for callers that need at least one image.

    Raises:
        InputError: as ``look_in``, and for a folder without an image, with what it holds instead.
    """
    found = look_in(folder)
    if not found.images:
        left = f"; {sentence(found.left_out)}" if found.left_out else ""
        raise InputError(
            f"{printable(folder)} holds no image: a folder with PNG, JPEG, … files in it was "
            f"expected (folders inside it are not searched){left}"
        )
    return found


def expand(arguments: Sequence[str]) -> Listing:
    """Files as they are named, folders as the images in them, in the order given.

    A named picture of edgead is left out all the same, as shells name whatever is there.

    Raises:
        InputError: a path that does not exist, is neither file nor folder, or holds no image.
    """
    found = Listing()
    for argument in arguments:
        path = Path(argument)
        if os.path.isdir(argument):
            inside = images_of(path)
            found.images += inside.images
            found.left_out += inside.left_out
            continue
        check_regular(argument)
        if own_output(path) == "picture":
            found.left_out[OWN_PICTURE] += 1
        else:
            found.images.append(path)
    if not found.images:
        raise InputError(
            f"{printable(arguments[0])} is a picture that edgead drew, not a frame of a camera: "
            "give the image that it was drawn from"
        )
    return found


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what cannot be read as a file, before it is opened: a pipe would wait for ever.

    Raises:
        InputError: nothing there, or a pipe, socket or device.
    """
    shown = printable(os.fspath(path)) or "''"
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if os.path.islink(path):
            raise InputError(
                f"{shown} is a link to nothing: an image or a folder of images was expected"
            ) from error
        if isinstance(error, OSError) and not isinstance(
            error, FileNotFoundError | NotADirectoryError
        ):
            raise InputError(f"cannot read {shown}: {error.strerror or error}") from error
        raise InputError(
            f"{shown} does not exist: an image or a folder of images was expected"
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{shown} is {kind}: an image file was expected; save the frame first")


def why_left_out(path: str | os.PathLike[str]) -> str | None:
    """Why a file of a folder is not taken for an image; None when it is.

    Args:
        path: of the file; its head is read to look for edgead's mark.

    Returns:
        A reason as ``Listing`` counts it.
    """
    name = os.path.basename(os.fspath(path))
    if name.startswith("."):
        return "hidden"
    if name.lower() in _SYSTEM_FILES:
        return "system file"
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return "dangling link" if os.path.islink(path) else "unreadable"
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in IMAGE_SUFFIXES:
        return suffix or "without suffix"
    if not stat.S_ISREG(about.st_mode):
        return "not a regular file"
    if getattr(about, "st_file_attributes", 0) & getattr(stat, "FILE_ATTRIBUTE_HIDDEN", 2):
        return "hidden"
    mark = own_output(path)
    if mark is not None:
        return OWN_PICTURE if mark == "picture" else SAVED_FRAME
    if name == "recovered.png":  # of a run from before there were marks
        record = os.path.join(os.path.dirname(path), "run.json")
        return OWN_PICTURE if _says(record, b'"edgead"') else None
    return None


def why_not_searched(folder: str | os.PathLike[str]) -> str | None:
    """Why a folder inside another one is not searched for images; None when it is."""
    name = os.path.basename(os.fspath(folder))
    if name.startswith("."):
        return "hidden"
    if _SYSTEM_FOLDERS.fullmatch(name.lower()):
        return _SYSTEM_FOLDER
    if name.lower() in _BESIDE_DCIM and os.path.isdir(
        os.path.join(os.path.dirname(folder), "DCIM")
    ):
        return _SYSTEM_FOLDER
    return "bundle of edgead" if is_bundle(folder) else None


def is_bundle(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a bundle, whatever it is called."""
    return _says(os.path.join(folder, "manifest.json"), b'"edgead_version"')


def sentence(left_out: Mapping[str, int]) -> str:
    """``12 entries left out: 9 .txt, 2 dangling links, 1 picture of edgead``; "" for none."""
    reasons = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{number} {_worded(reason, number)}" for reason, number in reasons if number]
    total = sum(left_out.values())
    noun = "entry" if total == 1 else "entries"
    return f"{total} {noun} left out: {', '.join(parts)}" if parts else ""


def _worded(reason: str, number: int) -> str:
    reason = printable(reason)
    if number == 1 or reason.startswith("."):
        return reason
    plain = reason.startswith(("hidden", "without", "unreadable"))
    return _PLURALS.get(reason, reason if plain else f"{reason}s")


def _says(path: str, words: bytes) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            return words in stream.read(2**26)  # of ours; another program may have larger ones
    except OSError:
        return False


def _look(folder: str | os.PathLike[str], *, deep: bool) -> Listing:
    root = Path(folder)
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise InputError(
            f"folder {printable(folder)} {kind}; expected a folder of images, check the path"
        )
    if is_bundle(root):
        raise InputError(
            f"{printable(folder)} is a bundle; expected a folder of images (its golden frames are "
            f"in {printable(root / 'golden')})"
        )
    found, saved = Listing(), []
    for path, reason in walk(root, deep=deep):
        if reason is None:
            found.images.append(path)
        elif reason == SAVED_FRAME and path.parent == root:
            saved.append(path)
        else:
            found.left_out[reason] += 1
    if saved and not found.images and not found.left_out[SAVED_FRAME]:
        found.images = saved
    elif saved:
        found.left_out[SAVED_FRAME] += len(saved)
    found.images.sort()
    return found


def walk(root: Path, *, deep: bool) -> Iterator[tuple[Path, str | None]]:
    """Look at a folder, and at those inside it when ``deep``, links followed, each folder once.

    Returns:
        Every file, with None or the reason why it is not taken, and every folder that is not
        searched, with the reason; sorted within a folder.

    Raises:
        InputError: a folder cannot be listed.
    """
    waiting, seen = [root], set()
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
            about = os.stat(folder)
        except OSError as error:
            raise InputError(
                f"folder {printable(folder)} cannot be listed: {error.strerror or error}; check "
                "its permissions"
            ) from error
        if (about.st_dev, about.st_ino) in seen:  # a link, or a mount, of one that was read
            yield folder, "folder read already"
            continue
        seen.add((about.st_dev, about.st_ino))
        inside = []
        for name in names:
            path = folder / name
            if not os.path.isdir(path):
                yield path, why_left_out(path)
            elif reason := why_not_searched(path):
                yield path, reason
            elif deep:
                inside.append(path)
            else:
                yield path, _FOLDER
        waiting += reversed(inside)
