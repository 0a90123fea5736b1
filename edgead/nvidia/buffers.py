"""Memory that host and device share, and the device's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.nvidia.memory import Block, Bytes, Memory, Stream


class Shared:
    """Memory of host and device: one and the same where the device is integrated, else two.

    Args:
        count: bytes.
        held: so many bytes of the host's to take, instead of new ones.
    """

    def __init__(self, memory: Memory, count: int, held: Bytes | None = None) -> None:
        self._pinned = memory.pinned(count) if held is None else memory.registered(held)
        self._block = None
        address = self._pinned.address
        if address is None:
            self._block = memory.allocate(count)
            address = self._block.address
        self.address = address  # on the device

    @property
    def array(self) -> Bytes:
        """On the host. Not kept here: pinned memory goes with the last array that refers to it."""
        return self._pinned.array

    def up(self, stream: Stream, count: int) -> None:
        """Enqueue what makes the host's first ``count`` bytes the device's."""
        if self._block is not None:
            stream.upload(self._block.address, self.array[:count])

    def down(self, stream: Stream) -> None:
        """Enqueue what makes the device's bytes the host's."""
        if self._block is not None:
            stream.download(self.array, self._block.address)


def upload(array: NDArray[Any], memory: Memory, stream: Stream) -> Block:
    """A copy of a C-contiguous array on the device; it is there when this returns."""
    block, pinned = memory.allocate(array.nbytes), memory.pinned(array.nbytes)
    pinned.array[:] = array.reshape(-1).view(np.uint8)
    stream.upload(block.address, pinned.array)
    stream.synchronize()
    return block


def address_of(block: Block | None) -> int:
    """0, which is no address, for None."""
    return 0 if block is None else block.address


class StageClock:
    """The device's time of each of ``stages``, which follow one another on a stream."""

    def __init__(self, cuda: Any, stages: Sequence[str]) -> None:
        self._stages = stages
        self._events = cuda.Events(len(stages) + 1)
        self._next = 0

    def start(self, stream: int) -> None:
        """Enqueue the begin of the first stage."""
        self._next = 0
        self.mark(stream)

    def mark(self, stream: int) -> None:
        """Enqueue the end of a stage, where the next one begins."""
        self._events.record(self._next, stream)
        self._next += 1

    def spent(self) -> dict[str, float]:
        """Seconds in each stage of the last frame, by name; all of one name together."""
        found = dict.fromkeys(self._stages, 0.0)
        for stage, ms in zip(self._stages, self._events.intervals_ms(), strict=True):
            found[stage] += 1e-3 * ms
        return found
