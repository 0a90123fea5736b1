"""Memory and work of the SIMULATED device of ``simulation``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class Allocation:
    """Bytes of the device, or pinned ones of the host."""

    address: int
    size: int
    kind: str  # "device" | "pinned" | "mapped"
    bytes: np.ndarray
    alive: bool = True
    adopted: bool = False  # its bytes are another's


@dataclass(eq=False)
class Op:
    """Work on a stream. ``touches``: (first address, bytes, whether it writes).

    ``copies``: the copy engine also reaches host memory that is not mapped, a kernel does not.
    """

    name: str
    run: Callable[[], None]
    touches: tuple[tuple[int, int, bool], ...] = ()
    done: bool = False
    copies: bool = False


@dataclass(eq=False)
class Queue:
    """A stream."""

    handle: int
    pending: list[Op] = field(default_factory=list)
    capture: list[Op] | None = None
    capturing_thread: int = 0
    alive: bool = True


class Wait(Op):
    """Work that waits for an event of another stream."""

    until: Op | None = None


def collide(one: Op, other: Op) -> bool:
    return any(
        a < b + m and b < a + n and (write or writes)
        for a, n, write in one.touches
        for b, m, writes in other.touches
    )


def flat(array: np.ndarray) -> np.ndarray:
    """The bytes of a C-contiguous array."""
    assert array.flags.c_contiguous
    return array.reshape(-1).view(np.uint8)


def span(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...], item: int
) -> tuple[int, int]:
    """(first address, bytes) of a strided array whose element [0, 0, …] is at ``address``."""
    reach = [(side - 1) * step for side, step in zip(shape, strides, strict=True)]
    first = address + sum(step for step in reach if step < 0)
    return first, sum(map(abs, reach)) + item
