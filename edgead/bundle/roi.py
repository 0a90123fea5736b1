"""The ignore mask of a bundle brought to the map: the region of interest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.ignore_mask import to_roi
from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, InputError
from edgead.images import decode_image


def ignored_in(bundle: Bundle) -> NDArray[np.bool_] | None:
    """Which pixels of a frame the bundle's ignore mask ignores, bool [height, width], or None.

    Raises: BundleError for a PNG that cannot be decoded or is of another size.
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

    Raises: BundleError for a mask that does not fit.
    """
    mask, ignored = bundle.manifest.ignore, ignored_in(bundle)
    if mask is None or ignored is None:
        return None
    try:
        return to_roi(ignored, bundle.manifest.map_size(mask.frame_size))
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from error
