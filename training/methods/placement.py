"""How the part lies before the camera, told from good images alone, as ``edgead learn`` does."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from edgead.learning.placement import REGION, Placement, study

from ..features.backbone import FrozenBackbone
from ..features.scale import smooth
from .base import TrainingSet

MOST_BYTES = 1 << 30  # of the features; of more images so many are asked, evenly chosen


@torch.no_grad()
def placement_of(backbone: FrozenBackbone, data: TrainingSet, blur_sigma: float) -> Placement:
    """What the good images say of it, each half of them held out from the other.

    Copies count as what they are copies of; neighbours, which may show one part, are in one half.

    Args:
        backbone: whose levels are asked, those that ``edgead learn`` compares.
        data: the good images.
        blur_sigma: of the map, in pixels of these images.
    """
    indices, own, parts, rows = backbone.compared(), len(data) // (1 + data.varied), [], []
    stride = backbone.strides[indices[0]]
    channels = sum(backbone.channels[k] for k in indices)
    height, width = (side // stride for side in data.images.shape[-2:])
    most = max(2, MOST_BYTES // (2 * channels * height * width))
    chosen = torch.arange(own)[:: -(-own // most)]
    for part in data.progress(chosen.split(16), "how the part lies"):
        levels = backbone(data[part])
        levels = smooth([levels[k].float() for k in indices])
        size = levels[0].shape[-2:]
        levels[1:] = [
            F.interpolate(x, size, mode="bilinear", align_corners=False) for x in levels[1:]
        ]
        rows.append(torch.cat(levels, dim=1).half().cpu().numpy())
        parts += [str(int(index) >= own // 2) for index in part]
    features = np.concatenate(rows)
    return study(
        features, parts, backbone.channels[indices[0]], max(1, REGION // stride),
        blur_sigma / stride, shares=np.ones(features.shape[2:], np.float32),
    )  # fmt: skip
