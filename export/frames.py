"""The frames that export calibrates with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationFrame:
    """An image of a good part that training never saw; read when it is needed."""

    name: str
    read: Callable[[], NDArray[Any]] = field(repr=False)
