"""JSON of verdicts, measurements and settings, as every reader takes it."""

from __future__ import annotations

import json
from typing import Any

Line = dict[str, Any]


def to_json(value: Any, indent: int | None = None) -> bytes:
    r"""JSON in ASCII, without a line break when ``indent`` is None.

    So no reader takes a character of it for the end of a line. A file name may be any bytes: what
    is not UTF-8 becomes the escapes ``\udc80`` to ``\udcff``, from which ``os.fsencode`` makes the
    same bytes again.

    Raises:
        ValueError: NaN and infinity are not JSON.
    """
    return json.dumps(value, indent=indent, allow_nan=False).encode("ascii")
