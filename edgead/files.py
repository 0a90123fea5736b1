"""Files that are there whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from edgead import _cpu  # at once: later there may be no addresses left to load it into
from edgead.errors import DeviceError, EdgeadError, InputError

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux
MOST_BYTES = 2**31 - 1
"""Of a file that is read: no decoder of images takes more. A sparse file may declare any size."""
LET_GO_S = 1.0
"""How long to wait for the lock of a killed process: the system releases it a little later."""


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """``path``, open for reading; a pipe of this name is not waited for until it has a writer."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file; a pipe, which could keep one waiting for ever, is refused.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than ``MOST_BYTES``.
    """
    with open_to_read(path) as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode):
            what = "it is a pipe, socket or device; a file was expected"
            raise OSError(errno.EINVAL, what, os.fspath(path))
        if about.st_size > MOST_BYTES:
            size = f"it has {about.st_size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:.1f} are read"
            raise OSError(errno.EFBIG, size, os.fspath(path))
        return stream.read()


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path``; a reader sees the old file or the new one, never a part.

    A link is followed and kept; a device or a pipe (``/dev/stdout``) is written to, not replaced.

    Raises:
        OSError: no space, no permission, no such folder; the old file is then unchanged and
            nothing else is left behind.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        target.write_bytes(data)
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        write_synced(temporary, data)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # named by what the caller asked for
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    sync_directory(target.parent)


def write_synced(path: Path, data: bytes) -> None:
    """A new file whose content is on the disk. Raises: OSError, also where it is there already."""
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace_directory(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Make ``path`` a directory that holds exactly ``files`` (relative name -> content).

    Everything is written and synced inside one hidden directory beside ``path``, then exchanged
    with the old one in one step (Linux ``renameat2``; elsewhere two renames, repaired by the next
    call). What a killed writer leaves, the next call removes; a lock tells it from one at work.

    Raises:
        OSError: the old directory is then unchanged.
    """
    target = Path(os.path.realpath(path))  # what a link names is replaced, the link is kept
    target.parent.mkdir(parents=True, exist_ok=True)
    _clean_leftovers(target)
    workshop = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        with _locked(workshop, wait=True):
            fresh = workshop / "new"
            _fill(fresh, files)
            _swap_in(fresh, target, workshop / "old")
            sync_directory(target.parent)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _fill(directory: Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir()
    for name, data in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_synced(file, data)
    for folder in [directory, *(p for p in directory.rglob("*") if p.is_dir())]:
        sync_directory(folder)


def _swap_in(fresh: Path, target: Path, old: Path) -> None:
    """Put ``fresh`` at ``target``; what was there ends inside the workshop."""
    if not os.path.lexists(target):
        os.rename(fresh, target)
    elif not _exchange(fresh, target):
        os.rename(target, old)
        try:
            os.rename(fresh, target)
        except BaseException:
            os.rename(old, target)
            raise


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # glibc before 2.28
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), os.fspath(b))


def _prefix(target: Path) -> str:
    return f".{target.name}.writing-"


def _clean_leftovers(target: Path) -> None:
    """Remove what killed writers left beside ``target``; bring back an old directory they moved."""
    prefix = _prefix(target)
    for workshop in [p for p in target.parent.iterdir() if p.name.startswith(prefix)]:
        with contextlib.suppress(OSError), _locked(workshop, wait=False) as held:
            if not held:
                continue
            if (workshop / "old").is_dir() and not os.path.lexists(target):
                os.rename(workshop / "old", target)
            shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of ``directory``; yields whether it is held (False: a living writer has it)."""
    if sys.platform == "win32":  # no lock, so a writer's own directory alone counts as its own
        yield wait
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # On a file system without locks, never remove what may be alive.
        yield lock(descriptor, wait=wait, without=wait)
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = False, without: bool = True) -> bool:
    """Lock an open file or directory until it is closed or the process dies; not on Windows.

    Args:
        descriptor: of the file or directory.
        wait: until another process gives the lock back.
        without: the answer where there are no locks: many network file systems have none, or none
            on directories, and say so in as many ways.

    Returns:
        Whether it is held; False where another has it and ``wait`` is not set.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return without
    return True


def hold(folder: Path, wait_s: float = LET_GO_S) -> int | None:
    """Lock ``folder`` for this process, within ``wait_s`` seconds; not on Windows.

    Returns:
        An open descriptor, which holds the lock until it is closed; None where another process
            has it.

    Raises:
        OSError: there is no such folder, or it may not be read.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    give_up = time.monotonic() + wait_s
    while not lock(descriptor):
        if time.monotonic() > give_up:
            os.close(descriptor)
            return None
        time.sleep(0.01)
    return descriptor


def utf8_name(path: str | os.PathLike[str]) -> str:
    """``path`` for OpenCV's ``VideoCapture``, which a name that is not UTF-8 kills.

    Raises:
        InputError: it is not UTF-8.
    """
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the name {name} is not UTF-8, and OpenCV opens no video or stream so named: rename "
            "it, or link it under another name (ln -s)"
        ) from error
    return name


def sync_directory(directory: Path) -> None:
    """Make renames inside ``directory`` last; a file system that cannot is left as it is."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def user_cache(name: str, what: str) -> Path:
    """``$EDGEAD_CACHE/name``, else ``edgead/name`` in the cache directory of this user.

    Args:
        name: of a folder; it may not be there yet.
        what: lies in it, for messages.

    Raises:
        DeviceError: this user has no home folder, and nothing says where else.
    """
    own = os.environ.get("EDGEAD_CACHE")
    if own:
        return _expanded(own, f"EDGEAD_CACHE={own}") / name
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(base, f"{what} in {base}") / "edgead" / name


def _expanded(path: str, what: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DeviceError(
            f"{what}: there is no such home folder; set EDGEAD_CACHE to a directory that this user "
            "may write"
        ) from error


_SENTENCES = {
    errno.ENOSPC: "no space left on the disk for {}: free some, or write somewhere else",
    errno.EDQUOT: "no space left on the disk for {}: free some, or write somewhere else",
    errno.EACCES: "no permission for {}: change its permissions, or use another place",
    errno.EPERM: "no permission for {}: change its permissions, or use another place",
    errno.EROFS: "{} is on a read-only file system: write somewhere else",
    errno.ENOENT: "{} does not exist: check the path",
    errno.EISDIR: "{} is a folder, a file was expected",
    errno.ENOTDIR: "{} needs a folder where there is a file: choose another path",
    errno.EEXIST: "{} needs a folder where there is a file: choose another path",
    errno.EFBIG: "{} is larger than this process may write: raise the limit (ulimit -f, "
    "LimitFSIZE= of a systemd unit)",
    errno.ENAMETOOLONG: "{} is too long a name for this file system: choose a shorter one",
}


def scarcity(error: BaseException) -> str | None:
    """What this process has run out of, with the cure; None for any other error."""
    said = "allocate memory" if isinstance(error, MemoryError) else str(error)
    return _cpu.scarcity(said) or None


def os_sentence(error: OSError) -> str:
    """What the operating system refused, with the path and the cure."""
    if error.errno in _SENTENCES:
        return _SENTENCES[error.errno].format(error.filename or "a file")
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def os_cure(error: OSError) -> str:
    """The cure alone of what the operating system refused; empty where none is known."""
    return _SENTENCES.get(error.errno or 0, "").partition(": ")[2]


def in_words(error: Exception) -> str:
    """Any error as a sentence, for work that goes on with the next file or frame."""
    if isinstance(error, EdgeadError):
        return str(error)
    if isinstance(error, OSError):
        return os_sentence(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")
