"""Memory with checks: bounds, alignment, what was never written, races, sectors counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .races import Races, Touch
from .text import PtxError, Variable

GAP = 512  # bytes between two variables or buffers, which nobody may touch
SECTOR = 32
GARBAGE = 0xFF  # NaN, -1: what memory holds before anything is written


class Who(NamedTuple):
    """The threads of an access."""

    threads: np.ndarray  # of the whole grid
    blocks: np.ndarray
    phases: np.ndarray


class Place(NamedTuple):
    """A buffer or variable: addresses [begin, begin + size), which lie at ``at`` in the bytes."""

    name: str
    begin: int
    size: int
    at: int


@dataclass
class Traffic:
    """What the warps ask for, by place: bytes of the lanes, and sectors of 32 bytes.

    ``instructions`` are those of PTX that warps execute, a warp's threads that go together as one;
    ``multiply_adds`` those of tensor cores.
    """

    bytes: dict[str, int] = field(default_factory=dict)
    sectors: dict[str, int] = field(default_factory=dict)
    instructions: int = 0
    multiply_adds: int = 0

    def count(self, name: str, addresses: np.ndarray, size: int, threads: np.ndarray) -> None:
        """One access of some threads; a warp asks for a sector once. None crosses a sector."""
        asked = np.unique(np.stack([threads // 32, addresses // SECTOR]), axis=1)
        self.bytes[name] = self.bytes.get(name, 0) + size * len(addresses)
        self.sectors[name] = self.sectors.get(name, 0) + asked.shape[1]


class Memory:
    """``places`` of one kind of memory, ``copies`` of them: one for each block or thread."""

    def __init__(
        self,
        kind: str,
        places: Sequence[Place],
        *,
        copies: int = 1,
        granule: int | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.kind, self.places, self.traffic = kind, sorted(places, key=lambda p: p.begin), traffic
        end = max((place.at + place.size for place in places), default=0)
        self.stride = (end + GAP + 255) // 256 * 256
        self.bytes = np.full(copies * self.stride, GARBAGE, np.uint8)
        self.defined = np.zeros(copies * self.stride, np.bool_)
        # One more, before all others and of no size: addresses below the first are out of bounds.
        table = [(-1, 0, 0), *((place.begin, place.size, place.at) for place in self.places)]
        self.begins, self.sizes, self.ats = np.array(table, np.int64).T.copy()
        # Read by ld.global.nc, which promises that nobody writes there; and what was written.
        self.promised, self.changed = np.zeros((2, len(self.bytes)), np.bool_)
        self.granule = granule  # bytes of a place in which races are looked for; None: not at all
        self.races = None if granule is None else Races(len(self.bytes) // granule)

    @staticmethod
    def of_variables(kind: str, variables: Sequence[Variable], **options: Any) -> Memory:
        """Variables one after another, with gaps."""
        places, at = [], GAP
        for variable in variables:
            at = -(-at // variable.alignment) * variable.alignment
            places.append(Place(variable.name, at, variable.size, at))
            at += variable.size + GAP
        return Memory(kind, places, **options)

    def place(self, name: str) -> Place:
        """Of a variable."""
        return next(place for place in self.places if place.name == name)

    def fill(self, place: Place, data: bytes | np.ndarray) -> None:
        """Put bytes at a place's begin."""
        found = np.frombuffer(data, np.uint8)
        self.bytes[place.at : place.at + len(found)] = found
        self.defined[place.at : place.at + len(found)] = True

    def load(
        self,
        addresses: np.ndarray,
        dtype: np.dtype[Any],
        count: int,
        copy: np.ndarray,
        who: Who,
        *,
        promised: bool = False,
    ) -> list[np.ndarray]:
        """``count`` neighbouring values for each thread."""
        size = dtype.itemsize * count
        offsets = self._offsets(addresses, size, copy, who, "reads")
        undefined = ~(self.defined[offsets] & self.defined[offsets + size - 1])
        if undefined.any():
            self._refuse(undefined, addresses, who, "reads what was never written in")
        if promised:
            self.promised[offsets] = True
        elif self.races is not None:
            self.races.load(self._touch(offsets, size, who))
        values = self.bytes.view(dtype)
        index = offsets // dtype.itemsize
        return [values[index + i] for i in range(count)]

    def store(
        self, addresses: np.ndarray, values: Sequence[np.ndarray], copy: np.ndarray, who: Who
    ) -> None:
        """Neighbouring values of each thread."""
        dtype = values[0].dtype
        offsets = self._offsets(addresses, dtype.itemsize * len(values), copy, who, "writes")
        if self.races is not None:
            self.races.store(self._touch(offsets, dtype.itemsize * len(values), who))
        view = self.bytes.view(dtype)
        for i, value in enumerate(values):
            view[offsets // dtype.itemsize + i] = value
        for i in range(dtype.itemsize * len(values)):
            self.defined[offsets + i] = self.changed[offsets + i] = True

    def add(
        self, addresses: np.ndarray, values: np.ndarray, copy: np.ndarray, who: Who
    ) -> np.ndarray:
        """What was there before, as if the threads came one after the other."""
        offsets = self._offsets(addresses, values.dtype.itemsize, copy, who, "changes")
        if not self.defined[offsets].all():
            self._refuse(
                ~self.defined[offsets], addresses, who, "adds to what was never written in"
            )
        if self.races is not None:
            self.races.store(self._touch(offsets, values.dtype.itemsize, who), atomic=True)
        view, index = self.bytes.view(values.dtype), offsets // values.dtype.itemsize
        order = np.argsort(index, kind="stable")
        sums = np.cumsum(values[order], dtype=values.dtype)
        starts = np.flatnonzero(np.diff(index[order], prepend=-1))
        before = sums - values[order]
        earlier = np.repeat(before[starts], np.diff(np.append(starts, len(order))))
        found = np.empty_like(values)
        found[order] = view[index[order]] + before - earlier
        np.add.at(view, index, values)
        for i in range(values.dtype.itemsize):
            self.changed[offsets + i] = True
        return found

    def check_promises(self) -> None:
        """At the end of a launch."""
        broken = np.flatnonzero(self.promised & self.changed)
        if len(broken):
            raise PtxError(f"ld.{self.kind}.nc of what the kernel writes, in {len(broken)} places")

    def _offsets(
        self, addresses: np.ndarray, size: int, copy: np.ndarray, who: Who, does: str
    ) -> np.ndarray:
        """Where they lie in the bytes, checked."""
        addresses = addresses.astype(np.int64)
        if (addresses & (size - 1)).any():
            self._refuse(
                (addresses & (size - 1)) != 0, addresses, who, f"{does} {size} bytes misaligned in"
            )
        number = np.maximum(np.searchsorted(self.begins, addresses, "right") - 1, 0)
        # Mostly all threads are at one place.
        place = number[0] if len(number) and (number == number[0]).all() else number
        inside = addresses - self.begins[place]
        bad = inside + size > self.sizes[place]
        if bad.any():
            self._refuse(bad, addresses, who, f"{does} {size} bytes out of bounds of")
        if self.traffic is not None:
            for one in np.unique(number):
                which = number == one
                name = self.places[one - 1].name
                self.traffic.count(name, addresses[which], size, who.threads[which])
        return inside + self.ats[place] + copy * self.stride

    def _touch(self, offsets: np.ndarray, size: int, who: Who) -> Touch:
        assert self.granule is not None
        steps = max(1, size // self.granule)
        first = offsets // self.granule
        places = np.concatenate([first + i for i in range(steps)])
        return Touch(places, *(np.tile(array, steps) for array in who))

    def _refuse(self, bad: np.ndarray, addresses: np.ndarray, who: Who, does: str) -> None:
        at = int(np.flatnonzero(bad)[0])
        address = int(addresses[at])
        near = [place for place in self.places if place.begin <= address]
        where = f"{near[-1].name} + {address - near[-1].begin}" if near else "nothing"
        raise PtxError(
            f"thread {int(who.threads[at])} of block {int(who.blocks[at])} {does} {self.kind} "
            f"memory at {address:#x} ({where}); {int(bad.sum())} threads do"
        )
