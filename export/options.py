"""What an export is given: its options, and the frames that it calibrates with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import ExportError
from edgead.learning.good_image import GoodImage

OPSET = 17  # the newest one that TensorRT 8.5 (JetPack 5) reads
OPSETS = range(16, 21)  # 16: GridSample; over 20 the TorchScript exporter gives up


CalibrationFrame = GoodImage
"""An image of a good part that training never saw."""

Frames = Sequence[CalibrationFrame]
Ranges = Sequence[NDArray[np.float32]]
"""Images [1, 3, H, W], preprocessed, that set the ranges of an int8 graph."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle holds, checked here once for all steps of the export.

    Args:
        false_reject_rate: share of good parts that may be called anomalous, in (0, 1); None for
            0.05, or the best that the calibration images can promise.
        opset: of the ONNX graphs, 16 to 20.
        float16: whether a float16 graph goes in.
        int8: whether an int8 graph goes in.
        calibration: folder of images of good parts that set the ranges of int8; None for the
            training images of the run.
        data: folder where the images of the run lie now; None for where they lay in training.
        card: of the provenance, for the bundle's card.md.
        joined: whether the statistics of ``edgead learn`` go in too, learnt from the run's images.

    Raises:
        ExportError: an opset out of range; ``calibration`` without ``int8``, or with ``joined``.
    """

    false_reject_rate: float | None = None
    opset: int = OPSET
    float16: bool = True
    int8: bool = False
    calibration: str | os.PathLike[str] | None = None
    data: str | os.PathLike[str] | None = None
    joined: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise ExportError(
                f"opset {self.opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]} "
                f"({OPSET} reads everywhere)"
            )
        if self.calibration is not None and not self.int8:
            raise ExportError(
                "--calibration sets the ranges of an int8 graph: add --precision int8"
            )
        if self.calibration is not None and self.joined:
            raise ExportError(
                "--calibration does not go with --with instant, whose ranges of int8 are those of "
                "the training images: leave one of them out"
            )
