"""preprocess -> engine -> anomaly_map: the one way in which every score is made."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import AnomalyMap
from edgead.bundle.roi import roi_of
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import Engine, PipelineOutput, check_finite
from edgead.preprocess import Preprocessor


class Pipeline:
    """``FramePipeline`` for frames that the network sees as one image.

    Raises:
        BundleError: an ignore mask that does not fit.
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

    def run(self, frame: NDArray[Any], hasher: Hasher | None = None) -> PipelineOutput:
        """See ``FramePipeline``."""
        started = perf_counter()
        self._preprocess.run(frame, self._image)
        preprocessed = perf_counter()
        pairs = self._session.infer()
        inferred = perf_counter()
        maps, scores = self._anomaly_map.run(pairs, np.empty(self._map_shape, np.float32))
        finished = perf_counter()
        if hasher is not None:
            hasher.add(self._image, pairs)
        score = float(scores[0])
        check_finite(score, self._engine.device, self._engine.version)
        kernels = self._engine.kernels
        return PipelineOutput(
            score, maps[0], self._roi, kernels, started, preprocessed, inferred, finished
        )

    def close(self) -> None:
        """Nothing: this memory goes with the object."""
