"""A frame's distances to all that was learnt, on a GPU."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory as MemoryEntry
from edgead.bundle.entries import Whitening
from edgead.nvidia.buffers import upload
from edgead.nvidia.memory import Block, Memory, Stream

F32 = NDArray[np.float32]


class HeldSignal(Protocol):
    """A memory or a whitening on the device, for all threads."""

    @property
    def entry(self) -> MemoryEntry | Whitening:
        """Of the manifest."""

    @property
    def shown(self) -> bool:
        """Whether it counts in the map."""

    @property
    def scored(self) -> Block | None:
        """What it counts in the sum of the score, [height, width] float32; None: nothing."""

    @property
    def workspace_bytes(self) -> int:
        """What ``enqueue`` takes of memory, on each stream."""

    def enqueue(
        self, features: int, distance: int, total: int, add: bool, workspace: int, stream: int
    ) -> None:
        """Enqueue the distances of a frame.

        Args:
            features: address of [1, C, H, W].
            distance: address that they are written to, times what they count in the map; 0 where
                they are not shown.
            total: address of the sum of the score, if there is one.
            add: to the sum, else it begins here.
            workspace: address of ``workspace_bytes`` that no other stream uses meanwhile.
            stream: handle.
        """


Held = tuple[HeldSignal, ...]


class DeviceDistances:
    """The distances of one thread's frames, as pairs for anomaly_map: (distance, 0).

    Called while the device's context is current.

    Args:
        held: in the order of the manifest: memories, then whitenings.
        memory: of the device.
        stream: that all is enqueued on.
        cuda: the module of the kernels.
        own_levels: of the manifest.
    """

    def __init__(
        self,
        held: Held,
        memory: Memory,
        stream: Stream,
        cuda: Any,
        own_levels: tuple[float, float] | None,
    ) -> None:
        self._held, self._stream, self._cuda, self._own_levels = held, stream, cuda, own_levels
        sizes = [4 * math.prod(one.entry.size) for one in held if one.shown]
        self._distances = [memory.allocate(size) for size in sizes]
        self._zeros = [upload(np.zeros(size, np.uint8), memory, stream) for size in sizes]
        workspace = max((one.workspace_bytes for one in held), default=0)
        self._workspace = [memory.allocate(workspace)] if workspace else []
        self._sums: list[Block] = []  # of the score: what is summed, and zeros
        self._positions = sizes[0] // 4 if sizes else 0  # one size, where frames are raised
        self._summed = next((math.prod(one.entry.size) for one in held if one.entry.scored), 0)
        if self._summed:
            count = 4 * self._summed
            zeros = upload(np.zeros(count, np.uint8), memory, stream)
            self._sums = [memory.allocate(count), zeros]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Addresses of (distance, 0) of each signal that counts in the map."""
        both = zip(self._distances, self._zeros, strict=True)
        return [(distance.address, zeros.address) for distance, zeros in both]

    @property
    def scored(self) -> list[tuple[int, int]]:
        """Addresses of (sum, 0) that the score is pooled from; none: it is pooled from the map."""
        return [(self._sums[0].address, self._sums[1].address)] if self._sums else []

    def enqueue(self, features: list[int]) -> None:
        """Enqueue the distances of features at these addresses, one for each signal."""
        distances = iter(self._distances)
        total, add = self._sums[0].address if self._sums else 0, False
        workspace = self._workspace[0].address if self._workspace else 0
        for one, at in zip(self._held, features, strict=True):
            distance = next(distances).address if one.shown else 0
            one.enqueue(at, distance, total, add, workspace, self._stream.handle)
            add = add or one.scored is not None
        if self._own_levels is not None:
            shown = [distance.address for distance in self._distances]
            counts = self._positions, total, self._summed
            self._cuda.raise_distances(shown, *counts, *self._own_levels, self._stream.handle)

    def download(self) -> list[tuple[F32, F32]]:
        """Enqueue copies of the pairs to the host."""
        shown = (one for one in self._held if one.shown)
        return [
            self._download(distance, one.entry.size)
            for one, distance in zip(shown, self._distances, strict=True)
        ]

    def download_sum(self) -> F32:
        """Enqueue a copy of the sum that the score is pooled from: [1, 1, H, W]."""
        size = next(one.entry.size for one in self._held if one.entry.scored)
        return self._download(self._sums[0], size)[0]

    def close(self) -> None:
        """Let go of the memory, even while the object is referred to."""
        for blocks in (self._distances, self._zeros, self._sums, self._workspace):
            blocks.clear()

    def _download(self, block: Block, size: tuple[int, int]) -> tuple[F32, F32]:
        host = np.zeros((2, 1, 1, *size), np.float32)
        self._stream.download(host[0].reshape(-1).view(np.uint8), block.address)
        return host[0], host[1]
