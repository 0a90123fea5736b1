"""GStreamer pipelines: ``gst:PIPELINE``."""

from __future__ import annotations

import ctypes
import re
import time
from ctypes import byref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.live.source import Moment, Reading, Source, SourceError, Stamp, Stop, without_login
from edgead.live.sources.industrial import WAIT_S
from edgead.live.sources.libgstreamer import (
    ERROR,
    FAILURE,
    MAP_READ,
    NO_PREROLL,
    NONE,
    STATE_NULL,
    STATE_PAUSED,
    STATE_PLAYING,
    Buffer,
    MapInfo,
    gstreamer,
)
from edgead.live.sources.pixels import PATTERNS, PixelFormat, image_of
from edgead.live.sources.setup import Options, Setup

_FORMATS = {
    "GRAY8": PixelFormat("GRAY8", 8),
    "GRAY16_LE": PixelFormat("GRAY16_LE", 16),
    "BGR": PixelFormat("BGR", 8, "bgr"),
    "RGB": PixelFormat("RGB", 8, "rgb"),
    **{name: PixelFormat(name, 8, "bgra") for name in ("BGRx", "BGRA")},
    **{name: PixelFormat(name, 8, "rgba") for name in ("RGBx", "RGBA")},
    **{name: PixelFormat(name, 8, name) for name in PATTERNS},
    **{f"{name}{bits}le": PixelFormat(name, bits, name) for name in PATTERNS for bits in (10, 12)},
    **{f"{name}16le": PixelFormat(name, 16, name) for name in PATTERNS},
}
"""Format in the caps of video/x-raw and video/x-bayer -> how its bytes are read."""
_RAW = ",".join(name for name in _FORMATS if name[:4].lower() not in PATTERNS)
_MOSAIC = ",".join(name for name in _FORMATS if name[:4].lower() in PATTERNS)
_SINK = (
    "appsink name=edgead max-buffers=4 drop=true "
    f'caps="video/x-raw,format=(string){{{_RAW}}};video/x-bayer,format=(string){{{_MOSAIC}}}"'
)
_OWN_SINK = re.compile(r"!\s*appsink\b[^!]*$")
_VALUE = re.compile(r"\b(format|width|height)=\((?:string|int)\)([^,;]+)")


class GstReader:
    """Reads a pipeline in the words of gst-launch-1.0, without a sink at its end.

    Args:
        source: holds it.
        setup: without options.

    Raises:
        InputError: an option: a pipeline has its own.
        DeviceError: GStreamer is not installed.
    """

    def __init__(self, source: Source, setup: Setup) -> None:
        options = Options(source, setup.options)
        self._pattern = options.choice("bayer", *PATTERNS, "none")
        options.finish()
        self._gst: Any = gstreamer()
        self._source, self._stall_s = source, setup.stall_s
        self._pipeline: int | None = None
        self._sink: int | None = None
        self._is_live = True

    @property
    def ends(self) -> bool:
        """Whether no more frames means the end: the pipeline reads a file, nothing live."""
        return not self._is_live

    def open(self) -> str:
        """Start the pipeline; returns whether it is live.

        Raises:
            SourceError: GStreamer cannot read it, or it does not start.
        """
        self.close()
        gst, words = self._gst, _OWN_SINK.sub("", self._source.target)
        self._pipeline, error = gst.parse(f"{words} ! {_SINK}")
        if self._pipeline is not None and not error:
            self._sink = gst.gst_bin_get_by_name(self._pipeline, b"edgead")
        if not self._sink:
            self.close()
            raise self._refusal(error or "it is not a pipeline")
        change = gst.gst_element_set_state(self._pipeline, STATE_PAUSED)
        if change not in (FAILURE, NO_PREROLL):
            nanoseconds = round(1e9 * self._stall_s)
            change = gst.gst_element_get_state(self._pipeline, None, None, nanoseconds)
        self._is_live = change == NO_PREROLL
        if self._is_live:  # frames are shown when they come, and not when they are due
            gst.gst_util_set_object_arg(self._sink, b"sync", b"false")
        if FAILURE in (change, gst.gst_element_set_state(self._pipeline, STATE_PLAYING)):
            error = self._message() or "it does not start"
            self.close()
            raise self._refusal(error)
        return "live, by GStreamer" if self._is_live else "at its own pace, by GStreamer"

    def read(self, stop: Stop) -> Reading | None:
        """The next frame; None at the end, after an error or a stall, or when ``stop`` is set.

        Raises:
            InputError: a pipeline that is not live fails.
        """
        since_s = time.monotonic()
        while self._sink and not stop.is_set():
            sample = self._gst.gst_app_sink_try_pull_sample(self._sink, round(1e9 * WAIT_S))
            if sample:
                return self._reading(sample)
            message = self._message()
            if message and self.ends:
                raise InputError(f"{self._source.label}: {message}")
            if message or self._gst.gst_app_sink_is_eos(self._sink):
                return None
            if time.monotonic() - since_s > self._stall_s:
                return None
        return None

    def close(self) -> None:
        """End the pipeline; a second call does nothing."""
        pipeline, sink = self._pipeline, self._sink
        self._pipeline = self._sink = None
        if pipeline:
            self._gst.gst_element_set_state(pipeline, STATE_NULL)
            if sink:
                self._gst.gst_object_unref(sink)
            self._gst.gst_object_unref(pipeline)

    def _message(self) -> str:
        """What went wrong in the pipeline; "" when nothing did."""
        bus = self._gst.gst_element_get_bus(self._pipeline)
        message = self._gst.gst_bus_timed_pop_filtered(bus, 0, ERROR)
        self._gst.gst_object_unref(bus)
        return without_login(self._gst.error_of(message)) if message else ""

    def _refusal(self, error: str) -> SourceError:
        cure = "try it with gst-launch-1.0 and ! fakesink at its end"
        if "negotiat" in error or "could not link" in error:
            cure = "end it with ! videoconvert, whose pictures can be read"
        return SourceError(f"{self._source.label} does not open: {without_login(error)}; {cure}")

    def _reading(self, sample: int) -> Reading:
        captured, gst, info = Moment.now(), self._gst, MapInfo()
        try:
            buffer = gst.gst_sample_get_buffer(sample)
            about = Buffer.from_address(buffer)
            number, time_ns = int(about.offset), int(about.pts)
            stamp = Stamp(None if number == NONE else number, None if time_ns == NONE else time_ns)
            if not gst.gst_buffer_map(buffer, byref(info), MAP_READ):
                error = f"a frame of {self._source.label} is not in this machine's memory"
                return Reading(captured, None, error=error, stamp=stamp)
            try:
                image, form = self._image(gst.caps_of(sample), buffer, info)
                depth = form.bit_depth if form.bits < 16 else None  # 16: perhaps fewer, see docs
                return Reading(captured, image, bit_depth=depth, stamp=stamp)
            except InputError as error:
                return Reading(captured, None, error=str(error), stamp=stamp)
            finally:
                gst.gst_buffer_unmap(buffer, byref(info))
        finally:
            gst.gst_mini_object_unref(sample)

    def _image(self, caps: str, buffer: int, info: MapInfo) -> tuple[NDArray[Any], PixelFormat]:
        values = dict(_VALUE.findall(caps))
        form = _FORMATS.get(values.get("format", "").strip('"'))
        if form is None:
            raise InputError(f"the pipeline gives {caps}, which is not read: add ! videoconvert")
        height, width = int(values["height"]), int(values["width"])
        row = width * form.channels * (1 if form.bits == 8 else 2)
        offset, stride = 0, -(-row // 4) * 4  # as GStreamer lays out what says nothing
        meta = self._gst.gst_buffer_get_video_meta(buffer)
        if meta:
            offset, stride = int(meta.contents.offset[0]), int(meta.contents.stride[0])
        raw: NDArray[np.uint8] = np.frombuffer(
            (ctypes.c_uint8 * info.size).from_address(info.data), np.uint8
        )[offset:]
        return (
            image_of(raw, form, height, width, padding=stride - row, pattern=self._pattern),
            form,
        )
