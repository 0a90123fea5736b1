"""Maps that stay on the device until a Result is asked for them, or their place is needed."""

from __future__ import annotations

import math
import weakref
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.engine.lazy_array import LazyArray
from edgead.errors import DeviceError, DeviceLostError, InputError
from edgead.images.dlpack import LentArray
from edgead.nvidia.memory import Block, Memory, Pinned, Stream

_PLACES = 2  # `result = score(frame)` in a loop: the last Result lives while the next frame runs


class MapPlace:
    """A place on the device, and the map that lies there for a Result, if that is still awaited."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.map: weakref.ref[LazyArray] | None = None
        self.frame = 0  # whose turn it was last, counted
        self.lent = False  # other libraries may read there, whatever is scored meanwhile

    def settle(self) -> None:
        """Bring the map to the host, where a Result may ask for it."""
        lazy = None if self.map is None else self.map()
        self.map = None
        if lazy is not None:
            lazy.array()


class MapRing:
    """Places for the maps [height, width] of the frames scored last, taken in turns.

    ``lock`` is held while a map is brought to the host. Called while the device's context is
    current.
    """

    def __init__(
        self,
        memory: Memory,
        stream: Stream,
        size: tuple[int, int],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._memory, self._size, self._lock = memory, size, lock
        self._stream: Stream | None = stream  # None: closed
        self._landing: Pinned | None = memory.pinned(4 * math.prod(size))
        self._places = [MapPlace(memory.allocate(4 * math.prod(size))) for _ in range(_PLACES)]
        self._turn = 0

    def make_room(self) -> int:
        """The address of the place whose turn it is; what lies there is brought to the host.

        Memory that was lent stays with its borrowers, and the place gets other memory.
        """
        place = self._places[self._turn]
        place.settle()
        if place.lent:
            place.block = self._memory.allocate(4 * math.prod(self._size))
            place.lent = False
        place.frame += 1
        return place.block.address

    def keep(self) -> LazyArray:
        """The map in the place whose turn it is, which passes to the next."""
        place = self._places[self._turn]
        address = place.block.address  # of a place that may be gone when the map is asked for
        frame = place.frame
        lazy = LazyArray(
            self._size,
            lambda: self._bring(address),
            self._lock,
            lambda: self._lend(place, frame),
        )
        place.map = weakref.ref(lazy)
        self._turn = (self._turn + 1) % _PLACES
        return lazy

    def settle(self) -> None:
        """Bring every map to the host that a Result may ask for."""
        for place in self._places:
            with suppress(DeviceError):  # of a device that is lost: the Result says so when asked
                place.settle()

    def close(self) -> None:
        """Let go of the memory; maps that are still there are lost."""
        self._stream = self._landing = None
        self._places.clear()

    def _lend(self, place: MapPlace, frame: int) -> LentArray:
        if self._stream is None or place.frame != frame:
            raise InputError(
                "this map is not on the GPU any more: two more frames were scored since, or the "
                "Detector was closed: use result.map, or call map_on_device() before"
            )
        place.lent = True
        index, block = self._memory.index, place.block
        return LentArray(block.address, self._size, np.float32, index, block)

    def _bring(self, address: int) -> NDArray[np.float32]:
        stream, landing = self._stream, self._landing
        if stream is None or landing is None:
            raise DeviceLostError("this map was lost with the device that held it")
        with self._memory.current():
            stream.download(landing.array, address)
            stream.synchronize()
        return np.array(landing.array.view(np.float32).reshape(self._size))
