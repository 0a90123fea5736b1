"""preprocess -> engine -> anomaly_map in host memory, of whole frames and of frames in tiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import accumulate
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.anomaly_map import AnomalyMap, pool
from edgead.bundle.roi import ignored_in, roi_of
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import HostEngine, Pairs, PipelineOutput
from edgead.engine.signals import OpenedSignals, Signals
from edgead.engine.tile_plans import TilePlans
from edgead.images.bits import check_values
from edgead.preprocess import Preprocessor, check_frame
from edgead.tiling import Tile, Tiling


class _Times(NamedTuple):
    """Seconds of one frame or tile, or of all tiles."""

    preprocess: float
    engine: float
    anomaly_map: float


class Comparison:
    """What follows from what the graph gave: map and score of a frame or tile, and their buffers.

    ``map``: [1, height, width]; ``scored``: what the score is pooled from, alike; None: the map.
    """

    def __init__(
        self, bundle: Bundle, signals: OpenedSignals, roi: NDArray[np.uint8] | None = None
    ) -> None:
        manifest = bundle.manifest
        self._signals = Signals(signals)
        self._compared, self._summed = self._signals.pairs, self._signals.scored
        params, size = manifest.map_params(), manifest.scored_size()
        self._anomaly_map = AnomalyMap(params, manifest.shapes(), roi=roi)
        self.map = np.empty((1, *params.size), np.float32)
        self.scored: NDArray[np.float32] | None = None
        if size is not None:
            alone = replace(params, weights=(1.0,))
            self._score_map = AnomalyMap(alone, [(1, *size)], roi=roi)
            self.scored = np.empty_like(self.map)
        self.pairs: Pairs = []
        self.score = 0.0

    def run(self, pairs: Pairs, features: list[NDArray[np.float32]]) -> None:
        """Fill pairs, map and score.

        Args:
            pairs: as ``Session.infer`` gives them.
            features: as ``Session.features``.
        """
        self._signals.run(features)
        self.pairs = [*pairs, *self._compared]
        _, scores = self._anomaly_map.run(self.pairs, self.map)
        if self.scored is not None and self._summed is not None:
            _, scores = self._score_map.run([self._summed], self.scored)
        self.score = float(scores[0])


class _Stages(Comparison):
    """The three stages and their buffers for one frame or tile.

    ``checked``: the caller has looked at the values of the frame.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: HostEngine,
        color: str,
        roi: NDArray[np.uint8] | None = None,
        *,
        checked: bool = False,
    ) -> None:
        super().__init__(bundle, engine.signals, roi)
        params = bundle.manifest.preprocess_params()
        self._preprocess = Preprocessor(params, color, checked=checked)
        self._session = engine.session()
        self.image: NDArray[np.float32] = self._session.image[0]

    def score_frame(self, frame: NDArray[Any]) -> _Times:
        """Fill image, pairs, map and score. Other threads run meanwhile."""
        started = perf_counter()
        self._preprocess.run(frame, self.image)
        preprocessed = perf_counter()
        pairs = self._session.infer()
        inferred = perf_counter()
        self.run(pairs, self._session.features)
        finished = perf_counter()
        return _Times(preprocessed - started, inferred - preprocessed, finished - inferred)


class Pipeline:
    """``FramePipeline`` for frames that the network sees as one image.

    Raises:
        BundleError: an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle, engine: HostEngine, color: str = "bgr") -> None:
        self._engine, self._roi = engine, roi_of(bundle)
        self._stages = _Stages(bundle, engine, color, self._roi)

    def run(self, frame: Any, hasher: Hasher | None = None) -> PipelineOutput:
        """See ``FramePipeline``."""
        stages = self._stages
        stages.map = np.empty_like(stages.map)  # the last one is a Result's
        stages.scored = None if stages.scored is None else np.empty_like(stages.scored)
        started = perf_counter()
        _, preprocessed, inferred, finished = accumulate(stages.score_frame(frame), initial=started)
        if hasher is not None:
            hasher.add(stages.image, stages.pairs)
        _cpu.check_score(stages.score, self._engine.device, self._engine.version)
        kernels = self._engine.kernels
        return PipelineOutput(
            stages.score,
            stages.map[0],
            self._roi,
            kernels,
            started,
            preprocessed,
            inferred,
            finished,
            scored=None if stages.scored is None else stages.scored[0],
        )

    def close(self) -> None:
        """Nothing: this memory goes with the object."""


class TiledPipeline:
    """``FramePipeline`` of tiles, views of the frame, whose maps are blended where they overlap.

    Args:
        lanes: tiles that run at once, each in a thread of its own: one small image cannot keep many
            cores busy. They are stitched in one order, so a score does not depend on the lanes.

    Raises:
        BundleError: an ignore mask that does not fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        tiling: Tiling,
        engine: HostEngine,
        color: str = "bgr",
        lanes: int = 1,
    ) -> None:
        self._map_params = bundle.manifest.map
        self._scored = bundle.manifest.scored_size() is not None
        self._bit_depth = bundle.manifest.preprocess.bit_depth
        self._tiling, self._color, self._engine = tiling, color, engine
        self._plans = TilePlans(tiling, bundle.manifest.map.size, ignored_in(bundle))
        self._lanes = [_Stages(bundle, engine, color, checked=True) for _ in range(lanes)]
        # Its threads end with this object.
        self._pool = ThreadPoolExecutor(lanes, "tile") if lanes > 1 else None

    def run(self, frame: Any, hasher: Hasher | None = None) -> PipelineOutput:
        """See ``FramePipeline``."""
        started = perf_counter()
        frame = check_frame(frame, self._color)
        check_values(frame, self._bit_depth)
        plan, roi = self._plans.run(frame.shape)
        stitched = np.zeros(plan.map_size, np.float32)
        scored = np.zeros_like(stitched) if self._scored else None
        spent, hashing = np.zeros(len(_Times._fields)), 0.0
        for tile, lane, times in self._run_all(frame, plan.tiles(roi)):
            tile.add(lane.map[0], stitched)
            if scored is not None and lane.scored is not None:
                tile.add(lane.scored[0], scored)
            spent += times
            if hasher is not None:
                begun = perf_counter()
                hasher.add(lane.image, lane.pairs)
                hashing += perf_counter() - begun
        if roi is not None:
            stitched[roi == 0] = 0.0
        score = pool(stitched if scored is None else scored, roi, self._map_params)
        _cpu.check_score(score, self._engine.device, self._engine.version)
        finished = perf_counter() - hashing
        share = min(1.0, (finished - started) / float(spent.sum()))  # less than 1 side by side
        preprocessed = started + share * spent[0]
        inferred = preprocessed + share * spent[1]
        kernels = self._engine.kernels
        return PipelineOutput(
            score,
            stitched,
            roi,
            kernels,
            started,
            preprocessed,
            inferred,
            finished,
            scored=scored,
        )

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _run_all(
        self, frame: NDArray[Any], tiles: Iterator[Tile]
    ) -> Iterator[tuple[Tile, _Stages, _Times]]:
        """Each tile, in the order given, with the lane that ran it, whose buffers hold it until the
        next tile is asked for."""
        height, width = self._tiling.size
        running: deque[tuple[Tile, _Stages, Future[_Times]]] = deque()
        free = deque(self._lanes)
        try:
            for tile in tiles:
                piece = frame[tile.top : tile.top + height, tile.left : tile.left + width]
                if self._pool is None:
                    yield tile, free[0], free[0].score_frame(piece)
                    continue
                if not free:
                    done, lane, future = running.popleft()
                    yield done, lane, future.result()
                    free.append(lane)
                lane = free.popleft()
                running.append((tile, lane, self._pool.submit(lane.score_frame, piece)))
            while running:
                done, lane, future = running.popleft()
                yield done, lane, future.result()
        finally:  # no lane may still be at work when the next frame comes
            wait([future for _, _, future in running])
