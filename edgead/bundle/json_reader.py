"""Types as the schema of JSON: read strictly, every key expected is there and none is left over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from edgead.errors import BundleError


def read_json(kind: Any, value: object, where: str, cure: str = "") -> Any:
    """``value``, JSON, as the type that ``kind`` says.

    Args:
        kind: a key of ``_EXPECTED``; for an object a dataclass, or a dict of keys and types; a
            tuple of objects, or a Mapping from str to them. ``X | None`` may be left out, and so
            may a Mapping that a dataclass makes empty by default.
        value: as ``json.loads`` gives it.
        where: dotted path of ``value``, for messages.
        cure: of whatever is wrong, for messages; empty: that of a bundle.

    Raises:
        BundleError: names the key, what stands there and what was expected.
    """
    if is_dataclass(kind):
        return kind(**_read_object(schema(kind), value, where, cure))  # type: ignore[operator]
    if isinstance(kind, dict):
        return _read_object(kind, value, where, cure)
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return read_json(args[0], value, where, cure)
    if kind in _EXPECTED:
        try:
            return _plain(kind, value)
        except (ValueError, OverflowError) as error:
            raise _wrong(where, value, _EXPECTED[kind], cure) from error
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list of objects", cure)
        return tuple(
            read_json(args[0], item, f"{where}[{i}]", cure) for i, item in enumerate(value)
        )
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object", cure)
    return {name: read_json(args[1], item, f"{where}.{name}", cure) for name, item in value.items()}


def as_json(value: Any) -> Any:
    """``value`` as JSON; ``read_json`` with its type gives an equal one back."""
    if is_dataclass(value):
        return {
            f.name: as_json(item)
            for f in fields(value)
            if (item := getattr(value, f.name)) is not None
            and (item or f.default_factory is not dict)
        }
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    return list(map(as_json, value)) if isinstance(value, tuple) else value


def schema(kind: Any) -> dict[str, Any]:
    """Key -> type of the dataclass ``kind``."""
    hints = get_type_hints(kind)
    return {
        f.name: hints[f.name] | None if f.default_factory is dict else hints[f.name]
        for f in fields(kind)
    }


def _read_object(keys: Mapping[str, Any], value: object, where: str, cure: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object", cure)
    found = {}
    for key, kind in keys.items():
        if key in value:
            found[key] = read_json(kind, value[key], f"{where}.{key}", cure)
        elif get_origin(kind) is not UnionType:
            raise BundleError(
                f"{where}: key {key!r} is missing; {cure or 'export the bundle again'}"
            )
    if unknown := sorted(set(value) - set(keys)):
        raise BundleError(f"{where}: unknown key {unknown[0]!r}; {cure or 'upgrade edgead?'}")
    return found


def _wrong(where: str, value: object, expected: str, cure: str) -> BundleError:
    said = f"{where} is {repr(value)[:60]}; expected {expected}"
    return BundleError(f"{said}; {cure}" if cure else said)


def _plain(kind: Any, value: Any) -> Any:
    """``value`` as a kind of ``_EXPECTED``; ValueError if it is another."""
    origin, args = get_origin(kind), get_args(kind)
    required: Any = {tuple: list, Mapping: dict, None: (int, float) if kind is float else kind}
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, required[origin]):
        raise ValueError
    if origin is tuple:
        kinds = args if args[-1] is not Ellipsis else args[:1] * len(value)
        items = tuple(_plain(item, each) for item, each in zip(kinds, value, strict=True))
        if args == (int, int) and min(items) < 1:
            raise ValueError
        return items
    if origin is Mapping:
        return value if args[1] is Any else {k: _plain(args[1], v) for k, v in value.items()}
    if value == "" or (kind is float and not math.isfinite(value)):
        raise ValueError
    if kind is int and abs(value) > _MOST_WHOLE:
        raise ValueError
    return float(value) if kind is float else value


_MOST_WHOLE = 2**31 - 1

_EXPECTED: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number between -2^31 and 2^31",
    float: "a finite number",
    tuple[int, ...]: "a list of whole numbers",
    tuple[float, ...]: "a list of finite numbers",
    tuple[float, float, float]: "three finite numbers",
    tuple[int, int]: "[height, width], two positive whole numbers below 2^31",
    tuple[tuple[tuple[float, float], ...], ...]: (
        "a list of polygons, each a list of corners [x, y]"
    ),
    Mapping[str, str]: "an object of strings",
    Mapping[str, Any]: "an object",
}
