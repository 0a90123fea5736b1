"""What is watched: a camera, pipeline, stream, video file or folder, told apart by its name."""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from edgead.errors import DeviceError, InputError, shortened
from edgead.files import utf8_name
from edgead.images import IMAGE_SUFFIXES
from edgead.live import plugins

CAMERA, PIPELINE, STREAM = "camera", "GStreamer pipeline", "stream"
VIDEO, FOLDER = "video file", "folder"

BUILT_IN: dict[str, str] = {
    "aravis": "edgead.live.sources.aravis:AravisReader",
    "gst": "edgead.live.sources.gst:GstReader",
    "pylon": "edgead.live.sources.pylon:PylonReader",
}
"""Kinds of industrial cameras, as in ``aravis:ID``, and the class of their Reader."""

LONGEST = 8192
"""Characters of a source; what hides a login takes time that grows with their square."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_IN_PIPELINE = re.compile(
    r"""(?P<quote>["'])(?P<quoted>[A-Za-z][A-Za-z0-9+.-]*://.*?)(?P=quote)"""
    r"""|(?P<bare>[A-Za-z][A-Za-z0-9+.-]*://(?:\\.|[^\s"'\\])*)"""
)
"""An address in a pipeline: within quotes, or up to a blank that no backslash escapes."""
_PROPERTY = re.compile(
    r"""(?<![A-Za-z])(?P<head>(?:(?:user|proxy)[-_](?:id|pw)|user(?:name)?|login|passw(?:or)?d|"""
    r"""passphrase|pass|pwd|token|cookies|secret|key)\s*=\s*)"""
    r"""(?:\(\w+\)\s*)?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^\s\\])+)""",
    re.IGNORECASE,
)
"""A property that is named like a login, and its value as GStreamer reads it."""
_KIND = re.compile(r"([a-z][a-z0-9_-]*):(?!//)(.*)", re.DOTALL)
_NAME_AND_PASSWORD = re.compile(r"[^\s/=]+:\S*@")


class SourceError(DeviceError):
    """A source that does not open, or that was lost and did not come back."""


@dataclass(frozen=True)
class Source:
    """What is watched.

    ``kind``: one of the five words above, or what a package brings, as "pylon"; ``target``: what is
    opened; ``label``: for people.
    """

    kind: str
    target: str
    label: str

    @property
    def waits(self) -> bool:
        """Whether frames stay where they are until they are read."""
        return self.kind in (VIDEO, FOLDER)


class Moment(NamedTuple):
    """``wall_s`` since 1970, for people; ``monotonic_s``, for durations: it never jumps."""

    wall_s: float
    monotonic_s: float

    @staticmethod
    def now() -> Moment:
        """This moment."""
        return Moment(time.time(), time.perf_counter())


class Stamp(NamedTuple):
    """What a camera says of a frame itself; None: it says nothing.

    ``frame``: its own number; ``time_ns``: by its own clock, which begins anywhere;
    ``lost_packets``, ``lost_frames``: that did not arrive whole, since the start.
    """

    frame: int | None = None
    time_ns: int | None = None
    lost_packets: int | None = None
    lost_frames: int | None = None


class Reading(NamedTuple):
    """One frame of a source, or why there is none.

    ``image``: [H, W] or [H, W, 3] BGR, uint8 or uint16, memory of its own; None with an ``error``.
    ``file``: its path when it came from a folder. ``bit_depth``: of a uint16 image, where the
    camera says it.
    """

    captured: Moment
    image: NDArray[Any] | None
    file: str | None = None
    error: str | None = None
    bit_depth: int | None = None
    stamp: Stamp | None = None


class Stop(Protocol):
    """Whether to go on: a ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Whether to stop."""

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether to stop."""


class Reader(Protocol):
    """Gives the frames of a source one after the other."""

    @property
    def ends(self) -> bool:
        """Whether no more frames means the end, not a lost signal; known when it is open."""

    def open(self) -> str:
        """Open the source, again after a loss; returns what was found, for the log.

        Raises:
            SourceError: it does not open.
        """

    def read(self, stop: Stop) -> Reading | None:
        """The next frame; None when there is no more, or ``stop`` is set.

        Raises:
            InputError: it ends before it should.
        """

    def close(self) -> None:
        """Let go of the device or connection."""


def quiet_opencv() -> None:
    """Leave it to edgead to say what fails: OpenCV's and FFmpeg's lines are many and name no cure.

    OPENCV_FFMPEG_LOGLEVEL (32: information) brings FFmpeg's lines back; they come on stdout. A
    picture whose end is missing, where a stream or file breaks off, is left out: FFmpeg would fill
    it up.
    """
    import cv2

    # prefer_tcp is what OpenCV asks for without the variable.
    options = "rtsp_flags;prefer_tcp|fflags;discardcorrupt"
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", options)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(0)  # silent
    else:  # that of Debian, which has GStreamer
        cv2.setLogLevel(0)  # type: ignore[attr-defined]


def parse_source(text: str) -> Source:
    """The source that ``text`` names.

    Raises:
        InputError: it is of no kind that is known.
        PermissionError: what it names may not be looked at.
    """
    if len(text) > LONGEST:
        raise InputError(f"SOURCE has {len(text)} characters: expected up to {LONGEST}")
    mode = _mode(text)
    number = re.fullmatch(r"[0-9]{1,9}", text)  # more overflow OpenCV; isdecimal() takes ٣ too
    if number or stat.S_ISCHR(mode):
        return Source(CAMERA, text, f"camera {int(text) if number else text}")
    if stat.S_ISDIR(mode):
        return Source(FOLDER, text, f"folder {text}")
    utf8_name(text)
    if (kind := _KIND.fullmatch(text)) and not mode:
        known = plugins.names(plugins.SOURCES, BUILT_IN)
        if kind[1] in known:
            label = f"{kind[1]} {without_login(kind[2])}".rstrip()
            return Source(kind[1], kind[2], label)
    if stat.S_ISREG(mode):
        if Path(text).suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{text} is an image: score it with edgead score, or watch its folder")
        return Source(VIDEO, text, f"video file {text}")
    scheme = _SCHEME.match(text)
    # A password may have a "!", but an address has no blanks; gst-launch's first word may be one.
    is_address = scheme is not None and not re.search(r"\s", text)
    if "!" in text and not is_address:
        return Source(PIPELINE, text, f"pipeline {without_login(text)}")
    if scheme and scheme[1].lower() != "file":
        return Source(STREAM, text, f"stream {_address_without_login(text)}")
    raise InputError(
        f"{shortened(without_login(text)) or repr('')} does not exist: expected a camera's number "
        f"(0), an address (rtsp://…, http://…), a GStreamer pipeline (… ! appsink), {_kinds()}"
        "a video file or a folder"
    )


def _kinds() -> str:
    return "".join(f"{name}:…, " for name in plugins.names(plugins.SOURCES, BUILT_IN))


def _mode(path: str) -> int:
    """What lies at ``path``, as ``os.stat`` says it; 0 for nothing, or for what is not a path."""
    try:
        return os.stat(path).st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):  # not there; too long, as a pipeline may be; a zero byte
        return 0


def without_login(text: str) -> str:
    """``text``, an address or pipeline, with "…" for what may be a login: name and password, query,
    each property that is named like one. When in doubt, more goes; a token in a path is not known.
    """
    if "://" not in text:  # an address may lack its scheme
        text = _NAME_AND_PASSWORD.sub("…@", text)
    return _PROPERTY.sub(r"\g<head>…", _IN_PIPELINE.sub(_shown, text))


def _shown(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{quote}{_address_without_login(found['quoted'] or found['bare'])}{quote}"


def _address_without_login(address: str) -> str:
    scheme, _, rest = address.partition("://")
    place, *query = re.split("[?#]", rest, maxsplit=1)
    if query and "@" in query[0]:  # its own, or of a password with "?": no part of it is safe
        return f"{scheme}://…"
    _, at, host = place.rpartition("@")  # a password may have "@" and "/", too
    label = f"{scheme}://{'…@' if at else ''}{host}{'?…' if query else ''}"
    return _PROPERTY.sub(r"\g<head>…", label)  # some cameras want the login in the path
