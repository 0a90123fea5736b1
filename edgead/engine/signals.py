"""The distances of a frame to all that was learnt, summed for the map and for the score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import Manifest
from edgead.engine.interface import Engine

F32 = NDArray[np.float32]


class Signals:
    """The distances of one thread's frames.

    ``scored``: [1, 1, H, W], the sum that the score is pooled from; None: the score is the map's.

    Args:
        manifest: of the bundle.
        engine: has what was learnt, opened.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self._opened = (*engine.memories, *engine.whitenings)
        self._distances = [signal.distances() for signal in self._opened]
        self._raw = [np.zeros((1, *signal.entry.size), np.float32) for signal in self._opened]
        self._pairs = [
            (np.zeros_like(raw[None]), np.zeros_like(raw[None]))
            for raw, signal in zip(self._raw, self._opened, strict=True)
            if signal.shown is not None
        ]
        size = manifest.scored_size()
        self.scored: F32 | None = None if size is None else np.zeros((1, 1, *size), np.float32)

    def run(self, features: list[F32]) -> list[tuple[F32, F32]]:
        """The distances of one frame as pairs for anomaly_map: (distance, 0), as the map counts
        them; ``scored`` is filled too. The views are valid until the next ``run``.

        Args:
            features: of each signal, [1, C, H, W], as ``Session.features`` has them.
        """
        shown = iter(self._pairs)
        if self.scored is not None:
            self.scored[:] = 0
        parts = zip(features, self._opened, self._distances, self._raw, strict=True)
        for values, signal, distances, raw in parts:
            distances.run(values, raw)
            if signal.shown is not None:
                np.multiply(raw, signal.shown, out=next(shown)[0][0])
            if self.scored is not None and signal.scored is not None:
                self.scored += raw * signal.scored
        return self._pairs
