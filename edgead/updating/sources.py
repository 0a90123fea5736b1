"""Where a bundle comes from: the files of a folder, or of a web server, each with its length."""

from __future__ import annotations

import http.client
import io
import os
import re
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from edgead.errors import UpdateError
from edgead.files import open_to_read, os_sentence

CHUNK = 2**18
TIMEOUT_S = 30.0
"""Without a byte for so long, a server counts as gone."""


class Interrupted(UpdateError):
    """A transfer that ended early: what came is kept, and the next try goes on there."""


@dataclass(frozen=True)
class Stream:
    """A file from ``start`` on, of ``total`` bytes as the source says."""

    start: int
    total: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Files by name."""

    name: str  # for sentences

    def open(self, file: str, start: int) -> Stream | None:
        """``file``, from ``start`` on where the source can, else from 0; None: there is none.

        Raises:
            Interrupted: the source does not answer.
            UpdateError: it cannot be read, does not say a length, or sends more than it said.
        """


class FolderSource:
    """A folder ``NAME.edgead``, on a stick or a mounted share."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def open(self, file: str, start: int) -> Stream | None:
        """See ``Source``."""
        path = self._folder / file
        try:
            stream = open_to_read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UpdateError(f"{self.name}: {os_sentence(error)}") from error
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode):
            stream.close()
            raise UpdateError(f"{path} is not a plain file")
        total = about.st_size
        start = start if start <= total else 0
        stream.seek(start)
        return Stream(start, total, _chunks(stream, total - start, f"{self.name}/{file}"))


class WebSource:
    """The address of a folder ``NAME.edgead`` on a server of static files (HTTP or HTTPS)."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        split = urllib.parse.urlsplit(url)
        if split.username or split.password:
            raise UpdateError("the address holds a login, which servers would log: leave it out")
        # Requests are ASCII and have no spaces; what is quoted already stays.
        path = urllib.parse.quote(split.path, "/%:@!$&'()*+,;=~", errors="surrogateescape")
        address = split._replace(path=path).geturl()
        self._base, self._timeout_s = f"{address.rstrip('/')}/", timeout_s
        self.name = url.rstrip("/")
        self._opener = urllib.request.OpenerDirector()  # no file:, no ftp:, also not redirected to
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            self._opener.add_handler(handler)

    def open(self, file: str, start: int) -> Stream | None:
        """See ``Source``."""
        url = self._base + urllib.parse.quote(file, errors="surrogateescape")
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            answer = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                return None
            if error.code == 416 and start:  # it has no such part: all of it again
                return self.open(file, 0)
            kind = Interrupted if error.code >= 500 else UpdateError
            raise kind(f"{url} answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: of a host
            reason = getattr(error, "reason", None) or error
            reason = getattr(reason, "strerror", None) or reason
            raise Interrupted(f"{url} does not answer: {reason}") from error
        begins, total = _said(answer, start, url)
        body = answer.fp if total > begins else io.BytesIO()
        return Stream(begins, total, _chunks(body, total - begins, url, answer))


def _said(answer: http.client.HTTPResponse, start: int, url: str) -> tuple[int, int]:
    """Where the answer begins, and how many bytes the file has, as the server says."""
    length = answer.headers.get("Content-Length", "")
    if answer.headers.get("Transfer-Encoding") or not re.fullmatch(r"[0-9]{1,15}", length):
        answer.close()
        raise UpdateError(
            f"{url}: the server does not say how long the file is (Content-Length); expected a "
            "server of static files"
        )
    if answer.status != 206:
        return 0, int(length)
    part = re.fullmatch(
        r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", answer.headers.get("Content-Range", "")
    )
    begins, last, total = map(int, part.groups()) if part else (-1, 0, 0)
    if begins != start or last + 1 != total or int(length) != total - begins:
        answer.close()
        raise UpdateError(
            f"{url}: asked from byte {start} on, the server answers Content-Range "
            f"{answer.headers.get('Content-Range')!r} and {length} bytes, which do not fit"
        )
    return begins, total


def _chunks(stream: BinaryIO, left: int, name: str, owner: object = None) -> Iterator[bytes]:
    """Exactly ``left`` bytes; fewer are Interrupted, more are an UpdateError.

    ``owner`` would close ``stream`` when it is collected, and is held until the end.
    """
    said = left
    with stream:
        while left:
            try:
                chunk = stream.read(min(left, CHUNK))
            except (OSError, http.client.HTTPException) as error:
                raise Interrupted(f"{name} stopped after {said - left} of {said} bytes") from error
            if not chunk:
                raise Interrupted(f"{name} ended after {said - left} of {said} bytes")
            left -= len(chunk)
            yield chunk
        try:
            more = stream.read(1)
        except (OSError, ValueError, http.client.HTTPException):
            more = b""  # nothing came for a while: it keeps the connection, and that is all
        if more:
            raise UpdateError(f"{name} sends more than the {said} bytes that it said: refused")


def source_of(given: str) -> Source:
    """The source that ``--from`` names.

    Raises:
        UpdateError: another scheme than http and https, or no such folder.
    """
    try:
        scheme = urllib.parse.urlsplit(given).scheme.lower() if "://" in given else ""
    except ValueError as error:
        raise UpdateError(f"--from {given} is not an address: {error}") from error
    if scheme in ("http", "https"):
        return WebSource(given)
    if scheme:
        raise UpdateError(f"--from {given}: expected http://, https:// or a folder")
    if not Path(given).is_dir():
        raise UpdateError(
            f"--from {given}: there is no such folder; expected a folder NAME.edgead or its address"
        )
    return FolderSource(Path(given))
