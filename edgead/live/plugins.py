"""Kinds of sources and sinks: those of edgead, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from edgead.errors import InputError

SOURCES = "edgead.sources"
"""The entry-point group of packages that bring a kind of source."""


def names(group: str, built_in: Mapping[str, str]) -> list[str]:
    """What there is: edgead's own kinds, then those of packages that are installed."""
    return sorted({*built_in, *(entry.name for entry in entry_points(group=group))})


def load(group: str, built_in: Mapping[str, str], name: str) -> Any | None:
    """What ``name`` stands for; None when nobody brings it. edgead's own come first.

    Args:
        group: of entry points, whose names are the kinds.
        built_in: kind -> ``module:attribute``.

    Raises:
        InputError: a package brings it and cannot be loaded.
    """
    if name in built_in:
        module, _, attribute = built_in[name].partition(":")
        return getattr(import_module(module), attribute)
    found = list(entry_points(group=group, name=name))
    if not found:
        return None
    try:
        return found[0].load()
    except Exception as error:  # somebody else's package
        raise InputError(
            f"{name}: the package that brings it ({found[0].value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
