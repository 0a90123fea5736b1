"""Cameras, pipelines, streams and video files, through OpenCV."""

from __future__ import annotations

import re
import time
from typing import Any

from edgead.errors import InputError
from edgead.live import source as kinds
from edgead.live.source import Moment, Reading, Source, SourceError, Stop, quiet_opencv

KINDS = (kinds.CAMERA, kinds.PIPELINE, kinds.STREAM, kinds.VIDEO)
MOST_UNREADABLE = 30
"""Frames in a row that a live source may give undecodable; then its signal counts as lost."""
USUAL_HZ = 30.0  # of a video file that does not say how many frames it has in a second


_CURES = {
    kinds.CAMERA: "check that it is connected (ls /dev/video*), that no other program uses it, and "
    "that this user has access (group video)",
    kinds.PIPELINE: "try it with gst-launch-1.0 (fakesink in place of appsink)",
    kinds.STREAM: "check the address, the login and the network, for example with ffplay",
}
_LIBRARIES = {  # of OpenCV, and what to say without it
    kinds.PIPELINE: (
        "GStreamer",
        "this OpenCV is built without GStreamer (the one from PyPI always is): install one that "
        "has it, or give a camera's number or an address",
    ),
    kinds.STREAM: ("FFMPEG", "this OpenCV is built without FFmpeg, which addresses need"),
}


def _states_its_length(path: str) -> bool:
    """Whether the head of a video file says how long it is; else FFmpeg tells what is there.

    MPEG-TS has packets of 188 bytes that begin with a G; the others are MPEG-PS and raw streams of
    H.264 and H.265, ASF (.wmv), and pictures of JPEG one after the other.
    """
    with open(path, "rb") as stream:
        head = stream.read(189)
    silent = head.startswith((b"\0\0\1", b"\0\0\0\1", b"\x30\x26\xb2\x75", b"\xff\xd8"))
    return not silent and head[:1] + head[188:] != b"GG"


class VideoReader:
    """Reads a camera, pipeline, stream or video file.

    A stream that gives nothing for ``stall_s`` seconds counts as lost. A video file plays at its
    own pace, like the camera that made it; with ``at_once``, as fast as it is read. A stream of a
    known length is a recording: opened again, it would give the same frames as new ones.
    """

    def __init__(self, source: Source, *, stall_s: float, at_once: bool = False) -> None:
        self._source = source
        self._stall_s = stall_s
        self._at_once = at_once
        self._capture: Any = None
        self._period_s = self._next_s = 0.0
        self._unreadable = 0  # in a row
        self._frames = self._frames_in_all = 0  # 0: not known

    @property
    def ends(self) -> bool:
        """Whether no more frames means the end, not a lost signal."""
        return self._source.kind == kinds.VIDEO or self._frames_in_all > 0

    def open(self) -> str:
        """Open it; returns size and frame rate as the source announces them.

        Raises:
            SourceError: it does not open; for a video file it is an InputError.
        """
        import cv2

        quiet_opencv()
        self.close()
        capture = self._opened()
        if not capture.isOpened():
            capture.release()
            raise self._refusal()
        self._capture, self._unreadable = capture, 0
        hz = float(capture.get(cv2.CAP_PROP_FPS))
        known = 0 < hz <= 1000
        self._frames = self._frames_in_all = 0
        if self._source.kind in (kinds.VIDEO, kinds.STREAM):
            self._frames_in_all = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if self.ends and not self._at_once:
            self._period_s = 1 / (hz if known else USUAL_HZ)
        self._next_s = time.perf_counter()
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        rate = f"{hz:g} Hz" if known else "rate unknown"
        if self._period_s and not known:
            rate += f", played at {USUAL_HZ:g} Hz"
        length = f", {self._frames_in_all} frames" if self._frames_in_all else ""
        if self._source.kind == kinds.VIDEO and not _states_its_length(self._source.target):
            length += " (this kind of file does not state how many: a missing end is not noticed)"
        return f"{height} x {width}, {rate}{length}, by {capture.getBackendName()}"

    def read(self, stop: Stop) -> Reading | None:
        """The next frame; None at the end of the file, after a loss, or when ``stop`` is set.

        A frame that is there and cannot be decoded is a reading with an error.

        Raises:
            InputError: a recording that stops before its end.
        """
        if self._period_s:
            if stop.wait(max(0.0, self._next_s - time.perf_counter())):
                return None
            self._next_s += self._period_s
        if stop.is_set() or self._capture is None:
            return None
        if not self._grab():
            self._check_end()
            return None
        self._frames += 1
        captured = Moment.now()  # before the picture is unpacked: that belongs to the latency
        try:
            there, image = self._capture.retrieve()
        except Exception:  # of OpenCV, or no memory for this one
            there, image = False, None
        self._unreadable = 0 if there else self._unreadable + 1
        if there:
            return Reading(captured, image)
        if self._unreadable > MOST_UNREADABLE and not self.ends:
            return None
        return Reading(captured, None, error=f"a frame of {self._source.label} cannot be decoded")

    def _grab(self) -> bool:
        try:
            return bool(self._capture.grab())
        except Exception:  # a signal that OpenCV gives up is lost
            return False

    def _check_end(self) -> None:
        if self._frames < self._frames_in_all:
            raise InputError(
                f"{self._source.label} stops after {self._frames} of {self._frames_in_all} frames: "
                "it is cut off or damaged; copy it again (what is there was scored)"
            )

    def close(self) -> None:
        """Let go of the device or connection; a second call does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _opened(self) -> Any:
        import cv2

        limit_ms = max(1, round(1e3 * self._stall_s))
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        target = self._source.target
        match self._source.kind:
            case kinds.CAMERA:
                return cv2.VideoCapture(int(target) if target.isdecimal() else target)
            case kinds.PIPELINE:
                capture = cv2.VideoCapture(target, cv2.CAP_GSTREAMER, limits)
                if not capture.isOpened():  # in OpenCV 4.6 its reader knows no limits of time
                    capture = cv2.VideoCapture(target, cv2.CAP_GSTREAMER)
                return capture
            case kinds.STREAM:
                return cv2.VideoCapture(target, cv2.CAP_FFMPEG, limits)
        return cv2.VideoCapture(target)

    def _refusal(self) -> SourceError | InputError:
        import cv2

        label = self._source.label
        if self._source.kind == kinds.VIDEO:
            return InputError(
                f"{label} cannot be opened: it is damaged, not a video, or uses a codec that "
                "this OpenCV lacks; inspect it with ffprobe, convert it with ffmpeg"
            )
        library, without = _LIBRARIES.get(self._source.kind, ("", ""))
        built = re.search(rf"^\s*{library}:\s+YES", cv2.getBuildInformation(), re.MULTILINE)
        cure = _CURES[self._source.kind] if built or not library else without
        return SourceError(f"{label} does not open: {cure}")
