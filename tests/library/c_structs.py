"""The structs of edgead.h for ctypes."""

from __future__ import annotations

import ctypes

INFO = ("name", "method", "device", "precision", "kernels", "version", "bundle_sha256")


class Params(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("false_reject_rate", ctypes.c_double),
        ("threads", ctypes.c_int32),
        ("log_level", ctypes.c_int32),
        ("log", ctypes.c_void_p),
        ("log_user_data", ctypes.c_void_p),
        ("precision", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("trusted_keys", ctypes.c_char_p),
    )


class Info(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_char_p) for name in INFO),
        *(
            (name, ctypes.c_int32)
            for name in ("map_height", "map_width", "bit_depth", "calibration_images")
        ),
        ("map_threshold", ctypes.c_double),
        ("chosen", ctypes.c_char_p),
        ("signed_by", ctypes.c_char_p),
        ("counter", ctypes.c_int64),
    )


class Frame(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("stride", ctypes.c_int64),
        ("format", ctypes.c_int32),
        ("bit_depth", ctypes.c_int32),
        ("chroma", ctypes.c_void_p),
        ("chroma_stride", ctypes.c_int64),
        ("color_space", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class Verdict(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("score", ctypes.c_double),
        ("p_value", ctypes.c_double),
        ("threshold", ctypes.c_double),
        ("is_anomalous", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        *((f"{stage}_ms", ctypes.c_double) for stage in ("preprocess", "engine", "map", "total")),
    )


class Stats(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("scored", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
        *((f"{which}_ms", ctypes.c_double) for which in ("last", "worst", "running", "idle")),
    )


class Region(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("x", "y", "width", "height")),
        ("area", ctypes.c_int64),
        ("peak", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    )
