"""What a request asks for: values of its query and body, each checked at this door."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from starlette.requests import Request

from edgead.errors import shortened
from edgead.live.page.answers import Refused
from edgead.records.pruning import iso

T = TypeVar("T")


def text(body: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A text of a JSON body.

    Raises:
        Refused: it is missing or no text.
    """
    found = body.get(key, default)
    # Half a character (a lone surrogate) is JSON, but not a text that a database takes.
    if not isinstance(found, str) or any("\ud800" <= each <= "\udfff" for each in found):
        raise Refused(f"{key} is {shortened(repr(found), 60)}: expected a text")
    return found


def whole(request: Request, key: str, default: int, low: int, high: int) -> int:
    """A whole number of the query from ``low`` to ``high``; Refused for another."""
    found = request.query_params.get(key)
    if not found:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", found) or not low <= int(found) <= high:
        raise _wrong(key, found, f"a whole number from {low} to {high}")
    return int(found)


def number(request: Request, key: str) -> float | None:
    """A finite number of the query; None where it is not given, Refused for anything else."""
    found = request.query_params.get(key)
    if not found:
        return None
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(key, found, "a number")
    return value


def moment(request: Request, key: str) -> str | None:
    """A time of the query, as in lines; None where it is not given, Refused for anything else."""
    found = request.query_params.get(key)
    if not found:
        return None
    try:
        value = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", found.replace(" ", "+")))
        if value.tzinfo is None:
            raise ValueError
        return iso(value.astimezone(timezone.utc))
    except (ValueError, OverflowError) as error:
        raise _wrong(key, found, "a time with its zone, as 2026-11-30T15:00:00Z") from error


def one_of(request: Request, key: str, known: Mapping[str, T]) -> T | None:
    """What a word of the query stands for; None where it is not given, Refused for another."""
    found = request.query_params.get(key)
    if not found:
        return None
    if found not in known:
        raise _wrong(key, found, _listed(list(known)))
    return known[found]


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _wrong(key: str, found: str, expected: str) -> Refused:
    return Refused(f"{key} is {shortened(repr(found), 60)}: expected {expected}")
