"""A verdict as a line of JSON."""

from __future__ import annotations

import json
from typing import Any

Line = dict[str, Any]

_BREAKS = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}
"""What some readers take for the end of a line."""


def to_json(value: Any, indent: int | None = None) -> bytes:
    r"""JSON in UTF-8, without a line break when ``indent`` is None.

    A file name may be any bytes: what is not UTF-8 becomes the escapes ``\udc80`` to ``\udcff``,
    from which ``os.fsencode`` makes the same bytes again.

    Raises:
        ValueError: NaN and infinity are not JSON.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        text = text.translate(_BREAKS)
    return text.encode("utf-8", "backslashreplace")  # of a surrogate, Python's escape is JSON's
