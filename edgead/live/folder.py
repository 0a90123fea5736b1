"""A watched folder: every image that appears in it is a frame, once it is written completely."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from threading import Event

from edgead.errors import InputError
from edgead.images import IMAGE_SUFFIXES, read_image
from edgead.live.source import Moment, Reading, Source, SourceError, quiet_opencv

POLL_S = 0.1
PATIENCE_S = 2.0
"""A file that cannot be read is given up when nothing has written to it for so long."""


_State = tuple[int, int, int]
"""Inode, size and time: what changes when a file is written to or another takes its name."""


class FolderReader:
    """Gives the images that appear in a folder after it was opened, the oldest first.

    A file counts as written when it is the same at two looks, ``POLL_S`` seconds apart, and can be
    decoded; one that stays unreadable for ``PATIENCE_S`` seconds is an error. A file that is
    written to again is a new frame. Folders inside it and hidden files (``.name``) do not count.
    ``bit_depth``: as for ``read_image``.
    """

    def __init__(self, source: Source, *, bit_depth: int | None = None) -> None:
        self._source, self._bit_depth = source, bit_depth
        self._opened = False
        self._done: dict[str, _State] = {}
        self._growing: dict[str, tuple[_State, float]] = {}  # state, and since when it is the same
        self._ready: deque[str] = deque()

    def open(self) -> str:
        """Note what is there already, the first time only: files that came while a network folder
        was away are new.

        Raises:
            SourceError: the folder cannot be listed.
        """
        quiet_opencv()
        try:
            found = self._look()
        except OSError as error:
            raise SourceError(
                f"{self._source.label} cannot be listed: {error.strerror}; check that it is there "
                f"and may be read"
            ) from error
        if not self._opened:
            self._opened, self._done = True, found
        return f"{len(self._done)} images are there already and are left alone"

    def read(self, stop: Event) -> Reading | None:
        """The next complete image; None when the folder is gone or ``stop`` is set."""
        while True:
            while self._ready:
                reading = self._read_file(self._ready.popleft())
                if reading is not None:
                    return reading
            if stop.wait(POLL_S):
                return None
            try:
                self._sort_out(self._look())
            except OSError:
                return None

    def close(self) -> None:
        """Nothing is held open."""

    def _look(self) -> dict[str, _State]:
        found = {}
        with os.scandir(self._source.target) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                try:
                    about = entry.stat()
                    if entry.is_file():
                        found[name] = about.st_ino, about.st_size, about.st_mtime_ns
                except OSError:  # removed since it was listed
                    continue
        return found

    def _sort_out(self, found: dict[str, _State]) -> None:
        """Queue what is the same as at the last look; forget what is gone."""
        self._done = {name: state for name, state in self._done.items() if name in found}
        now_s = Moment.now().monotonic_s
        growing, ready = {}, []
        for name, state in found.items():
            if self._done.get(name) == state:
                continue
            before, since_s = self._growing.get(name, (None, now_s))
            growing[name] = (state, since_s if before == state else now_s)
            if before == state:
                ready.append(name)
        self._growing = growing
        self._ready.extend(sorted(ready, key=lambda name: (found[name][2], name)))

    def _read_file(self, name: str) -> Reading | None:
        """The frame in a file; None when it has to be looked at again."""
        path = os.path.join(self._source.target, name)
        state, since_s = self._growing[name]
        captured = Moment.now()
        try:
            reading = Reading(captured, read_image(path, bit_depth=self._bit_depth), path)
        except InputError as error:
            if not os.path.exists(path) or captured.monotonic_s - since_s < PATIENCE_S:
                return None
            reading = Reading(captured, None, path, str(error))
        self._done[name] = state
        return reading
