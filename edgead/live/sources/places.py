"""The folder of a name: what lies in it, looked at as often as is cheap."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from edgead.errors import InputError
from edgead.files import MOST_BYTES, open_to_read, os_sentence
from edgead.images import IMAGE_SUFFIXES
from edgead.installation import cure
from edgead.live.source import Moment
from edgead.live.sources.notices import News, Notices

SHARE, SHARE_LISTENING = 0.05, 0.01
"""Of one core, for looking at all files, and as much for listing their names: alone, and where the
system tells what happens."""
FREE_S = 0.1
"""This much time passes between two looks anyway."""
GRAIN_S = 2.5
"""In this time a folder may change twice under one time stamp: FAT counts in 2 seconds."""


class State(NamedTuple):
    """What changes when a file is written to or another takes its name."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Place:
    """The folder at ``path``, from ``open`` on.

    ``identity``: device and inode of the folder itself, also where it has another name or mount.
    ``left_out``: what was not an image at the last look at everything, by reason.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None
        self.left_out: Counter[str] = Counter()
        self._notices: Notices | None = None
        self._next_look_s = self._next_list_s = self._list_until_s = 0.0
        self._mtime_ns = -1

    @property
    def listens(self) -> bool:
        """Whether the system tells what happens."""
        return self._notices is not None

    @property
    def writing(self) -> Collection[str]:
        """Names that a program has open that wrote to them, as far as the system tells."""
        return self._notices.writing if self._notices is not None else ()

    def open(self) -> str:
        """Begin, or begin again; returns why the system does not tell what comes, or "".

        Raises:
            OSError: there is no such folder.
        """
        self.close()
        self._next_look_s = self._next_list_s = 0.0
        about = os.stat(self.path)
        self.identity = about.st_dev, about.st_ino
        try:
            self._notices = Notices(self.path)
        except ModuleNotFoundError:
            return f"inotify_simple is not installed: {cure('live')}"
        except OSError as error:
            return os_sentence(error)
        return ""

    def check(self) -> None:
        """Raise OSError when the folder is gone, or another one has its name."""
        about = os.stat(self.path)
        if (about.st_dev, about.st_ino) != self.identity:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self.path)
        if about.st_mtime_ns != self._mtime_ns:
            self._mtime_ns = about.st_mtime_ns
            self._list_until_s = Moment.now().monotonic_s + GRAIN_S

    def take(self) -> News:
        """What the system told since the last call."""
        return self._notices.take() if self._notices is not None else News()

    def is_due(self) -> bool:
        """Whether ``look`` would cost no more than its share."""
        return Moment.now().monotonic_s >= self._next_look_s

    def look(self) -> dict[str, State]:
        """Every image file.

        Raises:
            OSError: the folder cannot be listed.
        """
        began_s = Moment.now().monotonic_s
        found, left_out = {}, Counter[str]()
        with os.scandir(self.path) as entries:
            for entry in entries:
                reason = why_no_image(entry.name)
                if not reason:
                    try:
                        about = entry.stat()
                        if stat.S_ISREG(about.st_mode):
                            found[entry.name] = _state(about)
                            continue
                        reason = "not a regular file"
                    except OSError:
                        if not entry.is_symlink():  # removed since it was listed
                            continue
                        reason = "dangling link"
                elif reason == "without suffix" and entry.is_dir():
                    reason = "folder (not searched)"
                left_out[reason] += 1
        self.left_out = left_out
        self._next_look_s = self._next(began_s)
        return found

    def look_at(self, names: Iterable[str]) -> dict[str, State]:
        """Those of ``names`` that are image files."""
        found = {}
        for name in names:
            if why_no_image(name):
                continue
            try:
                about = os.stat(os.path.join(self.path, name))
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(about.st_mode):
                found[name] = _state(about)
        return found

    def new_names(self, known: Collection[str]) -> set[str]:
        """Names that are not ``known``, when the folder changed and listing costs not too much."""
        began_s = Moment.now().monotonic_s
        if not self._next_list_s <= began_s < self._list_until_s:
            return set()
        names = {name for name in os.listdir(self.path) if name not in known}
        self._next_list_s = self._next(began_s)
        return names

    def close(self) -> None:
        """Listen no more; a second call does nothing."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _next(self, began_s: float) -> float:
        now_s = Moment.now().monotonic_s
        share = SHARE_LISTENING if self.listens else SHARE
        return now_s + max(0.0, (now_s - began_s) / share - FREE_S)


def why_no_image(name: str) -> str:
    """Why a file so named is not a frame, as ``edgead.images.sentence`` words it; "" if it is."""
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        return "hidden"
    return "" if suffix in IMAGE_SUFFIXES else suffix or "without suffix"


def read_whole(path: str, state: State) -> bytes | None:
    """The bytes of a file; None when it is not, or no longer, the one of ``state``.

    Raises:
        OSError: it cannot be read.
        InputError: it is too large.
    """
    with open_to_read(path) as stream:
        if _state(os.fstat(stream.fileno())) != state:
            return None
        if state.size > MOST_BYTES:
            raise InputError(
                f"image {path} has {state.size / 2**30:.1f} GiB, expected at most "
                f"{MOST_BYTES / 2**30:.1f}: it is not a picture from a camera"
            )
        data = stream.read()
        return data if _state(os.fstat(stream.fileno())) == state else None


def _state(about: os.stat_result) -> State:
    return State(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
