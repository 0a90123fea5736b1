"""Early figures of a training: image AUROC on synthetic defects of held-out good images.

They are for people who watch. Nothing of a training depends on them, least of all when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.anomaly_map import AnomalyMap
from edgead.images import read_image
from edgead.preprocess import Preprocessor
from edgead.tiling import Tiling, middle

from .data import Sample
from .data.synthetic_defects import add_defect
from .evaluation.metrics import auroc
from .methods.base import Method

TIMES = 8  # in a stage
IMAGES = 16  # held-out good images, at most, each with two defective copies
_CHUNK = 8


class EarlyFigures:
    """Good images that the method does not learn from, and copies of them with a defect.

    Args:
        method: while it trains.
        held_out: good images, of which the first ``IMAGES`` count.
        tiling: of the tiles that it learns from: the middle one of each image counts.
    """

    def __init__(
        self, method: Method, held_out: Sequence[Sample], tiling: Tiling | None = None
    ) -> None:
        params, rng = method.preprocess_params(), np.random.default_rng(0)
        preprocessor = Preprocessor(params)
        images, defective = [], []
        for sample in held_out[:IMAGES]:
            frame = read_image(sample.path, bit_depth=params.bit_depth)
            if tiling is not None:
                frame = middle(frame, tiling.size)
            copies = [
                add_defect(frame, rng, params.bit_depth, at_border=at_border)[0]
                for at_border in (False, True)
            ]
            images += [preprocessor.run(each) for each in (frame, *copies)]
            defective += [False, True, True]
        self.images = torch.from_numpy(np.stack(images))  # [N, 3, H, W], normalised
        self.defective: NDArray[np.bool_] = np.array(defective)

    @torch.no_grad()
    def __call__(self, method: Method) -> float:
        """The image AUROC of the method as it is, in evaluation mode; float32."""
        device = next(method.parameters()).device
        scores = [self._scores(method, part.to(device)) for part in self.images.split(_CHUNK)]
        return float(auroc(np.concatenate(scores), self.defective) or 0.0)

    def _scores(self, method: Method, images: Tensor) -> NDArray[np.float32]:
        pairs = [
            tuple(x.float().cpu().contiguous().numpy() for x in pair) for pair in method(images)
        ]
        shapes = [pair[0].shape[1:] for pair in pairs]
        return AnomalyMap(method.map_params(), shapes).run(pairs)[1]
