"""The stages of frames that are seen in tiles, several tiles side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle import Bundle
from edgead.digests import Hasher
from edgead.engine import Engine, Pairs
from edgead.ignore_mask import ignored_in, to_roi
from edgead.pipeline import Measurement, checked_score
from edgead.preprocess import Preprocessor, check_frame
from edgead.tiling import TilePlan, plan_tiles, pool

Window = tuple[slice, slice]


class _Tile(NamedTuple):
    """A piece of a frame, its place in the stitched map, its weights there."""

    piece: Window
    window: Window
    down: NDArray[np.float32]  # [height, 1] of the tile's map
    across: NDArray[np.float32]  # [width]


class _Times(NamedTuple):
    """Seconds of one tile, or of all."""

    preprocess: float
    engine: float
    anomaly_map: float


class _Sizes(NamedTuple):
    """What follows from the size of a frame; kept for the next one."""

    frame_size: tuple[int, int]
    plan: TilePlan
    roi: NDArray[np.uint8] | None


class _Lane:
    """The buffers of one tile at a time. ``map`` is [1, height, width], weighted."""

    def __init__(self, bundle: Bundle, engine: Engine, color: str) -> None:
        manifest = bundle.manifest
        self._preprocess = Preprocessor(manifest.preprocess_params(), color)
        self._session = engine.session()
        self._anomaly_map = AnomalyMap(manifest.map_params(), manifest.shapes())
        self.image: NDArray[np.float32] = self._session.image[0]
        self.map = np.empty((1, *manifest.map_params().size), np.float32)
        self.pairs: Pairs = []

    def run(self, frame: NDArray[Any], tile: _Tile) -> _Times:
        """Fill image, pairs and map. The kernels and the engine let other lanes run meanwhile."""
        started = perf_counter()
        self._preprocess(frame[tile.piece], self.image)
        preprocessed = perf_counter()
        self.pairs = self._session.infer()
        inferred = perf_counter()
        self._anomaly_map(self.pairs, self.map)
        self.map[0] *= tile.down
        self.map[0] *= tile.across
        finished = perf_counter()
        return _Times(preprocessed - started, inferred - preprocessed, finished - inferred)


class TiledPipeline:
    """Every tile, a view of the frame, through the stages; maps blended where they overlap.

    ``lanes`` tiles run at once, each in a thread of its own: one small image cannot keep many cores
    busy, several can. The tiles are stitched in one order whatever the lanes, so a score does not
    depend on their number. Not to be shared between threads.

    Errors: BundleError for an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle, engine: Engine, color: str = "bgr", lanes: int = 1) -> None:
        self._manifest = bundle.manifest
        self._color = color
        self._engine = engine
        self._ignored = ignored_in(bundle)
        self._lanes = [_Lane(bundle, engine, color) for _ in range(lanes)]
        # Its threads end with this object.
        self._pool = ThreadPoolExecutor(lanes, "tile") if lanes > 1 else None
        self._sizes: _Sizes | None = None

    def __call__(self, frame: NDArray[Any], hasher: Hasher | None = None) -> Measurement:
        """Score one frame; ``hasher`` is shown what the stages made. Its time is in none of them.

        Errors: InputError for an array that is no frame, or smaller than a tile; DeviceError when
        the engine fails or gives features that are not finite.
        """
        started = perf_counter()
        check_frame(frame, self._color)
        sizes = self._sizes_of(frame)
        stitched = np.zeros(sizes.plan.map_size, np.float32)
        spent, hashing = np.zeros(len(_Times._fields)), 0.0
        for tile, lane, times in self._run_all(frame, sizes):
            stitched[tile.window] += lane.map[0]
            spent += times
            if hasher is not None:
                begun = perf_counter()
                hasher.add(lane.image, lane.pairs)
                hashing += perf_counter() - begun
        if sizes.roi is not None:
            stitched[sizes.roi == 0] = 0.0
        score = checked_score(pool(stitched, sizes.roi, self._manifest.map), self._engine)
        finished = perf_counter() - hashing
        share = min(1.0, (finished - started) / float(spent.sum()))  # less than 1 side by side
        preprocessed = started + share * spent[0]
        inferred = preprocessed + share * spent[1]
        return Measurement(score, stitched, sizes.roi, started, preprocessed, inferred, finished)

    def _run_all(self, frame: NDArray[Any], sizes: _Sizes) -> Iterator[tuple[_Tile, _Lane, _Times]]:
        """Each tile with the lane that ran it, in the order of the plan.

        The lane is free for another tile as soon as the next one is asked for.
        """
        tiles = self._tiles(sizes)
        if self._pool is None:
            for tile in tiles:
                yield tile, self._lanes[0], self._lanes[0].run(frame, tile)
            return
        running: deque[tuple[_Tile, _Lane, Future[_Times]]] = deque()
        free = deque(self._lanes)
        try:
            for tile in tiles:
                if not free:
                    done, lane, future = running.popleft()
                    yield done, lane, future.result()
                    free.append(lane)
                lane = free.popleft()
                running.append((tile, lane, self._pool.submit(lane.run, frame, tile)))
            while running:
                done, lane, future = running.popleft()
                yield done, lane, future.result()
        finally:  # no lane may still be at work when the next frame comes
            wait([future for _, _, future in running])

    def _tiles(self, sizes: _Sizes) -> Iterator[_Tile]:
        """Row by row; those that are ignored whole are left out."""
        assert self._manifest.tiling is not None  # else the engine gives another pipeline
        (tall, wide), (height, width) = self._manifest.tiling.size, self._manifest.map.size
        rows, columns = sizes.plan.rows, sizes.plan.columns
        for top, y, down in zip(rows.starts, rows.offsets, rows.weights, strict=True):
            for left, x, across in zip(
                columns.starts, columns.offsets, columns.weights, strict=True
            ):
                window = slice(y, y + height), slice(x, x + width)
                if sizes.roi is None or sizes.roi[window].any():
                    piece = slice(top, top + tall), slice(left, left + wide)
                    yield _Tile(piece, window, down[:, None], across)

    def _sizes_of(self, frame: NDArray[Any]) -> _Sizes:
        """The tiles and the region of interest of the frame's size."""
        size = (frame.shape[0], frame.shape[1])
        if self._sizes is None or self._sizes.frame_size != size:
            assert self._manifest.tiling is not None
            plan = plan_tiles(self._manifest.tiling, size, self._manifest.map.size)
            roi = None if self._ignored is None else to_roi(self._ignored, plan.map_size)
            self._sizes = _Sizes(size, plan, roi)
        return self._sizes
