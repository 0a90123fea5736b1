"""An image of a good part that is read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class GoodImage:
    """A name for messages, how the image is read, and which part it shows; "": one of its own."""

    name: str
    read: Callable[[], NDArray[Any]] = field(repr=False)
    part: str = ""


def parts_shown(images: Sequence[GoodImage]) -> tuple[int, ...] | None:
    """The part that each image shows, as numbers; None where each shows one of its own."""
    parts = [(image.part, 0 if image.part else index) for index, image in enumerate(images)]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    return None if len(numbers) == len(parts) else tuple(numbers[part] for part in parts)


def counted(images: Sequence[GoodImage]) -> tuple[int, str]:
    """How many count towards the promise, and what they are: "images", or "parts" they share."""
    parts = parts_shown(images)
    return (len(images), "images") if parts is None else (len(set(parts)), "parts")
