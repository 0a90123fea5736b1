"""How far each step of learning is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], Callable[[int, int], None]]
"""What is done, to a function that is told (done, total) now and then."""


def silent(_title: str) -> Callable[[int, int], None]:
    """Shows nothing."""
    return lambda _done, _total: None
