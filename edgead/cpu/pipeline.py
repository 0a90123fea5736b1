"""preprocess -> engine -> anomaly_map: the one way in which every score is made."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle.ignore_mask import ignored_in, roi_of, to_roi
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import Engine
from edgead.engine.lazy_array import Later
from edgead.errors import DeviceError
from edgead.preprocess import Preprocessor
from edgead.tiling import TilePlan, plan_tiles


class Measurement(NamedTuple):
    """What the pipeline found in a frame, and ``perf_counter`` seconds at the stages' borders.

    Of a tiled frame the stages of all tiles count together, as if each had run in one go; where
    tiles run side by side, each stage has its share of the time that passed. A stage that the
    device's clock measured counts as if it had begun where the one before ended.
    """

    score: float
    map: NDArray[np.float32] | Later  # [height, width], memory of its own
    roi: NDArray[np.uint8] | None  # [height, width] of the map, 0 where it is ignored
    started: float
    preprocessed: float
    inferred: float
    finished: float
    copied: float | None = None  # seconds of copying to the device and back, in no other stage
    frame: Later | None = None  # of a frame that lies in the memory of a device


class FramePipeline(Protocol):
    """The three stages on some device, with the buffers of one thread."""

    def __call__(self, frame: Any, hasher: Hasher | None = None) -> Measurement:
        """Score one frame; see ``Pipeline``."""

    def close(self) -> None:
        """Let go of the buffers; what was found stays. A second call does nothing."""


class Pipeline:
    """The three stages in host memory, around a Session; not to be shared between threads.

    For frames that the network sees as one image; ``tiled_pipeline`` has those of tiles.
    ``color`` is the order of a frame's channels: "bgr", "rgb" or "gray".

    Errors: BundleError for an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle, engine: Engine, color: str = "bgr") -> None:
        manifest = bundle.manifest
        self._preprocess = Preprocessor(manifest.preprocess_params(), color)
        self._roi = roi_of(bundle)
        self._anomaly_map = AnomalyMap(manifest.map_params(), manifest.shapes(), roi=self._roi)
        self._session = engine.session()
        self._image = self._session.image[0]
        self._map_shape = (1, *manifest.map_params().size)
        self._engine = engine

    def __call__(self, frame: NDArray[Any], hasher: Hasher | None = None) -> Measurement:
        """Score one frame; ``hasher`` is shown what the stages made. Its time is in none of them.

        Errors: InputError for an array that is no frame; DeviceError when the engine fails or gives
        features that are not finite.
        """
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
        check_finite(score, self._engine)
        return Measurement(score, maps[0], self._roi, started, preprocessed, inferred, finished)

    def close(self) -> None:
        """Nothing: this memory goes with the object."""


class TilePlans:
    """The tiles and the region of interest of frames of one size, kept for the next frame.

    Errors: BundleError for an ignore mask that does not fit.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._ignored = ignored_in(bundle)
        self._last: tuple[tuple[int, ...], TilePlan, NDArray[np.uint8] | None] | None = None

    def __call__(self, shape: tuple[int, ...]) -> tuple[TilePlan, NDArray[np.uint8] | None]:
        """Of a frame of this shape [H, W, …]; the second is None without an ignore mask.

        Errors: InputError for a frame that is smaller than a tile.
        """
        size = (shape[0], shape[1])
        if self._last is None or self._last[0] != size:
            assert self._manifest.tiling is not None
            plan = plan_tiles(self._manifest.tiling, size, self._manifest.map.size)
            roi = None if self._ignored is None else to_roi(self._ignored, plan.map_size)
            self._last = (size, plan, roi)
        return self._last[1:]


def check_finite(score: float, engine: Engine) -> None:
    """Raise DeviceError for a score that is NaN or infinite."""
    if not math.isfinite(score):
        raise DeviceError(
            f"{engine.device} ({engine.version}) gave features that are not finite (score "
            f"{score}); the frame was valid, so the engine or its memory is at fault: run edgead "
            "verify, export the bundle again if that fails"
        )
