"""This user's own plans: a directory that no other user may write to, one entry per key.

    KEY.plan   the plan as TensorRT wrote it
    KEY.json   what it is, its size and SHA-256; written last, so an entry is whole or not there
    KEY.jit    what RTX compiled for this GPU when the plan first ran, to start faster
    KEY.log    the log of the build, of one that failed too
    KEY.timing what TensorRT measured of kernels, for the next build on the same GPU
    KEY.lock   held while it is built; goes when its process dies

A plan is native code: a user who can write here can run code as this one. That is why the directory
is refused when it belongs to another user, is a link, or others may write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.errors import CancelledError, DeviceError
from edgead.files import lock, os_sentence, user_cache, write_file

MOST_PLANS = 24
MOST_BYTES = 2**31
_OF_A_PLAN = (".plan", ".log", ".jit")
_LEFTOVER_AGE_S = 3600.0  # temporary files of killed writers, and logs of builds that failed
_TIMING_AGE_S = 180 * 86400.0  # of a GPU or a TensorRT that is probably gone
_POLL_S = 0.1
_CURE = "set EDGEAD_CACHE to a directory of your own"


@dataclass(frozen=True)
class Entry:
    """One plan that was built here. ``about``: what the builder said of it, free JSON."""

    key: str
    path: Path
    size: int
    sha256: str
    about: Mapping[str, Any]
    used: float  # seconds since 1970


def plans_directory() -> Path:
    """``$EDGEAD_CACHE/plans``, else ``edgead/plans`` in the cache directory of this user.

    Raises:
        DeviceError: this user has no home folder, and nothing says where else.
    """
    return user_cache("plans", "the plan cache")


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of an entry: 32 hex digits that follow from JSON values ``parts``."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class PlanCache:
    """The plans below ``directory`` (default: ``plans_directory()``).

    Raises:
        DeviceError: the directory cannot be made, or another user may write to it.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = plans_directory() if directory is None else directory
        with _refusals(self.directory):
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)
        _check_own(self.directory, "the plan cache", stat.S_ISDIR, "a directory", _CURE)

    def find(self, key: str) -> Entry | None:
        """The entry, or None; DeviceError where others may have written it or it is damaged."""
        path, plan = self._path(key, ".json"), self._path(key, ".plan")
        if not os.path.lexists(path):
            return None
        try:
            about = json.loads(self._read(path))
            size, digest = int(about.pop("size")), str(about.pop("sha256"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeviceError(altered(path)) from error
        if not os.path.lexists(plan):
            return None
        with _refusals(self.directory):
            return Entry(key, plan, size, digest, about, path.lstat().st_mtime)

    def load(self, entry: Entry) -> bytes:
        """The plan, which now counts as used; DeviceError where it was altered since its build."""
        data = self._read(entry.path)
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise DeviceError(altered(entry.path))
        with contextlib.suppress(OSError):  # a read-only cache still serves
            os.utime(self._path(entry.key, ".json"))
        return data

    def get(
        self,
        key: str,
        *,
        waiting: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Entry, bytes] | None:
        """``look``, while other processes may replace or remove the plan: what seems damaged is
        looked at again in ``building``, which this process may not be in for this key."""
        try:
            return self.look(key)
        except DeviceError as error:
            seen = error
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.building(key, waiting=waiting, cancelled=cancelled))
            except DeviceError:  # a cache that cannot be written does not change
                raise seen from None
            return self.look(key)

    def look(self, key: str) -> tuple[Entry, bytes] | None:
        """``find`` and ``load`` in one."""
        entry = self.find(key)
        return None if entry is None else (entry, self.load(entry))

    def compiled(self, key: str) -> bytes | None:
        """What RTX compiled when the plan ran before, or None; DeviceError where others may have
        written it."""
        path = self._path(key, ".jit")
        try:
            return self._read(path)
        except DeviceError:
            if os.path.lexists(path):
                raise
            return None

    def store(self, key: str, data: bytes, about: Mapping[str, Any]) -> Entry:
        """Keep a plan, in place of an older one of the same key, and prune the others.

        Raises:
            DeviceError: no space or no permission; nothing half-written stays.
        """
        digest = hashlib.sha256(data).hexdigest()
        text = json.dumps({**about, "size": len(data), "sha256": digest}, indent=1)
        path, plan = self._path(key, ".json"), self._path(key, ".plan")
        with _refusals(self.directory):
            path.unlink(missing_ok=True)  # never old words beside a new plan
            write_file(plan, data)
            try:
                write_file(path, text.encode())
            except OSError:
                plan.unlink(missing_ok=True)
                raise
        self.prune(keep=key)
        return Entry(key, plan, len(data), digest, about, time.time())

    def keep(self, key: str, suffix: str, data: bytes) -> Path | None:
        """Keep what a plan can do without: ".log", ".jit" or ".timing"; None where it cannot be
        written."""
        path = self._path(key, suffix)
        with contextlib.suppress(OSError):
            write_file(path, data)
            return path
        return None

    def timing(self, key: str) -> bytes:
        """The timing cache of an earlier build; b"" where there is none that can be trusted."""
        with contextlib.suppress(DeviceError):
            return self._read(self._path(key, ".timing"))
        return b""

    def entries(self) -> list[Entry]:
        """All plans, the last used first; damaged ones are left out."""
        found: list[Entry] = []
        for path in self.directory.glob("*.json"):
            with contextlib.suppress(DeviceError):
                found += filter(None, [self.find(path.stem)])
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(
        self, *, keep: str = "", most_plans: int = MOST_PLANS, most_bytes: int = MOST_BYTES
    ) -> list[Entry]:
        """Remove the least recently used plans over the limits, but not ``keep``, and old
        leftovers; gives the plans that were removed."""
        removed, count, total = [], 0, 0
        for entry in sorted(self.entries(), key=lambda entry: entry.key != keep):
            fits = count < most_plans and total + entry.size <= most_bytes
            if fits or entry.key == keep:
                count, total = count + 1, total + entry.size
                continue
            with self._try_lock(entry.key) as held:
                if held:
                    for suffix in (".json", *_OF_A_PLAN):
                        with contextlib.suppress(OSError):
                            self._path(entry.key, suffix).unlink(missing_ok=True)
                    removed.append(entry)
        self._sweep()
        return removed

    @contextlib.contextmanager
    def building(
        self,
        key: str,
        *,
        waiting: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Hold the lock of ``key``, so that two processes build a plan once.

        Args:
            waiting: called once when another process holds the lock.
            cancelled: ends the wait when it returns True.

        Raises:
            CancelledError: the wait was ended.
            DeviceError: the directory refuses.
        """
        for attempt in itertools.count():
            if cancelled():
                raise CancelledError("stopped while another process was building the same plan")
            with self._try_lock(key) as held:
                if held:
                    yield
                    return
            if attempt == 0:
                waiting()
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _try_lock(self, key: str) -> Iterator[bool]:
        """Whether the lock of ``key`` is held now; its file goes when it is given back."""
        if sys.platform == "win32":  # two builds at once cost time, and the later one stays
            yield True
            return
        path = self._path(key, ".lock")
        with _refusals(self.directory):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            held = lock(descriptor) and _is_still(path, descriptor)
            if held:  # so no other process can own the name
                stack.callback(path.unlink, missing_ok=True)
            yield held

    def _sweep(self) -> None:
        """Remove what killed writers left behind: temporary files, plans without a description."""
        for path in self.directory.iterdir():
            orphan = path.suffix in _OF_A_PLAN and not path.with_suffix(".json").exists()
            kept_s = _TIMING_AGE_S if path.suffix == ".timing" else _LEFTOVER_AGE_S
            with contextlib.suppress(OSError):
                old = path.lstat().st_mtime < time.time() - kept_s
                if old and (orphan or path.suffix in (".tmp", ".timing")):
                    path.unlink()

    def _path(self, key: str, suffix: str) -> Path:
        return self.directory / f"{key}{suffix}"

    def _read(self, path: Path) -> bytes:
        """The content of a file of this user's that no other user may write."""
        _check_own(path, path.name, stat.S_ISREG, "a plain file", _REBUILD)
        with _refusals(self.directory):
            return path.read_bytes()


_REBUILD = "remove it and build it again: edgead build NAME.edgead --rebuild"


def altered(path: Path) -> str:
    """The sentence for a file of the cache whose content is not what was written."""
    return f"{path} was truncated or altered since it was built here; {_REBUILD}"


def _check_own(
    path: Path, name: str, kind: Callable[[int], bool], expected: str, cure: str
) -> None:
    """Refuse ``path`` unless it is of ``kind``, this user's, and writable by no other.

    Windows is not asked: there the profile's own access rights keep others out.
    """
    with _refusals(path):
        found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise DeviceError(f"{name} at {path} is a symbolic link; expected {expected}: {cure}")
    if not kind(found.st_mode):
        raise DeviceError(f"{name} at {path} is not {expected}; {cure}")
    if sys.platform == "win32":
        return
    if found.st_uid != os.geteuid():
        raise DeviceError(
            f"{name} at {path} belongs to user {found.st_uid}, not to this one ({os.geteuid()}); "
            f"a plan is native code, so only one of your own is loaded: {cure}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DeviceError(
            f"{name} at {path} may be written by others (mode {stat.S_IMODE(found.st_mode):o}); a "
            f"plan is native code: chmod go-w {path}, after removing what you did not build"
        )


@contextlib.contextmanager
def _refusals(directory: Path) -> Iterator[None]:
    """What the operating system refuses becomes a DeviceError with the cure."""
    try:
        yield
    except OSError as error:
        named = OSError(error.errno, error.strerror, error.filename or str(directory))
        raise DeviceError(f"plan cache: {os_sentence(named)}; or {_CURE}") from error


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether ``path`` names the open file: its last owner may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False
