"""What a bundle says of the machine that made it: nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ABSOLUTE = re.compile(r"(?<![\w.:~/\\-])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\"]*[/\\])?(?=[^\s'\"])")
"""All but the last part of an absolute path inside a text; no URL, no relative path."""


def without_paths(value: Any) -> Any:
    """``value`` with every absolute path cut to its last part: a bundle travels, machines stay."""
    if isinstance(value, Mapping):
        return {str(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    return _ABSOLUTE.sub("", value) if isinstance(value, str) else value
