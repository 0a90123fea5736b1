"""Folders on disk and in object storage alike: listing, reading, writing whole files.

A place is a path, or a URL: s3://, gs://, abfs://, hdfs:// by pyarrow, others by fsspec.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from edgead.errors import InputError, MissingExtraError, printable
from edgead.files import os_sentence, read_file, write_file
from edgead.images.listing import IMAGE_SUFFIXES, look_below
from edgead.installation import cure

TRIES_S = (0.2, 1.0, 3.0)  # waits between tries of a read over the network


@dataclass(frozen=True)
class Place:
    """A folder.

    Args:
        given: as it was named; another process opens it by this.
        path: in its file system.
        files: of pyarrow; None: the folder is on this machine.
    """

    given: str
    path: str
    files: Any = None

    def images(self) -> tuple[list[str], dict[str, int]]:
        """Names of the images below, relative, sorted; and what was left out, by reason.

        Raises:
            InputError: no such folder, or it cannot be listed.
        """
        if self.files is None:
            found = look_below(self.path)
            names = [path.relative_to(self.path).as_posix() for path in found.images]
            return sorted(names), dict(found.left_out)
        names, left_out = [], dict[str, int]()
        for name in self._names():
            suffix = os.path.splitext(name)[1].lower()
            hidden = any(part.startswith(".") for part in name.split("/"))
            if suffix in IMAGE_SUFFIXES and not hidden:
                names.append(name)
            else:
                reason = "hidden" if hidden else suffix or "without suffix"
                left_out[reason] = left_out.get(reason, 0) + 1
        return sorted(names), left_out

    def _names(self) -> list[str]:
        """Relative names of all files below."""
        from pyarrow import fs

        try:
            infos = self.files.get_file_info(fs.FileSelector(self.path, recursive=True))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{printable(self.given)} cannot be listed: {_reason(error)}; expected a folder "
                "of images, check the name and who may read it"
            ) from error
        start = self.path.rstrip("/") + "/"
        return [x.path.removeprefix(start) for x in infos if x.type == fs.FileType.File]

    def read(self, name: str) -> bytes:
        """Content of a file; over the network a failed read is tried again.

        Raises:
            OSError: it cannot be read.
        """
        if self.files is None:
            return read_file(Path(self.path, name))
        for wait in (*TRIES_S, None):
            try:
                with self.files.open_input_stream(f"{self.path}/{name}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                raise
            except OSError:
                if wait is None:
                    raise
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is there whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        if self.files is None:
            write_file(Path(self.path, name), data)
            return
        temporary = f"{self.path}/.{token_hex(8)}.tmp"
        with self.files.open_output_stream(temporary) as stream:
            stream.write(data)
        self.files.move(temporary, f"{self.path}/{name}")

    def listed(self, suffix: str) -> list[str]:
        """Names of the files directly inside that end so, sorted; hidden ones are not."""
        if self.files is None:
            names = os.listdir(self.path)
        else:
            names = [name for name in self._names() if "/" not in name]
        return sorted(name for name in names if name.endswith(suffix) and name[0] != ".")

    def make(self) -> None:
        """Make the folder where there is none.

        Raises:
            OSError: it cannot be made.
        """
        if self.files is None:
            Path(self.path).mkdir(parents=True, exist_ok=True)
        else:
            self.files.create_dir(self.path, recursive=True)


def open_place(given: str | os.PathLike[str]) -> Place:
    """A folder by its path or URL.

    Args:
        given: a path, or a URL of what pyarrow or fsspec knows.

    Raises:
        MissingExtraError: pyarrow or fsspec is not installed, or what fsspec needs for this kind.
        InputError: a URL that neither takes.
    """
    text = os.fspath(given)
    if "://" not in text:
        return Place(text, text)
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{text} needs pyarrow: {cure('scale')}") from error
    try:
        files, path = fs.FileSystem.from_uri(text)
    except (OSError, ValueError, TypeError):
        files, path = _by_fsspec(text, fs)
    return Place(text, path.rstrip("/"), files)


def _by_fsspec(text: str, fs: Any) -> tuple[Any, str]:
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise MissingExtraError(f"{printable(text)} needs a package: {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{printable(text)} cannot be opened: {_reason(error)}; expected a folder, or a URL as "
            "s3://bucket/parts"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path


def _reason(error: Exception) -> str:
    return printable(os_sentence(error) if isinstance(error, OSError) else str(error))
