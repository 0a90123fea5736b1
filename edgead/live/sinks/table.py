"""A table of settings, read key by key; every mistake names its table, key, value and cure."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead.errors import InputError, shortened
from edgead.files import os_sentence, read_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MOST_SECRET = 4096
"""Bytes of a password's file."""


class SettingsError(InputError):
    """A key of a table that is missing, unknown or wrong.

    Args:
        table: its title, as ``sink.hall``.
        key: of the table.
        text: what is wrong with it.
    """

    def __init__(self, table: str, key: str, text: str) -> None:
        super().__init__(f"[{table}] {key} {text}")
        self.table, self.key = table, key


class Table:
    """Reads ``settings``; what was not asked for by ``end`` is an unknown key.

    Args:
        title: of the table, as ``sink.hall``.
        settings: the keys and values.
        folder: from which paths count.
    """

    def __init__(self, title: str, settings: Mapping[str, Any], folder: Path) -> None:
        self._title, self._settings, self._folder = title, settings, folder
        self._asked: dict[str, None] = {}

    def wrong(self, key: str, text: str) -> SettingsError:
        """The error for ``key``, to be raised."""
        return SettingsError(self._title, key, text)

    def text(self, key: str, default: str | None = None, *, example: str = "") -> str:
        """A text that is not empty; required without a default."""
        value = self._get(key, default, f"a text{f', as {example!r}' if example else ''}")
        if not isinstance(value, str) or not value or "\0" in value:
            raise self._expected(key, value, "a text")
        return value

    def optional(self, key: str) -> str | None:
        """A text, or None where the key is missing."""
        return self.text(key) if self.has(key) else None

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        expected = f"a whole number from {low} to {high}"
        value = self._get(key, default, expected)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._expected(key, value, expected)
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        value = self._get(key, default, "a number")
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or not low <= value <= high:
            raise self._expected(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._get(key, default, "true or false")
        if not isinstance(value, bool):
            raise self._expected(key, value, "true or false")
        return value

    def choice(self, key: str, options: Sequence[str], default: str) -> str:
        """One of ``options``."""
        value = self._get(key, default, "")
        if value not in options:
            raise self._expected(key, value, f"one of {', '.join(options)}")
        return str(value)

    def names(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of names of cameras, each once."""
        expected = 'a list of names of cameras, as ["left", "right"]'
        value = self._get(key, default, expected)
        good = isinstance(value, list | tuple) and all(
            isinstance(each, str) and _NAME.fullmatch(each) for each in value
        )
        if not good or len(set(value)) < len(value):
            raise self._expected(key, value, expected)
        return tuple(value)

    def path(self, key: str) -> Path:
        """A path of a file or folder; it need not be there."""
        return self._folder / Path(self.text(key)).expanduser()

    def file(self, key: str) -> Path | None:
        """A file that can be read, or None where the key is missing."""
        if not self.has(key):
            return None
        path = self.path(key)
        try:
            with open(path, "rb"):
                return path
        except OSError as error:
            raise self.wrong(key, f"= {str(path)!r}: {os_sentence(error)}") from error

    def secret(self, key: str) -> str | None:
        """The content of the file ``KEY_file``, or of the environment variable ``KEY_env``.

        The last line break of a file is not part of it. None where neither is given.
        """
        by_file, by_variable = f"{key}_file", f"{key}_env"
        if key in self._settings:
            cure = f"give {by_file} (a file that only edgead may read) or {by_variable}"
            raise self.wrong(key, f"is not taken from here, where many may read it: {cure}")
        if self.has(by_file) and self.has(by_variable):
            raise self.wrong(by_variable, f"beside {by_file}: give one of them")
        if (path := self.file(by_file)) is not None:
            try:
                value = read_file(path)[: MOST_SECRET + 1].decode()
            except (OSError, UnicodeDecodeError) as error:
                raise self.wrong(by_file, f"= {str(path)!r}: expected a text in UTF-8") from error
            value = value.removesuffix("\n").removesuffix("\r")
            if not value or len(value) > MOST_SECRET or "\0" in value:
                raise self.wrong(by_file, f"= {str(path)!r}: expected one secret in the file")
            return value
        variable = self.optional(by_variable)
        if variable is None:
            return None
        found = os.environ.get(variable)
        if not found:
            cure = "set it before edgead starts (Environment= of a systemd unit)"
            raise self.wrong(by_variable, f"= {variable!r}: that variable is not set: {cure}")
        return found

    def has(self, key: str) -> bool:
        """Whether the key is there; it counts as asked for."""
        self._asked[key] = None
        return key in self._settings

    def end(self) -> None:
        """All keys were asked for; raises SettingsError for one that was not."""
        for key in self._settings:
            if key not in self._asked:
                text = f"is not a key here{nearest(key, self._asked)}: expected one"
                raise self.wrong(key, f"{text} of {', '.join(sorted(self._asked))}")

    def _get(self, key: str, default: Any, expected: str) -> Any:
        if not self.has(key):
            if default is None:
                raise self.wrong(key, f"is missing: expected {expected}")
            return default
        return self._settings[key]

    def _expected(self, key: str, value: Any, expected: str) -> SettingsError:
        return self.wrong(key, f"= {shortened(repr(value), 80)}: expected {expected}")


def nearest(given: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing."""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def is_camera_name(text: str) -> bool:
    """Whether ``text`` can name a camera: it becomes part of topics, ids and folders."""
    return _NAME.fullmatch(text) is not None
