"""Finds two threads that touch one place, one of them writing, with no barrier between.

Of each place are kept: who wrote it last and after how many of the block's barriers (its phase),
who read it last, and whether others read it in the same phase or from other blocks. Barriers order
the threads of a block; nothing orders blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .text import PtxError

NOBODY = -1


class Touch(NamedTuple):
    """An access, one entry for each thread and place."""

    places: np.ndarray  # int64
    threads: np.ndarray  # int64, of the whole grid
    blocks: np.ndarray  # int64
    phases: np.ndarray  # int64

    def only(self, which: np.ndarray) -> Touch:
        return Touch(*(array[which] for array in self))


class Races:
    """The history of ``count`` places of one memory."""

    def __init__(self, count: int) -> None:
        # Of writers and readers: thread, block, phase of the last one.
        self.written = np.full((3, count), NOBODY, np.int64)
        self.read = np.full((3, count), NOBODY, np.int64)
        self.atomic = np.zeros(count, np.bool_)  # the last write was
        self.others = np.zeros(count, np.bool_)  # read by another thread in that phase
        self.elsewhere = np.zeros(count, np.bool_)  # read by another block, at any time

    def load(self, touch: Touch) -> None:
        """Threads read."""
        self._refuse(touch, self._by_another(self.written, touch), "reads what", "writes")
        self._remember(touch)

    def store(self, touch: Touch, *, atomic: bool = False) -> None:
        """Threads write, or change in one step."""
        written = self._by_another(self.written, touch)
        if atomic:
            written &= ~self.atomic[touch.places]
        self._refuse(touch, written, "writes what", "writes")
        reader, block, phase = self.read[:, touch.places]
        now = (block == touch.blocks) & (phase == touch.phases)
        read = self._by_another(self.read, touch) | (now & self.others[touch.places])
        read |= self.elsewhere[touch.places]
        self._refuse(touch, read & (reader != NOBODY), "writes what", "reads")
        self.written[:, touch.places] = touch.threads, touch.blocks, touch.phases
        self.atomic[touch.places] = atomic
        if not atomic:
            twice = self.written[0, touch.places] != touch.threads
            self._refuse(touch, twice, "writes what", "writes in the same step")

    def _by_another(self, last: np.ndarray, touch: Touch) -> np.ndarray:
        thread, block, phase = last[:, touch.places]
        unordered = (block != touch.blocks) | (phase == touch.phases)
        return np.asarray((thread != NOBODY) & (thread != touch.threads) & unordered)

    def _remember(self, touch: Touch) -> None:
        places = touch.places
        thread, block, phase = self.read[:, places]
        now = (block == touch.blocks) & (phase == touch.phases)
        self.others[places] = now & (self.others[places] | (thread != touch.threads))
        self.elsewhere[places] |= (thread != NOBODY) & (block != touch.blocks)
        self.read[:, places] = touch.threads, touch.blocks, touch.phases
        # Where several threads read one place in this step, only the last of them is kept.
        lost = self.read[0, places] != touch.threads
        self.others[places[lost]] = True
        other_block = self.read[1, places] != touch.blocks
        self.elsewhere[places[other_block]] = True

    def _refuse(self, touch: Touch, bad: np.ndarray, does: str, did: str) -> None:
        if not bad.any():
            return
        at = int(np.flatnonzero(bad)[0])
        thread, block = int(touch.threads[at]), int(touch.blocks[at])
        raise PtxError(
            f"race: thread {thread} of block {block} {does} another thread {did}, with no "
            f"barrier between ({int(bad.sum())} such accesses)"
        )
