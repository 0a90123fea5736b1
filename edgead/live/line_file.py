"""line.toml: several cameras and where their verdicts go; a mistake is named by line and key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from edgead.errors import DeviceError, EdgeadError, InputError, shortened
from edgead.files import os_sentence, read_file
from edgead.live.camera_settings import KEYS, CameraSettings, Mistake
from edgead.live.sinks.table import SettingsError, Table
from edgead.records.store import RecordsSettings, has_frames_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")
MOST_CAMERAS = 64
Path_ = tuple[str | int, ...]
"""Where a value is, as ``("camera", 1, "bundle")``."""


@dataclass(frozen=True)
class SinkTable:
    """A table ``[sink.NAME]``: its settings, ``kind`` among them."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class LineFile:
    """What a line.toml says."""

    path: Path
    cameras: tuple[CameraSettings, ...]
    sinks: tuple[SinkTable, ...]
    records: RecordsSettings | None = None
    text: str = field(default="", repr=False, compare=False)

    def wrong(self, where: Path_, why: object) -> InputError:
        """The error for the value at ``where``, with its line."""
        return _wrong(self.path, self.text, where, why)

    def within(self, where: Path_, work: Callable[[], _T]) -> _T:
        """What ``work()`` returns; its error begins with the line of the value at ``where``."""
        try:
            return work()
        except EdgeadError as error:
            key = getattr(error, "key", None)  # of a sink's settings
            if isinstance(key, str):
                text = f"{self.path}, line {line_of(self.text, (*where, key))}: {error}"
            else:
                text = _located(self.path, self.text, where, error, colon=":")
            kind = DeviceError if isinstance(error, DeviceError) else InputError
            raise kind(text) from error


def read_line_file(path: str | Path) -> LineFile:
    """The content of a line.toml; paths in it count from its folder.

    Raises:
        InputError: it cannot be read, is not TOML, or a key is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        text = read_file(path).decode()
        content = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"--config: {os_sentence(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path}: byte {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path} is not TOML: {error}") from error
    known = ("defaults", "camera", "sink", "records")
    for key in content:
        if key not in known:
            raise _wrong(path, text, (key,), f"is unknown{_near(key, known)}: {_TABLES}")
    sinks = _sinks(path, text, content.get("sink", {}))
    cameras = _cameras(path, text, content, {sink.name for sink in sinks})
    records = _records(path, text, content.get("records"))
    names = [camera.name for camera in cameras]
    for index, evidence in enumerate(camera.evidence for camera in cameras):
        if evidence and records is not None and has_frames_of(records.folder, names, evidence):
            why = f"{evidence} is where [records] keeps frames: choose another folder"
            raise _wrong(path, text, ("camera", index, "evidence"), why)
    return LineFile(path, cameras, sinks, records, text)


_TABLES = "expected tables [[camera]], [defaults], [sink.NAME] and [records]"


def _records(path: Path, text: str, settings: Any) -> RecordsSettings | None:
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise _wrong(path, text, ("records",), "is not a table: write [records]")
    table = Table("records", settings, path.parent)
    try:
        found = RecordsSettings(
            folder=table.path("folder"),
            limit_mb=table.number("limit_mb", RecordsSettings.limit_mb, 1, 1e9),
            keep_days=table.number("keep_days", RecordsSettings.keep_days, 0.01, 36_500),
            sample_every=table.whole("sample_every", RecordsSettings.sample_every, 1, 10**9),
            part_seconds=table.number("part_seconds", RecordsSettings.part_seconds, 0, 86_400),
        )
        table.end()
    except SettingsError as error:
        line = line_of(text, ("records", error.key))
        raise InputError(f"{path}, line {line}: {error}") from error
    return found


def _sinks(path: Path, text: str, tables: Any) -> tuple[SinkTable, ...]:
    if not isinstance(tables, dict):
        raise _wrong(path, text, ("sink",), _TABLES)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _wrong(path, text, ("sink", name), f"is not a table: write [sink.{name}]")
        if not isinstance(table.get("kind"), str):
            raise _wrong(path, text, ("sink", name), 'has no kind: add one, as kind = "mqtt"')
    return tuple(SinkTable(name, table) for name, table in tables.items())


def _cameras(
    path: Path, text: str, content: Mapping[str, Any], sinks: set[str]
) -> tuple[CameraSettings, ...]:
    tables, defaults = content.get("camera"), content.get("defaults", {})
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise _wrong(path, text, ("camera",), f"is missing or no list of tables: {_TABLES}")
    if len(tables) > MOST_CAMERAS:
        raise _wrong(path, text, ("camera", MOST_CAMERAS), f"is one more than {MOST_CAMERAS}")
    if not isinstance(defaults, dict):
        raise _wrong(path, text, ("defaults",), "is not a table: write [defaults]")
    checked = _checked(path, text, ("defaults",), defaults, without=("name", "source"))
    found: list[CameraSettings] = []
    folders: dict[str, str] = {}
    for index, table in enumerate(tables):
        where: Path_ = ("camera", index)
        values = {**checked, **_checked(path, text, where, table)}
        for key in ("name", "source", "bundle"):
            if key not in values:
                raise _wrong(path, text, (*where, key), "is missing")
        if values["name"] in {camera.name for camera in found}:
            raise _wrong(path, text, (*where, "name"), f"{values['name']!r} is there twice")
        for name in values.get("sinks", ()):
            if name not in sinks:
                near = _near(name, sinks)
                why = f"names {name!r}{near}, but there is no table [sink.{name}]"
                raise _wrong(path, text, (*where, "sinks"), why)
        camera = CameraSettings(**values).below(path.parent)
        if camera.evidence is not None and camera.evidence in folders:
            why = f"{camera.evidence} is the folder of {folders[camera.evidence]} too"
            raise _wrong(path, text, (*where, "evidence"), f"{why}: each camera needs its own")
        folders[camera.evidence or ""] = camera.name
        found.append(camera)
    return tuple(found)


def _checked(
    path: Path, text: str, where: Path_, table: Mapping[str, Any], without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values of a table of a camera, each as its key wants it."""
    known = [each.name for each in fields(CameraSettings) if each.name not in without]
    found = {}
    for key, value in table.items():
        if key not in known:
            why = f"is not a key of a camera{_near(key, known)}: it has {', '.join(known)}"
            raise _wrong(path, text, (*where, key), why)
        try:
            found[key] = KEYS[key](value)
        except Mistake as mistake:
            why = f"is {shortened(repr(value), 80)}: expected {mistake}"
            raise _wrong(path, text, (*where, key), why) from mistake
        except InputError as error:
            raise InputError(_located(path, text, (*where, key), error, colon=":")) from error
    return found


def _near(given: str, known: Any) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _wrong(path: Path, text: str, where: Path_, why: object) -> InputError:
    return InputError(_located(path, text, where, why))


def _located(path: Path, text: str, where: Path_, why: object, *, colon: str = "") -> str:
    """Line and key before ``why``; a ``colon`` where that is a sentence of its own."""
    named = [str(part) for part in where if isinstance(part, str)]
    return f"{path}, line {line_of(text, where)}: {'.'.join(named)}{colon} {why}"


def line_of(text: str, where: Path_) -> int:
    """The line, from 1, in which the value at ``where`` begins, or the table that lacks it.

    A beginning of the text that is TOML by itself ends with a whole value; the first of them that
    has it tells the line.
    """
    lines = text.splitlines(keepends=True)
    while where:
        begin = 0
        for end in range(1, len(lines) + 1):
            try:
                content: Any = tomllib.loads("".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue
            if _holds(content, where):
                blank = (n for n in range(begin, end) if lines[n].split("#")[0].strip())
                return next(blank, begin) + 1
            begin = end
        where = where[:-1]
    return 1


def _holds(content: Any, where: Path_) -> bool:
    for part in where:
        if isinstance(part, int):
            if not isinstance(content, list) or len(content) <= part:
                return False
        elif not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
