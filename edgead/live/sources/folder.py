"""A watched folder: every image that appears in it is a frame, once it is written completely."""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from edgead.files import in_words
from edgead.images import mark_in, open_image, sentence
from edgead.live.log import Say
from edgead.live.source import Moment, Reading, Source, SourceError, Stop, quiet_opencv
from edgead.live.sources.notices import News
from edgead.live.sources.places import Place, State, read_whole

POLL_S = 0.1
PATIENCE_S = 2.0
"""A file that cannot be read, or stays open, is waited for until it stays the same for so long."""
OWN = "picture of edgead"
DEAF = "the system does not tell what arrives in the folder, so it is looked at now and then"
MOST_GONE = 1000
"""Names that may be remembered although they are gone."""
MOST_PLACES = 4
"""Folders that had this name and are remembered: one whose disk comes back is not new."""


@dataclass
class _Growing:
    """A file that is waited for: how it was at the last look, and since when."""

    state: State
    since_s: float
    heard: bool  # the system said that it was written to; else its time alone may have changed


class FolderReader:
    """Gives the images that appear in a folder after it was opened, the oldest first.

    A file counts as written when it is the same at two looks, ``POLL_S`` seconds apart, no program
    that wrote to it has it open, and it can be decoded; one that stays unreadable for
    ``PATIENCE_S`` seconds is an error. A file that is written to again is a new frame; one that is
    renamed or touched is not. Folders inside it, hidden files (``.name``) and what edgead wrote do
    not count. ``bit_depth``: as for ``read_image``.
    """

    ends = False

    def __init__(
        self,
        source: Source,
        say: Say = lambda word, text, kind="": None,
        *,
        bit_depth: int | None = None,
    ) -> None:
        self._source, self._bit_depth = source, bit_depth
        self._say = say
        self._place = Place(source.target)
        self._identity: tuple[int, int] | None = None
        self._known: dict[tuple[int, int], dict[str, State]] = {}  # of each place of this name
        self._done: dict[str, State] = {}
        self._digests: dict[str, bytes] = {}
        self._growing: dict[str, _Growing] = {}
        self._ready: deque[str] = deque()
        self._failed: set[str] = set()
        self._own: Counter[str] = Counter()

    @property
    def left_out(self) -> Counter[str]:
        """What lies in the folder and is not a frame, by reason."""
        return self._place.left_out + self._own

    def open(self) -> str:
        """Note what is there already, the first time only: files that came while a network folder
        was away are new.

        Raises:
            SourceError: the folder cannot be listed.
        """
        quiet_opencv()
        try:
            deaf = self._place.open()
            found = self._place.look()
        except OSError as error:
            raise SourceError(
                f"{self._source.label} cannot be listed: {error.strerror}; check that it is there "
                f"and may be read"
            ) from error
        if deaf:
            self._say("note", f"{DEAF}: {deaf}", "notices")
        left_out = f"; {sentence(self.left_out)}" if self.left_out else ""
        before = self._enter()
        if before is None:
            self._done.update(found)
            return f"{len(found)} images are there already and are left alone{left_out}"
        now_s = Moment.now().monotonic_s
        new = {name: state for name, state in found.items() if not self._is_known(name, state)}
        self._growing = {name: _Growing(state, now_s, True) for name, state in new.items()}
        which = "" if before == self._place.identity else "another folder has its name; "
        return f"{which}{len(found)} images are there, {len(new)} of them new{left_out}"

    def read(self, stop: Stop) -> Reading | None:
        """The next complete image; None when the folder is gone or ``stop`` is set."""
        while True:
            while self._ready:
                reading = self._read_file(self._ready.popleft())
                if reading is not None:
                    return reading
            if stop.wait(POLL_S):
                return None
            try:
                self._look()
            except OSError:
                return None

    def close(self) -> None:
        """Let go of the system's notices."""
        self._place.close()

    def _enter(self) -> tuple[int, int] | None:
        """Go on with what is known of the folder that has the name now; which one it was before."""
        before, self._identity = self._identity, self._place.identity
        assert self._identity is not None
        self._done = self._known.pop(self._identity, {})
        self._known[self._identity] = self._done  # the latest is the last
        while len(self._known) > MOST_PLACES:
            del self._known[next(iter(self._known))]
        return before

    def _look(self) -> None:
        """Queue what is complete; forget what is gone."""
        self._place.check()
        news = self._place.take()
        for new, old in news.renamed.items():
            self._rename(old, new)
            if old not in news.written:
                self._touch(new, renamed=True)
        again = {name for name in news.touched if self._touch(name)}
        everything = news.uncertain or self._place.is_due()
        if everything:
            found = self._place.look()
        else:
            names = {*self._growing, *news.written, *news.renamed, *again}
            names |= self._place.new_names(self._done)
            found = self._place.look_at(names)
        self._sort_out(found, news)
        # One that waits may turn out to be one that is gone, under another name.
        some_wait = any(not growing.heard for growing in self._growing.values())
        if everything and (not some_wait or len(self._done) > 2 * len(found) + MOST_GONE):
            self._forget(found)

    def _sort_out(self, found: dict[str, State], news: News) -> None:
        now_s = Moment.now().monotonic_s
        growing, ready, deaf = {}, [], False
        for name, state in found.items():
            before = self._growing.get(name)
            told = news.uncertain or name in news.written or name in news.renamed
            if self._is_known(name, state, told):
                continue
            heard = told or (before is not None and before.heard)
            deaf |= before is not None and not heard and name not in self._done
            if before is None or before.state != state:
                growing[name] = _Growing(state, now_s, heard)
                continue
            growing[name] = _Growing(state, before.since_s, heard)
            if name not in self._place.writing or now_s - before.since_s >= PATIENCE_S:
                ready.append(name)
        self._growing = growing
        self._ready.extend(sorted(ready, key=lambda name: (found[name].mtime_ns, name)))
        if deaf and self._place.listens:  # as of a disk that another machine writes to
            self._place.close()
            self._say("note", f"{DEAF}: files come that it does not tell of", "notices")

    def _is_known(self, name: str, state: State, told: bool = False) -> bool:
        """Whether it was a frame, or there at the start, in this folder or an earlier one."""
        before = self._done.get(name)
        if before == state:
            return True
        if told:
            return False
        for done in [self._done] if before is not None else self._known.values():
            other = done.get(name)
            # A disk that is mounted again, or a copy of the folder, has other inodes.
            if other is not None and other[2:] == state[2:]:
                self._done[name] = state
                return True
        if self._place.listens or before is not None:
            return False
        old = [n for n, other in self._done.items() if other == state and self._has_left(n, state)]
        for each in old[:1]:
            self._rename(each, name)
        return bool(old)

    def _has_left(self, name: str, state: State) -> bool:
        """Whether the file of ``state`` no longer has this name."""
        found = self._place.look_at([name]).get(name)
        return found is None or found[:2] != state[:2]

    def _rename(self, old: str, new: str) -> None:
        names: list[dict[str, Any]] = [self._done, self._digests, self._growing]
        for known in names:
            if old in known:
                known[new] = known.pop(old)

    def _touch(self, name: str, *, renamed: bool = False) -> bool:
        """Note the new time of a file that was not written to; whether to read it once more.

        What a program wrote through memory (mmap) is not told as written: where it is known what
        the file held, its content tells.
        """
        before, growing = self._done.get(name), self._growing.get(name)
        if before is None or (growing is not None and growing.heard):
            return False
        if name in self._failed:  # its rights may have changed
            self._failed.remove(name)
            del self._done[name]
            return True
        state = self._place.look_at([name]).get(name)
        if state is not None and state[:3] == before[:3]:
            if name in self._digests and not renamed:
                return state != before
            self._done[name] = state
            self._growing.pop(name, None)
        return False

    def _forget(self, found: dict[str, State]) -> None:
        for name in [name for name in self._done if name not in found]:
            del self._done[name]
            self._digests.pop(name, None)
            self._failed.discard(name)

    def _read_file(self, name: str) -> Reading | None:
        """The frame in a file; None when it has to be looked at again, or is not one."""
        path = os.path.join(self._source.target, name)
        growing, captured = self._growing[name], Moment.now()
        try:
            data = read_whole(path, growing.state)
            if data is None or self._is_no_frame(name, growing, data):
                return None
            file = open_image(path, bit_depth=self._bit_depth, data=data)
            reading = Reading(captured, file.frame, path)
            if file.pages > 1:
                self._say("note", f"{name} has {file.pages} pages: the first was read", "pages")
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is in a file, the next one is read
            if captured.monotonic_s - growing.since_s < PATIENCE_S:
                return None
            reading = Reading(captured, None, path, in_words(error))
            self._failed.add(name)
        self._finish(name)
        return reading

    def _is_no_frame(self, name: str, growing: _Growing, data: bytes) -> bool:
        """Whether edgead wrote it itself, or it is what it was before: touched, not written to."""
        if mark_in(data) is not None:
            self._own[OWN] += 1
            text = f"{name} is a picture that edgead wrote: it is not a frame of the source"
            self._say("skip", text, "own")
            self._finish(name)
            return True
        digest = sha256(data).digest()
        if not growing.heard:
            for old in [name] if name in self._digests else list(self._digests):
                before = self._done.get(old)
                same = before is not None and before[:3] == growing.state[:3]
                same = same and self._digests[old] == digest
                if same and (old == name or self._has_left(old, growing.state)):
                    self._finish(name)  # touched, perhaps renamed
                    return True
        self._digests[name] = digest
        return False

    def _finish(self, name: str) -> None:
        self._done[name] = self._growing.pop(name).state
