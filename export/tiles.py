"""The last step of exporting a tiled bundle: golden frames and calibration of stitched maps.

The graph is compared with torch on one tile of each calibration image, which is all it ever sees.
The calibration scores are of whole frames. Golden frames are pieces of two by two tiles, so that
qualification covers the stitching too without large frames in every bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from edgead_training.tiles import middle
from numpy.typing import NDArray

from edgead.bundle import Draft
from edgead.engine import open_engine
from edgead.manifest import Calibration
from edgead.tiling import Tiling

from . import golden
from .paths import engine_path

if TYPE_CHECKING:
    from .exporter import CalibrationFrame


def with_tiling(
    draft: Draft, tiling: Tiling, frames: Sequence[CalibrationFrame]
) -> tuple[Draft, list[NDArray[Any]]]:
    """``draft`` with a tiling and the calibration of whole ``frames``, and its golden frames."""
    manifest = replace(draft.manifest, tiling=tiling)
    tiled = replace(draft, manifest=manifest)
    run = engine_path(open_engine(tiled, "cpu"), tiled).run
    found = [run(frame.read()) for frame in frames]
    scores = tuple(score for _, score in found)
    peaks = tuple(float(values.max()) for values, _ in found)
    rate = manifest.calibration.false_reject_rate
    manifest = replace(manifest, calibration=Calibration(scores, peaks, rate))
    size = tuple(2 * side - tiling.overlap for side in tiling.size)
    shown = [
        np.ascontiguousarray(middle(frames[index].read(), (size[0], size[1])))
        for index in golden.spread_over(np.array(scores))
    ]
    shown.append(golden.synthetic_defect(shown[len(shown) // 2]))
    return replace(tiled, manifest=manifest), shown
