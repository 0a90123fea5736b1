"""The distances of a frame to all that was learnt, summed for the map and for the score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import Manifest
from edgead.engine.interface import Engine
from edgead.engine.memories import MemoryDistances
from edgead.engine.whitening import WhitenedDistances

F32 = NDArray[np.float32]


class Signals:
    """The distances of one thread's frames.

    ``scored``: [1, 1, H, W], the sum that the score is pooled from; None: the score is the map's.

    Args:
        manifest: of the bundle.
        engine: has what was learnt, opened.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self._engine = engine
        self._memories = MemoryDistances(engine.memories)
        self._whitened = [WhitenedDistances(one) for one in engine.whitenings]
        size = manifest.scored_size()
        self.scored: F32 | None = None if size is None else np.zeros((1, 1, *size), np.float32)

    def run(self, features: list[F32]) -> list[tuple[F32, F32]]:
        """The distances of one frame as pairs for anomaly_map: (distance, 0), as the map counts
        them; ``scored`` is filled too. The views are valid until the next ``run``.

        Args:
            features: of each signal, [1, C, H, W], as ``Session.features`` has them.
        """
        count = len(self._engine.memories)
        pairs = self._memories.run(features[:count])
        far = list(self._memories.far)
        for values, one, whitened in zip(
            features[count:], self._engine.whitenings, self._whitened, strict=True
        ):
            far.append(whitened.run(values))
            if one.counts is not None:
                pairs.append(whitened.pair())
        if self.scored is not None:
            self.scored[:] = 0
            opened = (*self._engine.memories, *self._engine.whitenings)
            for signal, distance in zip(opened, far, strict=True):
                if signal.scored is not None:
                    self.scored += distance * signal.scored
        return pairs
