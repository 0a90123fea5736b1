"""Pixel formats of industrial cameras, and the images that their bytes hold.

Codes, names and packing: GenICam Pixel Format Naming Convention (PFNC) 2.4, EMVA 2022; the formats
``…Packed`` are those of GigE Vision 1.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError

Bytes = NDArray[np.uint8]  # [n]
PATTERNS = ("rggb", "grbg", "gbrg", "bggr")
"""The colours of a sensor's first two rows, left to right, two by two."""


class PixelFormat(NamedTuple):
    """``layout``: "mono", "bgr", "rgb", with "a" a fourth channel, or one of PATTERNS; ``packing``:
    "" for whole bytes, "p" for PFNC's stream of bits, "Packed" for GigE Vision's two in three
    bytes."""

    name: str
    bits: int
    layout: str = "mono"
    packing: str = ""

    @property
    def bit_depth(self) -> int | None:
        """Of the uint16 image; None of uint8."""
        return self.bits if self.bits > 8 else None

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return {"bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}.get(self.layout, 1)


_MONO = {
    0x01080001: ("Mono8", 8, ""),
    0x01100003: ("Mono10", 10, ""),
    0x01100005: ("Mono12", 12, ""),
    0x01100025: ("Mono14", 14, ""),
    0x01100007: ("Mono16", 16, ""),
    0x010A0046: ("Mono10p", 10, "p"),
    0x010C0047: ("Mono12p", 12, "p"),
    0x010C0004: ("Mono10Packed", 10, "Packed"),
    0x010C0006: ("Mono12Packed", 12, "Packed"),
}
_BAYER = {  # bits, packing -> codes of GR, RG, GB, BG
    (8, ""): (0x01080008, 0x01080009, 0x0108000A, 0x0108000B),
    (10, ""): (0x0110000C, 0x0110000D, 0x0110000E, 0x0110000F),
    (12, ""): (0x01100010, 0x01100011, 0x01100012, 0x01100013),
    (16, ""): (0x0110002E, 0x0110002F, 0x01100030, 0x01100031),
    (10, "p"): (0x010A0056, 0x010A0058, 0x010A0054, 0x010A0052),
    (12, "p"): (0x010C0057, 0x010C0059, 0x010C0055, 0x010C0053),
    (10, "Packed"): (0x010C0026, 0x010C0027, 0x010C0028, 0x010C0029),
    (12, "Packed"): (0x010C002A, 0x010C002B, 0x010C002C, 0x010C002D),
}
_COLOUR = {
    0x02180014: ("RGB8", 8, "rgb"),
    0x02180015: ("BGR8", 8, "bgr"),
    0x02200016: ("RGBa8", 8, "rgba"),
    0x02200017: ("BGRa8", 8, "bgra"),
    0x02300018: ("RGB10", 10, "rgb"),
    0x02300019: ("BGR10", 10, "bgr"),
    0x0230001A: ("RGB12", 12, "rgb"),
    0x0230001B: ("BGR12", 12, "bgr"),
    0x02300033: ("RGB16", 16, "rgb"),
    0x0230004B: ("BGR16", 16, "bgr"),
}
FORMATS = {
    **{code: PixelFormat(name, bits, "mono", how) for code, (name, bits, how) in _MONO.items()},
    **{
        code: PixelFormat(f"Bayer{pattern}{bits}{how}", bits, layout, how)
        for (bits, how), codes in _BAYER.items()
        for code, (pattern, layout) in zip(
            codes,
            (("GR", "grbg"), ("RG", "rggb"), ("GB", "gbrg"), ("BG", "bggr")),
            strict=True,
        )
    },
    **{code: PixelFormat(name, bits, layout) for code, (name, bits, layout) in _COLOUR.items()},
}
"""Code of PFNC -> format; all that are taken."""


def format_of(code: int, name: str = "") -> PixelFormat:
    """The format of a code.

    Raises:
        InputError: it is not one of FORMATS.
    """
    code &= 0xFFFFFFFF  # some libraries give it with a sign
    if code not in FORMATS:
        kinds = "Mono8 to Mono16, Mono10p, Mono12p, Mono10Packed, Mono12Packed, the same of Bayer"
        raise InputError(
            f"the camera gives the pixel format {name or 'of the code'} (0x{code:08x}), which is "
            f"not read: set another one (pixel_format=…): {kinds}, or RGB8 to RGB16, BGR8 to BGR16"
        )
    return FORMATS[code]


def image_of(
    data: Any,
    form: PixelFormat,
    height: int,
    width: int,
    *,
    padding: int = 0,
    pattern: str | None = None,
) -> NDArray[Any]:
    """The image that the bytes of a frame hold, in memory of its own.

    Args:
        data: what the camera sent, as a buffer of bytes.
        form: its format.
        height, width: in pixels.
        padding: bytes after each row.
        pattern: one of PATTERNS, or "none" for a mosaic that stays grey; None: what ``form`` says.

    Returns:
        [height, width] or [height, width, 3] BGR; uint8, or uint16 with ``form.bits`` bits.

    Raises:
        InputError: there are fewer bytes than the size needs.
    """
    raw: Bytes = np.frombuffer(data, np.uint8)
    values = width * form.channels
    bits = values * (_BITS[form.packing] or form.bits if form.packing else -(-form.bits // 8) * 8)
    if padding or not form.packing:
        row = -(-bits // 8)
        rows = _rows(raw, form, height, width, row, padding)
        flat = _unpacked(rows, form)[:, :values]
    else:  # a packed row may end within a byte: the next one begins there
        needed = -(-height * bits // 8)
        rows = _rows(raw, form, 1, height * width, needed, 0)
        flat = _unpacked(rows, form)[:, : height * values]
    return _coloured(flat.reshape(height, width, form.channels), form, pattern)


_BITS = {"": 0, "p": 0, "Packed": 12}
"""Of a value in the stream, where these are not its own."""


def _rows(
    raw: Bytes, form: PixelFormat, height: int, width: int, row: int, padding: int
) -> Bytes:  # [height, row]
    needed = height * (row + padding) - padding
    if raw.size < needed:
        raise InputError(
            f"a frame of {form.name} has {raw.size} bytes, {height} rows of {width} pixels need "
            f"{needed}: it did not arrive whole"
        )
    if not padding:
        return raw[:needed].reshape(height, row)
    whole = np.zeros(height * (row + padding), np.uint8)
    whole[:needed] = raw[:needed]
    return whole.reshape(height, row + padding)[:, :row]


def _unpacked(rows: Bytes, form: PixelFormat) -> NDArray[Any]:
    """[height, values or a few more], uint8 or uint16."""
    if not form.packing:
        return rows if form.bits == 8 else np.ascontiguousarray(rows).view("<u2")
    group = 5 if (form.packing, form.bits) == ("p", 10) else 3  # bytes that hold whole values
    if over := rows.shape[1] % group:
        rows = np.pad(rows, ((0, 0), (0, group - over)))
    b = rows.reshape(rows.shape[0], -1, group).astype(np.uint16)
    first, second, last = b[..., 0], b[..., 1], b[..., group - 1]
    if group == 5:  # PFNC: least significant bits first
        values = [
            first | (second & 0x03) << 8,
            second >> 2 | (b[..., 2] & 0x0F) << 6,
            b[..., 2] >> 4 | (b[..., 3] & 0x3F) << 4,
            b[..., 3] >> 6 | last << 2,
        ]
    elif form.packing == "p":
        values = [first | (second & 0x0F) << 8, second >> 4 | last << 4]
    elif form.bits == 12:  # GigE Vision: most significant bits in the outer bytes
        values = [first << 4 | second & 0x0F, last << 4 | second >> 4]
    else:
        values = [first << 2 | second & 0x03, last << 2 | second >> 4 & 0x03]
    return np.stack(values, axis=-1).reshape(rows.shape[0], -1)


def _coloured(image: NDArray[Any], form: PixelFormat, pattern: str | None) -> NDArray[Any]:
    """[H, W, channels] as the Detector takes it."""
    layout = form.layout
    if form.channels > 1:
        order = [0, 1, 2] if layout.startswith("bgr") else [2, 1, 0]
        return np.ascontiguousarray(image[..., order])
    grey = np.ascontiguousarray(image[..., 0])
    if pattern is not None:
        layout = pattern
    if layout not in PATTERNS:
        return grey if grey.flags.owndata else grey.copy()
    import cv2

    # OpenCV names a pattern by the second and third pixel of its second row.
    code = {
        "rggb": cv2.COLOR_BayerBG2BGR,
        "grbg": cv2.COLOR_BayerGB2BGR,
        "gbrg": cv2.COLOR_BayerGR2BGR,
        "bggr": cv2.COLOR_BayerRG2BGR,
    }[layout]
    return np.asarray(cv2.cvtColor(grey, code))
