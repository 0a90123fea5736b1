"""The Detector: open a bundle, qualify its engine, score frames."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterable
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgead import _cpu, calibration
from edgead.bundle import Bundle, open_bundle
from edgead.digests import Hasher, Served
from edgead.engine import Engine, open_engine
from edgead.errors import EdgeadError, InputError
from edgead.pipeline import FramePipeline
from edgead.qualification import qualify
from edgead.result import Result, Scale


class _Limits(NamedTuple):
    """What follows from the allowed false-reject rate; replaced as a whole, for other threads."""

    rate: float
    threshold: float
    scale: Scale


class Detector:
    """Scores frames with the engine of a bundle, after it has reproduced the golden frames.

    ``engine``: path of a bundle, or an opened one. ``device``: "auto", "cpu", "cuda", "cuda:N".
    ``color``: channel order of colour frames, "bgr" (what OpenCV gives) or "rgb"; "gray" accepts
    grey frames only. ``false_reject_rate``: share of good frames that may be called anomalous, None
    for the bundle's; n calibration images can promise 1 / (n + 1) at best. ``threads``: CPU threads
    of one inference, None for the engine's choice. ``precision``: "float32", "float16", "bfloat16"
    or "int8", None for the device's own (float32 on the CPU); one that the device or the bundle
    does not have is an error, and so is one that departs from the golden frames. ``digests``: give
    every Result the SHA-256 of what each stage made, for ``edgead replay``.

    One Detector may be used from several threads at once and gives the same results as from one.

    Errors: BundleError, DeviceError, QualificationError, CalibrationError, InputError.
    """

    def __init__(
        self,
        engine: str | os.PathLike[str] | Bundle,
        *,
        device: str = "auto",
        color: str = "bgr",
        false_reject_rate: float | None = None,
        threads: int | None = None,
        precision: str | None = None,
        digests: bool = False,
    ) -> None:
        self._bundle = engine if isinstance(engine, Bundle) else open_bundle(engine)
        manifest = self._bundle.manifest
        self._color = color
        self._ignore = manifest.ignore
        if false_reject_rate is None:
            false_reject_rate = manifest.calibration.false_reject_rate
        calibration.check_false_reject_rate(false_reject_rate, len(manifest.calibration.scores))
        opened = open_engine(self._bundle, device, threads, precision=precision)
        self._local = threading.local()
        self._local.pipeline = opened.pipeline(self._bundle, color)
        qualify(self._bundle, opened)
        self._engine: Engine | None = opened
        self._info = {
            "device": opened.device,
            "precision": opened.precision,
            "kernels": _cpu.simd_paths()[0],
            "version": opened.version,
            "bundle_sha256": self._bundle.sha256,
        }
        self._served: Served = {**self._info, "color": color, "threads": threads}
        self._digests = digests
        tolerance = manifest.tolerance_of(opened.precision)
        self._tolerance = tolerance.score
        # With max pooling a map's peak is its score, so both share one tolerance.
        pooled = manifest.map_params().pooling == "max"
        self._map_tolerance = tolerance.score if pooled else tolerance.map
        self._ranked = calibration.ranked(manifest.calibration.scores, self._tolerance)
        self._limits = self._limits_of(false_reject_rate)

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""
        return self._bundle

    @property
    def engine(self) -> Engine:
        """The engine that runs the graph.

        Errors: InputError when the Detector is closed.
        """
        if self._engine is None:
            raise InputError("this Detector is closed; make a new one with edgead.Detector(...)")
        return self._engine

    @property
    def color(self) -> str:
        """Channel order of colour frames."""
        return self._color

    @property
    def false_reject_rate(self) -> float:
        """The allowed share of good frames called anomalous; set it at any time.

        Errors (set): CalibrationError for a rate the calibration images cannot promise; InputError
        when the Detector is closed.
        """
        return self._limits.rate

    @false_reject_rate.setter
    def false_reject_rate(self, rate: float) -> None:
        _ = self.engine  # raises when closed, as scoring does
        self._limits = self._limits_of(rate)

    @property
    def threshold(self) -> float:
        """Frames that score above are anomalous at the present ``false_reject_rate``."""
        return self._limits.threshold

    def info(self) -> dict[str, str]:
        """What serves: "device", "precision", "kernels", "version" and "bundle_sha256"."""
        return dict(self._info)

    def score(self, frame: NDArray[Any]) -> Result:
        """Score one frame: [H, W], [H, W, 1] or [H, W, 3], uint8 or uint16, any size and strides.

        Errors: InputError for an array that is no frame, a frame of another size than the bundle's
        ignore mask was drawn on, or a closed Detector; DeviceError when the engine fails.
        """
        limits = self._limits
        if self._ignore is not None:
            self._ignore.check_frame(frame)
        hasher = Hasher(len(self._bundle.manifest.pairs)) if self._digests else None
        found = self._pipeline()(frame, hasher)
        p = calibration.ranked_p_value(found.score, self._ranked)
        digests = None if hasher is None else hasher.digests(frame, found.map, self._served)
        timings = {
            "preprocess": 1e3 * (found.preprocessed - found.started),
            "engine": 1e3 * (found.inferred - found.preprocessed),
            "anomaly_map": 1e3 * (found.finished - found.inferred),
            "total": 1e3 * (perf_counter() - found.started),
        }
        return Result(
            score=found.score,
            p_value=p,
            is_anomalous=p <= limits.rate,
            threshold=limits.threshold,
            map=found.map,
            timings_ms=timings,
            frame=frame,
            color=self._color,
            scale=limits.scale,
            roi=found.roi,
            digests=digests,
        )

    def score_batch(self, frames: Iterable[NDArray[Any]]) -> list[Result]:
        """Score frames one after the other; they may differ in size.

        Errors: those of ``score``; the sentence says which frame.
        """
        results = []
        for index, frame in enumerate(frames):
            try:
                results.append(self.score(frame))
            except EdgeadError as error:
                raise type(error)(f"frame {index} of the batch: {error}") from error
        return results

    def close(self) -> None:
        """Let go of the engine and its memory; a second call does nothing."""
        self._engine = None
        self._local = threading.local()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._engine is None else ""
        return (
            f"Detector({self._bundle.manifest.name}, {self._info['device']}, "
            f"{self._info['precision']}, false_reject_rate={self._limits.rate:g}, "
            f"threshold={self._limits.threshold:.6g}{state})"
        )

    def _pipeline(self) -> FramePipeline:
        """The buffers of this thread."""
        try:
            return self._local.pipeline  # type: ignore[no-any-return]
        except AttributeError:
            pipeline = self.engine.pipeline(self._bundle, self._color)
            self._local.pipeline = pipeline
            return pipeline

    def _limits_of(self, rate: float) -> _Limits:
        measured = self._bundle.manifest.calibration
        limit = calibration.threshold(measured.scores, rate, self._tolerance)
        scale = Scale(
            typical=statistics.median(measured.peaks),
            threshold=calibration.threshold(measured.peaks, rate, self._map_tolerance),
        )
        return _Limits(float(rate), limit, scale)
