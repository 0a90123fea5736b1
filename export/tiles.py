"""Exporting a tiled bundle: what is compared, calibration by whole frames, golden frames.

Torch and the graphs are compared on one tile of each calibration image: they never see more at
once. The calibration scores are of whole frames. Golden frames are pieces of two by two tiles, so
that qualification covers the stitching too without large frames in every bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from edgead_training.training_set import middle
from numpy.typing import NDArray

from edgead.bundle.storage import Draft
from edgead.serving.open_engine import open_engine
from edgead.tiling import Tiling

from .frames import CalibrationFrame
from .golden import spread_over, synthetic_defect
from .variants import engine_path


def middle_tile(frame: CalibrationFrame, tiling: Tiling) -> CalibrationFrame:
    """The tile at the middle of a calibration image."""
    name = f"the middle tile of {frame.name}"
    return replace(frame, name=name, read=lambda: middle(frame.read(), tiling.size))


def with_tiling(
    draft: Draft, tiling: Tiling, frames: Sequence[CalibrationFrame]
) -> tuple[Draft, list[NDArray[Any]]]:
    """``draft`` with a tiling and the calibration of whole ``frames``, and its golden frames."""
    tiled = replace(draft, manifest=replace(draft.manifest, tiling=tiling))
    run = engine_path(open_engine(tiled, "cpu"), tiled).run
    found = [run(frame.read()) for frame in frames]
    scores = tuple(score for _, score in found)
    peaks = tuple(float(values.max()) for values, _ in found)
    held = draft.manifest.calibration
    calibration = replace(held, scores=scores, peaks=peaks)
    tall, wide = (2 * side - tiling.overlap for side in tiling.size)
    shown = [middle(frames[index].read(), (tall, wide)) for index in spread_over(np.array(scores))]
    shown.append(synthetic_defect(shown[len(shown) // 2]))
    return replace(draft, manifest=replace(tiled.manifest, calibration=calibration)), shown
