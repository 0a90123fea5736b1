"""Strict reading of JSON objects: every key expected is there, typed, and none is left over."""

from __future__ import annotations

import math
from typing import Any

from edgead.errors import BundleError


class Fields:
    """One JSON object at ``where`` (a dotted path for messages).

    Each reader takes a key and gives its value in the type named by the reader; ``done`` refuses
    keys nobody asked for. Errors: BundleError that names the key, what stands there and what was
    expected.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        self._value = value
        self._where = where
        self._asked: set[str] = set()

    def done(self) -> None:
        """Refuse keys that no reader asked for."""
        unknown = sorted(set(self._value) - self._asked)
        if unknown:
            raise BundleError(f"{self._where}: unknown key {unknown[0]!r}; upgrade edgead?")

    def has(self, key: str) -> bool:
        """Whether a key that may be left out is there."""
        return key in self._value

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a string")
        return value

    def boolean(self, key: str) -> bool:
        """true or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def integer(self, key: str) -> int:
        """A whole number."""
        value = self._get(key)
        if not _is_integer(value):
            raise self._wrong(key, "a whole number")
        return int(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._get(key)
        if not _is_number(value):
            raise self._wrong(key, "a finite number")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        value = self._get(key)
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self._wrong(key, "a list of finite numbers")
        return tuple(map(float, value))

    def triple(self, key: str) -> tuple[float, float, float]:
        """Three finite numbers, one per channel in RGB order."""
        value = self.numbers(key)
        if len(value) != 3:
            raise self._wrong(key, "three finite numbers")
        return value[0], value[1], value[2]

    def size(self, key: str) -> tuple[int, int]:
        """[height, width], both positive."""
        value = self._get(key)
        good = isinstance(value, list) and len(value) == 2 and all(map(_is_integer, value))
        if not good or min(value) < 1:
            raise self._wrong(key, "[height, width], two positive whole numbers")
        return value[0], value[1]

    def polygons(self, key: str) -> tuple[tuple[tuple[float, float], ...], ...]:
        """A list of lists of corners [x, y]."""
        value = self._get(key)
        corners = [c for polygon in value for c in polygon] if _lists(value) else [None]
        if not all(
            isinstance(c, list) and len(c) == 2 and all(map(_is_number, c)) for c in corners
        ):
            raise self._wrong(key, "a list of polygons, each a list of corners [x, y]")
        return tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in value)

    def mapping(self, key: str) -> dict[str, Any]:
        """An object whose content is free."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """An object whose values are strings."""
        value = self.mapping(key)
        if not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(key, "an object of strings")
        return value

    def child(self, key: str) -> Fields:
        """An object, to be read in turn."""
        return Fields(self._get(key), f"{self._where}.{key}")

    def children(self, key: str) -> list[Fields]:
        """A list of objects, each to be read in turn."""
        value = self._get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list of objects")
        return [Fields(item, f"{self._where}.{key}[{i}]") for i, item in enumerate(value)]

    def named_children(self, key: str) -> dict[str, Fields]:
        """An object of objects, each to be read in turn."""
        value = self.mapping(key)
        return {name: Fields(item, f"{self._where}.{key}.{name}") for name, item in value.items()}

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        if key not in self._value:
            raise BundleError(f"{self._where}: key {key!r} is missing; export the bundle again")
        return self._value[key]

    def _wrong(self, key: str, expected: str) -> BundleError:
        return _wrong(f"{self._where}.{key}", self._value[key], expected)


def _wrong(where: str, value: object, expected: str) -> BundleError:
    given = repr(value)
    return BundleError(f"{where} is {given[:60]}; expected {expected}")


def _lists(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, list) for item in value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
