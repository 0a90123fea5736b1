"""GigE Vision and USB3 Vision cameras through Aravis: ``aravis:ID``."""

from __future__ import annotations

import contextlib
import ctypes
import time
from ctypes import byref, c_int, c_size_t, c_uint64
from typing import Any

from edgead.errors import InputError
from edgead.live.source import Moment, Reading, Source, SourceError, Stamp, Stop
from edgead.live.sources.industrial import (
    FREE,
    GENERATIONS,
    SOFTWARE,
    WAIT_S,
    CameraOptions,
    Due,
    Losses,
)
from edgead.live.sources.libaravis import (
    CONTINUOUS,
    NO_PACKET_SOCKET,
    STATUS,
    SUCCESS,
    AravisError,
    aravis,
)
from edgead.live.sources.pixels import format_of, image_of
from edgead.live.sources.setup import Setup

BUFFERS = 8
"""Frames that Aravis may have ready; edgead reads all the time and keeps the latest."""


class AravisReader:
    """Reads the camera with this name or IP address, as ``arv-tool-0.8`` lists them; the first one
    there is, where none is given.

    Args:
        source: names it.
        setup: with the options of ``CameraOptions``.

    Raises:
        InputError: an option that is wrong.
        DeviceError: Aravis is not installed.
    """

    ends = False

    def __init__(self, source: Source, setup: Setup) -> None:
        self._options = CameraOptions.read(source, setup)
        self._arv = aravis()
        self._source, self._stall_s = source, setup.stall_s
        self._camera: int | None = None
        self._stream: int | None = None
        self._losses = Losses()
        self._due = Due(self._options.rate_hz)
        self._is_silent = False

    def open(self) -> str:
        """Open and set the camera, and start it; returns what it is.

        Raises:
            SourceError: it is not there, somebody else has it, or it does not take a setting.
        """
        self.close()
        label = self._source.label
        self._camera = self._new()
        try:
            if self._is_taken():
                raise SourceError(
                    f"{label} does not open: another program controls it; end that one "
                    "(arv-viewer, another edgead watch)"
                )
            about = self._set_up()
            if self._arv.call("camera_is_gv_device", self._camera):
                # The other kind of socket takes rights that few have, and sees no loopback.
                device = self._arv.call("camera_get_device", self._camera)
                self._arv.call("gv_device_set_stream_options", device, NO_PACKET_SOCKET)
            self._stream = self._arv.call("camera_create_stream", self._camera, None, None)
            if not self._stream:
                raise SourceError(f"{label} gives no stream: plug it in again")
            payload = self._arv.call("camera_get_payload", self._camera)
            for _ in range(BUFFERS):
                buffer = self._arv.call("buffer_new_allocate", payload)
                self._arv.call("stream_push_buffer", self._stream, buffer)
            self._arv.call("camera_start_acquisition", self._camera)
        except AravisError as error:
            self.close()
            raise SourceError(f"{label} cannot be started: {error}") from error
        except SourceError:
            self.close()
            raise
        self._is_silent = False
        self._losses.opened()
        self._due.opened()
        return about

    def read(self, stop: Stop) -> Reading | None:
        """The next frame; None when the camera is lost or ``stop`` is set."""
        since_s = time.monotonic()
        while self._stream and not stop.is_set():
            if self._options.trigger == SOFTWARE:
                if self._due.wait(stop):
                    return None
                try:
                    self._arv.call("camera_software_trigger", self._camera)
                except AravisError:
                    return None
            wait_us = round(1e6 * WAIT_S)
            buffer = self._arv.call("stream_timeout_pop_buffer", self._stream, wait_us)
            if buffer:
                return self._reading(buffer)
            idle_s = time.monotonic() - since_s
            stalls = idle_s > self._stall_s and not self._options.waits_for_signal
            self._is_silent = stalls or self._is_taken()  # or pulled out: it answers no more
            if self._is_silent:
                return None
        return None

    def close(self) -> None:
        """Stop the camera and let go of it; a second call does nothing."""
        stream, camera = self._stream, self._camera
        self._stream = self._camera = None
        if stream and camera and not self._is_silent:  # waiting for its answer takes 5 s
            with contextlib.suppress(AravisError):  # it was pulled out
                self._arv.call("camera_stop_acquisition", camera)
        self._arv.let_go(stream)
        self._arv.let_go(camera)

    def _new(self) -> int:
        target = self._source.target
        try:
            camera = self._arv.call("camera_new", target.encode() or None)
            if camera:
                return int(camera)
            why = "there is no such camera"
        except AravisError as error:
            why = str(error)
        there = ", ".join(f"aravis:{name}" for name in self._arv.cameras())
        cure = (
            f"those that are there: {there}"
            if there
            else (
                "Aravis finds no camera at all: check cable, power, the network's addresses and "
                "the rights of this user"
            )
        )
        raise SourceError(f"{self._source.label} does not open: {why}; {cure}")

    def _is_taken(self) -> bool:
        """Whether a camera on the network does not obey: another program has it, or it is away."""
        if not self._arv.call("camera_is_gv_device", self._camera):
            return False
        device = self._arv.call("camera_get_device", self._camera)
        return not self._arv.call("gv_device_is_controller", device)

    def _set_up(self) -> str:
        """Give the camera its settings; what it is and gives now, in words."""
        options, camera, call = self._options, self._camera, self._arv.call
        form = options.pixel_format
        if form is not None:
            self._put("pixel_format", form, "camera_set_pixel_format_from_string", form.encode())
        call("camera_set_acquisition_mode", camera, CONTINUOUS)
        if options.trigger == FREE:
            call("camera_clear_triggers", camera)
        else:
            name = options.trigger.capitalize()
            self._put("trigger", name, "camera_set_trigger", name.encode())
        free_hz = options.rate_hz if options.trigger == FREE else None
        for key, value, function in (
            ("exposure_us", options.exposure_us, "camera_set_exposure_time"),
            ("gain", options.gain, "camera_set_gain"),
            ("rate_hz", free_hz, "camera_set_frame_rate"),
        ):
            if value is not None:
                self._put(key, value, function, value)
        device = call("camera_get_device", camera)
        for key, value in options.features.items():
            word = str(value).lower() if isinstance(value, bool) else value
            try:
                call("device_set_features_from_string", device, f"{key}={word}".encode())
            except AravisError as error:
                raise AravisError(f"{key} cannot be set to {value!r}: {error}") from error
        sides = [c_int() for _ in range(4)]
        call("camera_get_region", camera, *map(byref, sides))
        given = call("camera_get_pixel_format_as_string", camera)
        model = call("camera_get_model_name", camera) or b"camera"
        size = f"{sides[3].value} x {sides[2].value}"
        shown = (given or b"of an unknown format").decode(errors="replace")
        return f"{model.decode(errors='replace')}, {size} {shown}, {options.in_words}"

    def _put(self, key: str, value: Any, function: str, given: Any) -> None:
        try:
            self._arv.call(function, self._camera, given)
        except AravisError as error:
            raise AravisError(f"{key} cannot be set to {value!r}: {error}") from error

    def _reading(self, buffer: int) -> Reading:
        captured, call = Moment.now(), self._arv.call
        try:
            number = int(call("buffer_get_frame_id", buffer))
            is_network = call("camera_is_gv_device", self._camera)
            # GigE Vision 1 counts in 16 bits.
            self._losses.note(number, GENERATIONS[16] if is_network else GENERATIONS[64])
            if is_network:
                self._losses.note_packets(self._missing_packets())
            time_ns = int(call("buffer_get_timestamp", buffer)) or None
            stamp = Stamp(number, time_ns, self._losses.packets, self._losses.frames)
            status = call("buffer_get_status", buffer)
            if status != SUCCESS:
                self._losses.frames += 1
                stamp = stamp._replace(lost_frames=self._losses.frames)
                why = STATUS.get(status, f"Aravis gives the status {status}")
                error = f"frame {number} of {self._source.label} did not arrive whole: {why}"
                return Reading(captured, None, error=error, stamp=stamp)
            try:
                return self._image(buffer, captured, stamp)
            except InputError as unreadable:
                return Reading(captured, None, error=str(unreadable), stamp=stamp)
        finally:
            call("stream_push_buffer", self._stream, buffer)

    def _image(self, buffer: int, captured: Moment, stamp: Stamp) -> Reading:
        call, size, beside, below = self._arv.call, c_size_t(), c_int(), c_int()
        form = format_of(call("buffer_get_image_pixel_format", buffer))
        call("buffer_get_image_padding", buffer, byref(beside), byref(below))
        address = call("buffer_get_image_data", buffer, byref(size))
        image = image_of(
            (ctypes.c_uint8 * size.value).from_address(address),
            form,
            call("buffer_get_image_height", buffer),
            call("buffer_get_image_width", buffer),
            padding=max(0, beside.value),
            pattern=self._options.bayer,
        )
        return Reading(captured, image, bit_depth=form.bit_depth, stamp=stamp)

    def _missing_packets(self) -> int:
        resent, missing = c_uint64(), c_uint64()
        self._arv.call("gv_stream_get_statistics", self._stream, byref(resent), byref(missing))
        return missing.value
