"""The memories of a bundle on a GPU: features of good parts, held once for all threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgead import _cpu
from edgead._cpu import ReadMemory
from edgead.bundle.entries import Memory as Entry
from edgead.nvidia.buffers import address_of, upload
from edgead.nvidia.memory import Block, Memory, Stream


@dataclass(frozen=True)
class HeldMemory:
    """A memory as ``HeldSignal``."""

    entry: Entry
    kernel: Any  # edgead.nvidia._cuda.Nearest
    rows: Block
    counts: Block  # [height, width] float32, as the next two
    scored: Block | None  # None: it does not count in the sum of the score
    shares: Block | None

    @property
    def shown(self) -> bool:
        """Whether it counts in the map: every memory does."""
        return True

    @property
    def workspace_bytes(self) -> int:
        """See ``HeldSignal``."""
        return int(self.kernel.workspace_bytes(batch=1))

    def enqueue(
        self, features: int, distance: int, total: int, add: bool, workspace: int, stream: int
    ) -> None:
        """See ``HeldSignal``."""
        self.kernel.run(
            memory=self.rows.address,
            scale=0,
            query=features,
            batch=1,
            shares=address_of(self.shares),
            roi=0,
            counts=self.counts.address,
            distance=distance,
            scored=address_of(self.scored),
            sum=0 if self.scored is None else total,
            add=add,
            workspace=workspace,
            stream=stream,
        )


def hold_memories(
    entries: Sequence[Entry], read: Sequence[ReadMemory], cuda: Any, memory: Memory
) -> tuple[HeldMemory, ...]:
    """Bring the memories of a bundle onto a device.

    Args:
        entries: of the manifest.
        read: each, by ``read_memories``.
        cuda: edgead.nvidia._cuda.
        memory: of the device.

    Raises:
        DeviceError: more than is free on the device; says the largest that fits.
    """
    with memory.current():
        stream = memory.stream()
        return tuple(
            _hold(entry, one, cuda, memory, stream)
            for entry, one in zip(entries, read, strict=True)
        )


def _hold(entry: Entry, read: ReadMemory, cuda: Any, memory: Memory, stream: Stream) -> HeldMemory:
    kept, free = read.rows, memory.free_bytes()
    places = [read.counts, read.scored, read.shares]
    beside = sum(array.nbytes for array in places if array is not None)
    where = f"cuda:{memory.index} ({memory.name})"
    codes = cuda.Nearest.codes_bytes(rows=len(kept), channels=kept.shape[1])
    each = kept.itemsize * kept.shape[1] + -(-codes // len(kept))
    _cpu.check_room(where, free - beside, len(kept), each, 'device="cpu"')
    rows, counts = (upload(array, memory, stream) for array in (kept, read.counts))
    scored, shares = (
        None if array is None else upload(array, memory, stream)
        for array in (read.scored, read.shares)
    )
    kernel = cuda.Nearest(kept, None, **read.arguments)
    return HeldMemory(entry, kernel, rows, counts, scored, shares)
