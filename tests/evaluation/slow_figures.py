"""Pixel figures by definition: one threshold after the other, float64, regions by scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def aupro_slowly(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float) -> float:
    """AUPRO of maps and masks, each [h, w], of whatever sizes."""
    values = np.concatenate([each.ravel() for each in maps])
    defect = np.concatenate([each.ravel() for each in masks])
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [maps[index][labelled == k] for k in range(1, count + 1)]
    x, y = [0.0], [0.0]
    for threshold in np.unique(values)[::-1]:
        x.append(float((values[~defect] >= threshold).mean()))
        y.append(float(np.mean([(region >= threshold).mean() for region in regions])))
    area = 0.0
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit
