"""The ignore mask of a bundle brought to the map: the region of interest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, InputError
from edgead.images import decode_image

# A share of exactly one half must not depend on the rounding of a sum of float64.
_HALF = 0.5 - 1e-9


def ignored_in(bundle: Bundle) -> NDArray[np.bool_] | None:
    """Which pixels of a frame the bundle's ignore mask ignores, bool [height, width], or None.

    Errors: BundleError for a PNG that cannot be decoded or is of another size.
    """
    mask = bundle.manifest.ignore
    if mask is None:
        return None
    try:
        name = mask.image
        return mask.ignored(None if name is None else decode_image(bundle.read(name), name))
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from error


def roi_of(bundle: Bundle) -> NDArray[np.uint8] | None:
    """The region of interest of the map of a frame, see ``to_roi``; None without an ignore mask.

    Errors: BundleError for a mask that does not fit.
    """
    mask, ignored = bundle.manifest.ignore, ignored_in(bundle)
    if mask is None or ignored is None:
        return None
    try:
        return to_roi(ignored, bundle.manifest.map_size(mask.frame_size))
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from error


def to_roi(ignored: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a mask of the frame [H, W] to a map of ``size``: [h, w], 1 where a pixel is kept.

    Errors: InputError when nothing is kept.
    """
    share = _cell_means(_cell_means(ignored.astype(np.float64), size[0]).T, size[1]).T
    roi = (share < _HALF).astype(np.uint8)
    if not roi.any():
        raise InputError(
            "the ignore mask leaves no pixel of the frame: ignore less (inside a polygon, or not 0 "
            "in the PNG, is ignored; if you drew what is to be kept, invert it)"
        )
    return roi


def _cell_means(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means of [n, m] over ``count`` equal parts of the first axis, exact for any n: [count, m]."""
    n = values.shape[0]
    sums = np.zeros((n + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=sums[1:])
    edges = np.arange(count + 1) * n / count
    low = np.minimum(edges.astype(np.int64), n - 1)
    reached = sums[low] + (edges - low)[:, None] * values[low]
    return np.asarray(np.diff(reached, axis=0) * count / n)
