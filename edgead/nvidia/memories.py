"""The memories of a bundle on a GPU: features of good parts, and a frame's distances to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory as Entry
from edgead.engine.memories import ReadMemory, weights_of
from edgead.errors import DeviceError
from edgead.nearest import MEMORY_DTYPES, sought
from edgead.nvidia.memory import Block, Memory, Stream
from edgead.preprocess import DTYPES, LAYOUTS

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class HeldMemory:
    """A memory on the device, for all threads."""

    entry: Entry
    kernel: Any  # edgead.nvidia._cuda.Nearest
    rows: Block
    counts: Block  # [height, width] float32


def hold_memories(read: Iterable[ReadMemory], cuda: Any, memory: Memory) -> tuple[HeldMemory, ...]:
    """Bring the memories of a bundle onto a device.

    Args:
        read: by ``read_memories``.
        cuda: edgead.nvidia._cuda.
        memory: of the device.

    Raises:
        DeviceError: more than is free on the device; says the largest that fits.
    """
    with memory.current():
        stream = memory.stream()
        return tuple(_hold(one, cuda, memory, stream) for one in read)


def _hold(read: ReadMemory, cuda: Any, memory: Memory, stream: Stream) -> HeldMemory:
    entry, kept, counts, free = read.entry, read.rows, read.counts, memory.free_bytes()
    if kept.nbytes + counts.nbytes > free:
        fits = max(0, free - counts.nbytes) // (kept.itemsize * kept.shape[1])
        raise DeviceError(
            f"cuda:{memory.index} ({memory.name}) has {free / 1e6:.1f} MB free, and the memory of "
            f"{len(kept)} features takes {kept.nbytes / 1e6:.1f} MB; at most {fits} features fit: "
            f'learn with --memory {max(1, fits)}, close other programs, or use device="cpu"'
        )
    weights, blended, temperature = sought(weights_of(entry), len(kept))
    kernel = cuda.Nearest(
        positions=math.prod(entry.size),
        width=entry.size[1],
        weights=weights,
        blended=blended,
        temperature=temperature,
        root=read.root,
        type=DTYPES.index("float32"),
        layout=LAYOUTS.index("NCHW"),
        channels=entry.channels,
        rows=len(kept),
        memory_type=MEMORY_DTYPES.index(kept.dtype.name),
    )
    return HeldMemory(entry, kernel, *(_up(array, memory, stream) for array in (kept, counts)))


def _up(array: NDArray[Any], memory: Memory, stream: Stream) -> Block:
    block, pinned = memory.allocate(array.nbytes), memory.pinned(array.nbytes)
    pinned.array[:] = array.reshape(-1).view(np.uint8)
    stream.upload(block.address, pinned.array)
    stream.synchronize()
    return block


class DeviceDistances:
    """The distances of one thread's frames, as pairs for anomaly_map: (distance, 0).

    Called while the device's context is current.
    """

    def __init__(self, held: tuple[HeldMemory, ...], memory: Memory, stream: Stream) -> None:
        self._held, self._stream = held, stream
        sizes = [4 * math.prod(one.entry.size) for one in held]
        self._distances = [memory.allocate(size) for size in sizes]
        self._zeros = [_up(np.zeros(size, np.uint8), memory, stream) for size in sizes]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Addresses of (distance, 0) of each memory."""
        both = zip(self._distances, self._zeros, strict=True)
        return [(distance.address, zeros.address) for distance, zeros in both]

    def enqueue(self, features: list[int]) -> None:
        """Enqueue the distances of features at these addresses, one for each memory."""
        for one, at, distance in zip(self._held, features, self._distances, strict=True):
            places = one.rows.address, 0, at, 1, 0, one.counts.address, distance.address
            one.kernel.run(*places, self._stream.handle)

    def download(self) -> list[tuple[F32, F32]]:
        """Enqueue copies of the pairs to the host."""
        found = []
        for one, distance in zip(self._held, self._distances, strict=True):
            host = np.zeros((2, 1, 1, *one.entry.size), np.float32)
            self._stream.download(host[0].reshape(-1).view(np.uint8), distance.address)
            found.append((host[0], host[1]))
        return found

    def close(self) -> None:
        """Let go of the memory, even while the object is referred to."""
        self._distances.clear()
        self._zeros.clear()
