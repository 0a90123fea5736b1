"""What objects do in a forked process: their locks may be held there, and threads are missing."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_methods: set[weakref.WeakMethod[Callable[[], None]]] = set()


def after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in every process that is forked from this one, while its object lives."""
    _methods.add(weakref.WeakMethod(method, _methods.discard))


def _call_all() -> None:
    for reference in list(_methods):
        if (method := reference()) is not None:
            method()


if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=_call_all)
