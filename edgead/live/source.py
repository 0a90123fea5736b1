"""What is watched: a camera, pipeline, stream, video file or folder, told apart by its name."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from edgead.errors import DeviceError, InputError
from edgead.images import IMAGE_SUFFIXES

CAMERA, PIPELINE, STREAM = "camera", "GStreamer pipeline", "stream"
VIDEO, FOLDER = "video file", "folder"

FFMPEG_QUIET = "-8"  # AV_LOG_QUIET

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")


class SourceError(DeviceError):
    """A source that does not open, or that was lost and did not come back."""


@dataclass(frozen=True)
class Source:
    """``kind``: one of the five words above; ``target``: what is opened; ``label``: for people."""

    kind: str
    target: str
    label: str

    @property
    def ends(self) -> bool:
        """Whether no more frames means the end, not a lost signal."""
        return self.kind == VIDEO

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


class Reading(NamedTuple):
    """One frame of a source, or why there is none.

    ``image``: [H, W] or [H, W, 3] BGR, uint8 or uint16; None with an ``error``. ``file``: its path
    when it came from a folder.
    """

    captured: Moment
    image: NDArray[Any] | None
    file: str | None = None
    error: str | None = None


class Reader(Protocol):
    """Gives the frames of a source one after the other."""

    def open(self) -> str:
        """Open the source, again after a loss; returns what was found, for people.

        Errors: SourceError.
        """

    def read(self, stop: Event) -> Reading | None:
        """The next frame; None when there is no more, or ``stop`` is set."""

    def close(self) -> None:
        """Let go of the device or connection."""


def quiet_opencv() -> None:
    """Leave it to edgead to say what fails: OpenCV's and FFmpeg's lines are many and name no cure.

    Who wants to see FFmpeg's sets OPENCV_FFMPEG_LOGLEVEL (32: information); they come on stdout.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def parse_source(text: str) -> Source:
    """What ``text`` names.

    Errors: InputError when it is none of the five.
    """
    if text.isdecimal():
        return Source(CAMERA, text, f"camera {int(text)}")
    path = Path(text)
    if text and path.is_dir():
        return Source(FOLDER, text, f"folder {text}")
    if path.is_char_device():
        return Source(CAMERA, text, f"camera {text}")
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{text} is an image: score it with edgead score, or watch its folder")
        return Source(VIDEO, text, f"video file {text}")
    # A pipeline or address may hold a login: it must not reach a log or the page.
    label = _LOGIN.sub("…@", text)
    if "!" in text:
        return Source(PIPELINE, text, f"pipeline {label}")
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() != "file":
        return Source(STREAM, text, f"stream {label}")
    raise InputError(
        f"{label or repr('')} does not exist: wanted a camera's number (0), an address (rtsp://…, "
        f"http://…), a GStreamer pipeline (… ! appsink), a video file or a folder"
    )
