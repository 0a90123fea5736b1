"""An image of a good part that is read when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class GoodImage:
    """A name for messages, how the image is read, and which part it shows; "": one of its own."""

    name: str
    read: Callable[[], NDArray[Any]] = field(repr=False)
    part: str = ""
