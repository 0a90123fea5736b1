"""preprocess -> engine -> anomaly_map: the one way in which every score is made."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle import Bundle
from edgead.digests import Hasher
from edgead.engine import Engine
from edgead.errors import DeviceError
from edgead.ignore_mask import ignored_in, roi_of, to_roi
from edgead.preprocess import Preprocessor, check_frame
from edgead.tiling import TilePlan, plan_tiles, pool


class Measurement(NamedTuple):
    """What the pipeline found in a frame, and ``perf_counter`` seconds at the stages' borders.

    Of a tiled frame the stages of all tiles count together, as if each had run in one go.
    """

    score: float
    map: NDArray[np.float32]  # [height, width], memory of its own
    roi: NDArray[np.uint8] | None  # [height, width] of the map, 0 where it is ignored
    started: float
    preprocessed: float
    inferred: float
    finished: float


class _Tiles(NamedTuple):
    """What follows from the size of a tiled frame."""

    frame_size: tuple[int, int]
    plan: TilePlan
    roi: NDArray[np.uint8] | None


class FramePipeline(Protocol):
    """The three stages on some device, with the buffers of one thread."""

    def __call__(self, frame: NDArray[Any], hasher: Hasher | None = None) -> Measurement:
        """Score one frame; see ``Pipeline``."""


class Pipeline:
    """The three stages in host memory, around a Session; not to be shared between threads.

    ``color`` is the order of a frame's channels: "bgr", "rgb" or "gray".

    Errors: BundleError for an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle, engine: Engine, color: str = "bgr") -> None:
        manifest = bundle.manifest
        self._manifest = manifest
        self._preprocess = Preprocessor(manifest.preprocess_params(), color)
        self._ignored = ignored_in(bundle)
        self._roi = roi_of(bundle) if manifest.tiling is None else None
        self._anomaly_map = AnomalyMap(manifest.map_params(), manifest.shapes(), roi=self._roi)
        self._session = engine.session()
        self._image = self._session.image[0]
        self._map_shape = (1, *manifest.map_params().size)
        self._engine = engine
        self._tiles: _Tiles | None = None

    def __call__(self, frame: NDArray[Any], hasher: Hasher | None = None) -> Measurement:
        """Score one frame; ``hasher`` is shown what the stages made. Its time is in none of them.

        Errors: InputError for an array that is no frame, or smaller than a tile; DeviceError when
        the engine fails or gives features that are not finite.
        """
        run = self._whole if self._manifest.tiling is None else self._tiled
        found = run(frame, hasher)
        if not math.isfinite(found.score):
            raise DeviceError(
                f"{self._engine.device} ({self._engine.version}) gave features that are not finite "
                f"(score {found.score}); the frame was valid, so the engine or its memory is at "
                "fault: run edgead verify, export the bundle again if that fails"
            )
        return found

    def _whole(self, frame: NDArray[Any], hasher: Hasher | None) -> Measurement:
        started = perf_counter()
        self._preprocess(frame, self._image)
        preprocessed = perf_counter()
        pairs = self._session.infer()
        inferred = perf_counter()
        maps, scores = self._anomaly_map(pairs, np.empty(self._map_shape, np.float32))
        finished = perf_counter()
        if hasher is not None:
            hasher.add(self._image, pairs)
        score = float(scores[0])
        return Measurement(score, maps[0], self._roi, started, preprocessed, inferred, finished)

    def _tiled(self, frame: NDArray[Any], hasher: Hasher | None) -> Measurement:
        """Every tile, a view of the frame, through the stages; maps blended where they overlap."""
        started = perf_counter()
        check_frame(frame, self._preprocess.color)
        plan, roi = self._plan(frame)
        (height, width), (rows, columns) = self._manifest.map.size, (plan.rows, plan.columns)
        assert self._manifest.tiling is not None
        tile_height, tile_width = self._manifest.tiling.size
        stitched = np.zeros(plan.map_size, np.float32)
        one = np.empty(self._map_shape, np.float32)
        preprocessing = inferring = hashing = 0.0
        for top, y, down in zip(rows.starts, rows.offsets, rows.weights, strict=True):
            for left, x, across in zip(
                columns.starts, columns.offsets, columns.weights, strict=True
            ):
                window = slice(y, y + height), slice(x, x + width)
                if roi is not None and not roi[window].any():
                    continue
                begun = perf_counter()
                self._preprocess(
                    frame[top : top + tile_height, left : left + tile_width], self._image
                )
                preprocessed = perf_counter()
                pairs = self._session.infer()
                inferred = perf_counter()
                preprocessing += preprocessed - begun
                inferring += inferred - preprocessed
                self._anomaly_map(pairs, one)
                one[0] *= down[:, None]
                one[0] *= across
                stitched[window] += one[0]
                if hasher is not None:
                    begun = perf_counter()
                    hasher.add(self._image, pairs)
                    hashing += perf_counter() - begun
        if roi is not None:
            stitched[roi == 0] = 0.0
        score = pool(stitched, roi, self._manifest.map)
        finished = perf_counter() - hashing
        preprocessed = started + preprocessing
        return Measurement(
            score, stitched, roi, started, preprocessed, preprocessed + inferring, finished
        )

    def _plan(self, frame: NDArray[Any]) -> tuple[TilePlan, NDArray[np.uint8] | None]:
        """The tiles and the region of interest of the frame's size; kept for the next frame."""
        size = (frame.shape[0], frame.shape[1])
        if self._tiles is None or self._tiles.frame_size != size:
            assert self._manifest.tiling is not None
            plan = plan_tiles(self._manifest.tiling, size, self._manifest.map.size)
            roi = None if self._ignored is None else to_roi(self._ignored, plan.map_size)
            self._tiles = _Tiles(size, plan, roi)
        return self._tiles.plan, self._tiles.roi
