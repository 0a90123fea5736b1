"""Aravis 0.8, the C library, bound by name: no package of Python, so any environment will do.

Signatures: arvcamera.h, arvdevice.h, arvstream.h, arvgvdevice.h and arvbuffer.h of Aravis 0.8.20.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any

from edgead.errors import DeviceError, EdgeadError

CONTINUOUS = 0  # ARV_ACQUISITION_MODE_CONTINUOUS
NO_PACKET_SOCKET = 1  # ARV_GV_STREAM_OPTION_PACKET_SOCKET_DISABLED
SUCCESS = 0  # ARV_BUFFER_STATUS_SUCCESS
STATUS = {
    1: "cleared",
    2: "timeout",
    3: "packets are missing: give the network larger buffers (sysctl net.core.rmem_max=33554432) "
    "or larger packets (the option GevSCPSPacketSize=8000)",
    4: "a packet had the wrong number",
    5: "it has another size than the camera announced",
    6: "it was not filled",
    7: "aborted",
    8: "its payload is not an image",
}
"""Why a buffer of Aravis holds no frame."""


class AravisError(EdgeadError):
    """What Aravis says of a camera."""


class _GError(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p)]


_Error = POINTER(POINTER(_GError))
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "update_device_list": (None, ()),
    "get_n_devices": (c_uint, ()),
    "get_device_id": (c_char_p, (c_uint,)),
    "enable_interface": (None, (c_char_p,)),
    "camera_get_device": (c_void_p, (c_void_p,)),
    "camera_is_gv_device": (c_int, (c_void_p,)),
    "gv_device_is_controller": (c_int, (c_void_p,)),
    "gv_device_set_stream_options": (None, (c_void_p, c_int)),
    "stream_push_buffer": (None, (c_void_p, c_void_p)),
    "stream_timeout_pop_buffer": (c_void_p, (c_void_p, c_uint64)),
    "stream_get_statistics": (None, (c_void_p, *[POINTER(c_uint64)] * 3)),
    "gv_stream_get_statistics": (None, (c_void_p, *[POINTER(c_uint64)] * 2)),
    "buffer_new_allocate": (c_void_p, (c_size_t,)),
    "buffer_get_status": (c_int, (c_void_p,)),
    "buffer_get_image_data": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "buffer_get_image_height": (c_int, (c_void_p,)),
    "buffer_get_image_width": (c_int, (c_void_p,)),
    "buffer_get_image_padding": (None, (c_void_p, POINTER(c_int), POINTER(c_int))),
    "buffer_get_image_pixel_format": (ctypes.c_uint32, (c_void_p,)),
    "buffer_get_frame_id": (c_uint64, (c_void_p,)),
    "buffer_get_timestamp": (c_uint64, (c_void_p,)),
}
_CHECKED: dict[str, tuple[Any, tuple[Any, ...]]] = {  # with a GError as their last argument
    "camera_new": (c_void_p, (c_char_p,)),
    "camera_get_model_name": (c_char_p, (c_void_p,)),
    "camera_get_region": (None, (c_void_p, *[POINTER(c_int)] * 4)),
    "camera_get_pixel_format_as_string": (c_char_p, (c_void_p,)),
    "camera_set_pixel_format_from_string": (None, (c_void_p, c_char_p)),
    "camera_set_exposure_time": (None, (c_void_p, c_double)),
    "camera_set_gain": (None, (c_void_p, c_double)),
    "camera_set_frame_rate": (None, (c_void_p, c_double)),
    "camera_set_trigger": (None, (c_void_p, c_char_p)),
    "camera_clear_triggers": (None, (c_void_p,)),
    "camera_software_trigger": (None, (c_void_p,)),
    "camera_set_acquisition_mode": (None, (c_void_p, c_int)),
    "camera_get_payload": (c_uint, (c_void_p,)),
    "camera_create_stream": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "camera_start_acquisition": (None, (c_void_p,)),
    "camera_stop_acquisition": (None, (c_void_p,)),
    "device_set_features_from_string": (c_int, (c_void_p, c_char_p)),
}


class Library:
    """The functions of libaravis, by their names without ``arv_``."""

    def __init__(self) -> None:
        self._arv = ctypes.CDLL("libaravis-0.8.so.0")
        self._glib = ctypes.CDLL("libglib-2.0.so.0")
        self._gobject = ctypes.CDLL("libgobject-2.0.so.0")
        self._glib.g_error_free.argtypes = [POINTER(_GError)]
        self._gobject.g_object_unref.argtypes = [c_void_p]
        for name, (returned, taken) in {**_FUNCTIONS, **_CHECKED}.items():
            function = getattr(self._arv, f"arv_{name}")
            function.restype = returned
            function.argtypes = [*taken, _Error] if name in _CHECKED else taken

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function.

        Raises:
            AravisError: it gave an error.
        """
        function = getattr(self._arv, f"arv_{name}")
        if name not in _CHECKED:
            return function(*arguments)
        error = POINTER(_GError)()
        found = function(*arguments, byref(error))
        if error:
            text = (error.contents.message or b"").decode(errors="replace")
            self._glib.g_error_free(error)
            raise AravisError(text)
        return found

    def let_go(self, thing: int | None) -> None:
        """Release an object of Aravis."""
        if thing:
            self._gobject.g_object_unref(thing)

    def cameras(self) -> list[str]:
        """The names of the cameras that are there; this takes about a second."""
        self.call("update_device_list")
        names = (self.call("get_device_id", n) for n in range(self.call("get_n_devices")))
        return [name.decode(errors="replace") for name in names if name]


@cache
def aravis() -> Library:
    """The library, loaded once.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        return Library()
    except (OSError, AttributeError) as error:
        raise DeviceError(
            f"GigE Vision and USB3 Vision cameras need Aravis 0.8 ({error}): "
            "apt-get install libaravis-0.8-0"
        ) from error
