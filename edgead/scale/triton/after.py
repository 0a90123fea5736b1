"""From features that another engine computed to a Result, by the kernels of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu, calibration
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.roi import roi_of
from edgead.bundle.storage import Bundle
from edgead.cpu.pipeline import Comparison
from edgead.cpu.processor import free_memory
from edgead.engine.interface import PipelineOutput, Qualified
from edgead.engine.signals import open_signals
from edgead.result import Result
from edgead.serving.limits import serving_of
from edgead.serving.results import result_of


class _Elsewhere(NamedTuple):
    """The engine that Triton runs, as far as it is known here."""

    device: str
    precision: str
    kernels: str
    version: str


class After:
    """The stages behind an engine that runs elsewhere.

    Args:
        bundle: whose graph it runs; of frames that are seen whole.
        precision: of the graph that it runs.
        engine: what messages and ``info`` call it.
        color: channel order of the frames.
        bit_depth: of uint16 frames; None for the bundle's.
        false_reject_rate: None for the bundle's.

    Raises:
        BundleError: a file of the bundle is not what its manifest says.
        CalibrationError: a rate that the calibration images cannot promise.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str,
        engine: str,
        color: str,
        bit_depth: int | None,
        false_reject_rate: float | None,
    ) -> None:
        manifest = bundle.manifest
        rate = false_reject_rate
        rate = manifest.calibration.false_reject_rate if rate is None else rate
        calibration.check_false_reject_rate(rate, *manifest.calibration.counted())
        elsewhere = _Elsewhere("Triton", precision, _cpu.simd_paths()[0], engine)
        depth = manifest.declared(bit_depth).preprocess.bit_depth
        self._given: dict[str, Any] = {"color": color, "bit_depth": depth or 16}
        opened = Qualified(elsewhere, elsewhere.kernels)  # type: ignore[arg-type]
        self._state = serving_of(bundle, opened, rate, {})
        self._engine = elsewhere
        self._roi, self._ignore = roi_of(bundle), manifest.ignore
        self._comparison = Comparison(bundle, open_signals(bundle, free_memory), self._roi)
        self._pairs = [(pair.reference, pair.restored) for pair in manifest.pairs]
        self._features = [signal.features for signal in manifest.signals()]

    def judged(self, given: Mapping[str, NDArray[np.float32]], size: Sequence[int]) -> Result:
        """The verdict on a frame.

        Args:
            given: outputs of the graph by name, [1, C, H, W] each.
            size: (height, width) of the frame.

        Raises:
            InputError: a frame of another size than the ignore mask's.
            DeviceError: features that are not finite.
        """
        frame = np.broadcast_to(np.uint8(0), tuple(size))
        if isinstance(self._ignore, IgnoreMask):
            self._ignore.check_frame(frame)
        pairs = [(_ready(given[one]), _ready(given[other])) for one, other in self._pairs]
        self._comparison.map = np.empty_like(self._comparison.map)  # the last one is a Result's
        self._comparison.run(pairs, [_ready(given[name]) for name in self._features])
        score = self._comparison.score
        _cpu.check_score(score, self._engine.device, self._engine.version)
        found = PipelineOutput(
            score, self._comparison.map[0], self._roi, self._engine.kernels, 0.0, 0.0, 0.0, 0.0
        )
        result = result_of(found, self._state, frame, None, **self._given)
        result.timings_ms = {}  # Triton has its own
        result._keep(frame, None)
        return result


def _ready(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
