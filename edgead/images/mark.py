"""The mark inside every picture that edgead writes, by which it never takes one for a part.

PNG: a chunk ``tEXt`` behind the header. JPEG: a segment ``COM`` behind the JFIF header. Either says
``edgead``, a zero byte and the kind. A mark goes with the file, whatever becomes of name and place.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from typing import Literal

Mark = Literal["picture", "frame"]
"""picture: drawn for people (heatmap, overlay, plot). frame: a copy of a camera's frame (evidence,
golden frame)."""

HEAD_BYTES = 1024
"""The mark is within these first bytes of a file."""

_KEY = b"edgead\0"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_HEADER_END = 33  # signature, then the chunk IHDR
_IN_PNG = re.compile(rb"tEXt" + _KEY + rb"(picture|frame)", re.DOTALL)
_IN_JPEG = re.compile(rb"\xff\xfe.." + _KEY + rb"(picture|frame)", re.DOTALL)


def marked(data: bytes, mark: Mark) -> bytes:
    """A PNG or JPEG file with a mark in it; the same bytes give the same bytes.

    Args:
        data: the file, without a mark.
        mark: which.

    Returns:
        The file; its pixels are as before.
    """
    text = _KEY + mark.encode()
    if data.startswith(_PNG):
        body = b"tEXt" + text
        piece = struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))
        at = _PNG_HEADER_END
    else:
        piece = b"\xff\xfe" + struct.pack(">H", 2 + len(text)) + text
        jfif = data[2:4] == b"\xff\xe0"  # has to come first
        at = 4 + struct.unpack(">H", data[4:6])[0] if jfif else 2
    return data[:at] + piece + data[at:]


def mark_in(data: bytes) -> Mark | None:
    """The mark of a file whose first ``HEAD_BYTES`` bytes, or more, are ``data``; None: no mark."""
    head = data[:HEAD_BYTES]
    pattern = _IN_PNG if head.startswith(_PNG) else _IN_JPEG if head.startswith(_JPEG) else None
    found = pattern.search(head) if pattern is not None else None
    if found is None:
        return None
    return "picture" if found[1] == b"picture" else "frame"


def own_output(path: str | os.PathLike[str]) -> Mark | None:
    """Whether edgead wrote an image file; reads its head only, and never waits for a pipe.

    Args:
        path: of the file.

    Returns:
        "picture", "frame", or None: it has no mark, or is not a file that can be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return mark_in(os.read(descriptor, HEAD_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)
