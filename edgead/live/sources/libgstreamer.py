"""GStreamer 1.x, the C libraries, bound by name: no package of Python, no OpenCV built with it.

Signatures and structures: gstparse.h, gstappsink.h, gstbuffer.h, gstmemory.h and gstvideometa.h of
GStreamer 1.16; they hold for all of 1.x.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any

from edgead.errors import DeviceError

STATE_NULL, STATE_PAUSED, STATE_PLAYING = 1, 3, 4
FAILURE, NO_PREROLL = 0, 3  # of a change of state; the second: it is live
EOS, ERROR = 1 << 0, 1 << 1  # messages
MAP_READ = 1
NONE = 2**64 - 1
"""No time, no number."""


class _GError(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p)]


class MapInfo(ctypes.Structure):
    """GstMapInfo."""

    _fields_ = [
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", c_void_p),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("user_data", c_void_p * 4),
        ("reserved", c_void_p * 4),
    ]


class _MiniObject(ctypes.Structure):
    _fields_ = [
        ("type", c_size_t),
        ("refcount", c_int),
        ("lockstate", c_int),
        ("flags", c_uint),
        ("copy", c_void_p),
        ("dispose", c_void_p),
        ("free", c_void_p),
        ("n_quarks", c_uint),
        ("quarks", c_void_p),
    ]


class Buffer(ctypes.Structure):
    """GstBuffer."""

    _fields_ = [
        ("mini_object", _MiniObject),
        ("pool", c_void_p),
        ("pts", c_uint64),
        ("dts", c_uint64),
        ("duration", c_uint64),
        ("offset", c_uint64),
        ("offset_end", c_uint64),
    ]


class VideoMeta(ctypes.Structure):
    """The beginning of GstVideoMeta."""

    _fields_ = [
        ("meta_flags", c_int),
        ("meta_info", c_void_p),
        ("buffer", c_void_p),
        ("flags", c_int),
        ("format", c_int),
        ("id", c_int),
        ("width", c_uint),
        ("height", c_uint),
        ("n_planes", c_uint),
        ("offset", c_size_t * 4),
        ("stride", c_int * 4),
    ]


_ErrorAt = POINTER(POINTER(_GError))
_CORE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gst_init_check": (c_int, (c_void_p, c_void_p, _ErrorAt)),
    "gst_parse_launch": (c_void_p, (c_char_p, _ErrorAt)),
    "gst_bin_get_by_name": (c_void_p, (c_void_p, c_char_p)),
    "gst_util_set_object_arg": (None, (c_void_p, c_char_p, c_char_p)),
    "gst_element_set_state": (c_int, (c_void_p, c_int)),
    "gst_element_get_state": (c_int, (c_void_p, POINTER(c_int), POINTER(c_int), c_uint64)),
    "gst_element_get_bus": (c_void_p, (c_void_p,)),
    "gst_bus_timed_pop_filtered": (c_void_p, (c_void_p, c_uint64, c_int)),
    "gst_message_parse_error": (None, (c_void_p, _ErrorAt, POINTER(c_void_p))),
    "gst_mini_object_unref": (None, (c_void_p,)),
    "gst_object_unref": (None, (c_void_p,)),
    "gst_sample_get_buffer": (c_void_p, (c_void_p,)),
    "gst_sample_get_caps": (c_void_p, (c_void_p,)),
    "gst_caps_to_string": (c_void_p, (c_void_p,)),
    "gst_buffer_map": (c_int, (c_void_p, POINTER(MapInfo), c_int)),
    "gst_buffer_unmap": (None, (c_void_p, POINTER(MapInfo))),
}
_APP: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gst_app_sink_try_pull_sample": (c_void_p, (c_void_p, c_uint64)),
    "gst_app_sink_is_eos": (c_int, (c_void_p,)),
}
_VIDEO: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gst_buffer_get_video_meta": (POINTER(VideoMeta), (c_void_p,)),
}


class Library:
    """The functions, by their names: ``library.gst_parse_launch``."""

    def __init__(self) -> None:
        self._glib = ctypes.CDLL("libglib-2.0.so.0")
        self._glib.g_error_free.argtypes = [POINTER(_GError)]
        self._glib.g_free.argtypes = [c_void_p]
        for file, functions in (
            ("libgstreamer-1.0.so.0", _CORE),
            ("libgstapp-1.0.so.0", _APP),
            ("libgstvideo-1.0.so.0", _VIDEO),
        ):
            library = ctypes.CDLL(file)
            for name, (returned, taken) in functions.items():
                function = getattr(library, name)
                function.restype, function.argtypes = returned, taken
                setattr(self, name, function)
        self.gst_init_check(None, None, None)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # what is there was set above

    def parse(self, text: str) -> tuple[int | None, str]:
        """The pipeline of a text, and what is wrong with it."""
        error = POINTER(_GError)()
        found = self.gst_parse_launch(text.encode(), byref(error))
        return found, self._text(error)

    def error_of(self, message: int) -> str:
        """What a message of an error says; releases it."""
        error, details = POINTER(_GError)(), c_void_p()
        self.gst_message_parse_error(message, byref(error), byref(details))
        self.gst_mini_object_unref(message)
        more = self._taken(details.value)
        return f"{self._text(error)} ({more.splitlines()[-1]})" if more else self._text(error)

    def caps_of(self, sample: int) -> str:
        """The caps of a sample, as GStreamer writes them."""
        return self._taken(self.gst_caps_to_string(self.gst_sample_get_caps(sample)))

    def _text(self, error: Any) -> str:
        if not error:
            return ""
        text: str = (error.contents.message or b"").decode(errors="replace")
        self._glib.g_error_free(error)
        return text

    def _taken(self, address: int | None) -> str:
        """The text at an address, which is freed."""
        if not address:
            return ""
        text = ctypes.string_at(address).decode(errors="replace")
        self._glib.g_free(address)
        return text


@cache
def gstreamer() -> Library:
    """The library, loaded and begun once.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        return Library()
    except OSError as error:
        raise DeviceError(
            f"gst: needs GStreamer 1.x ({error}): apt-get install libgstreamer-plugins-base1.0-0 "
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        ) from error
