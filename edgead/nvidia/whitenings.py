"""The whitenings of a bundle on a GPU: what is usual at each place, held once for all threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgead._cpu import ReadWhitening
from edgead.bundle.entries import Whitening
from edgead.errors import DeviceError
from edgead.nvidia.buffers import address_of, upload
from edgead.nvidia.memory import Block, Memory


@dataclass(frozen=True)
class HeldWhitening:
    """A whitening as ``HeldSignal``."""

    entry: Whitening
    kernel: Any  # edgead.nvidia._cuda.Whiten
    mean: Block
    factors: Block
    centre: Block | None
    counts: Block | None  # [height, width] float32; None: it does not count in the map
    scored: Block | None  # the same in the sum of the score

    @property
    def shown(self) -> bool:
        """Whether it counts in the map."""
        return self.counts is not None

    @property
    def workspace_bytes(self) -> int:
        """See ``HeldSignal``."""
        return 0

    def enqueue(
        self, features: int, distance: int, total: int, add: bool, workspace: int, stream: int
    ) -> None:
        """See ``HeldSignal``."""
        first = 4 * self.entry.first * math.prod(self.entry.size)
        self.kernel.run(
            mean=self.mean.address,
            factor=self.factors.address,
            feature=features + first,
            batch=1,
            centre=address_of(self.centre),
            roi=0,
            counts=address_of(self.counts),
            distance=distance,
            scored=address_of(self.scored),
            sum=0 if self.scored is None else total,
            add=add,
            stream=stream,
        )


def hold_whitenings(
    entries: Sequence[Whitening], read: Sequence[ReadWhitening], cuda: Any, memory: Memory
) -> tuple[HeldWhitening, ...]:
    """Bring the whitenings of a bundle onto a device.

    Args:
        entries: of the manifest.
        read: each, by ``read_whitenings``.
        cuda: edgead.nvidia._cuda.
        memory: of the device.

    Raises:
        DeviceError: more than is free on the device.
    """
    arrays = [(one.mean, one.factors, one.centre, one.counts, one.scored) for one in read]
    needed = sum(array.nbytes for each in arrays for array in each if array is not None)
    with memory.current():
        stream, found = memory.stream(), []
        if needed > (free := memory.free_bytes()):
            raise DeviceError(
                f"cuda:{memory.index} ({memory.name}) has {free / 1e6:.1f} MB free, and what is "
                f"usual at each place takes {needed / 1e6:.1f} MB: close other programs, learn "
                'with a smaller --size or with --placement loose, or use device="cpu"'
            )
        for entry, one, each in zip(entries, read, arrays, strict=True):
            mean, factors = (upload(array, memory, stream) for array in each[:2])
            centre, counts, scored = (
                None if array is None else upload(array, memory, stream) for array in each[2:]
            )
            kernel = cuda.Whiten(**one.arguments)
            found.append(HeldWhitening(entry, kernel, mean, factors, centre, counts, scored))
        return tuple(found)
