"""preprocess -> engine -> anomaly_map: the one way in which every score is made."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle import Bundle
from edgead.engine import Engine
from edgead.errors import DeviceError
from edgead.ignore_mask import roi_of
from edgead.preprocess import Preprocessor


class Measurement(NamedTuple):
    """What the pipeline found in a frame, and ``perf_counter`` seconds at the stages' borders."""

    score: float
    map: NDArray[np.float32]  # [height, width], memory of its own
    roi: NDArray[np.uint8] | None  # [height, width] of the map, 0 where it is ignored
    started: float
    preprocessed: float
    inferred: float
    finished: float


class Pipeline:
    """The three stages with the buffers of one thread; not to be shared between threads.

    ``color`` is the order of a frame's channels: "bgr", "rgb" or "gray".
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

    def __call__(self, frame: NDArray[Any]) -> Measurement:
        """Score one frame.

        Errors: InputError for an array that is no frame; DeviceError when the engine fails or gives
        features that are not finite.
        """
        started = perf_counter()
        self._preprocess(frame, self._image)
        preprocessed = perf_counter()
        pairs = self._session.infer()
        inferred = perf_counter()
        maps, scores = self._anomaly_map(pairs, np.empty(self._map_shape, np.float32))
        score = float(scores[0])
        if not math.isfinite(score):
            raise DeviceError(
                f"{self._engine.device} ({self._engine.version}) gave features that are not finite "
                f"(score {score}); the frame was valid, so the engine or its memory is at fault: "
                f"run edgead verify, export the bundle again if that fails"
            )
        finished = perf_counter()
        return Measurement(score, maps[0], self._roi, started, preprocessed, inferred, finished)
