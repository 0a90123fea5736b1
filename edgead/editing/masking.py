"""A bundle with an ignore mask, made from one without."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np

from edgead import reference
from edgead.bundle.ignore_mask import IgnoreMask, to_roi
from edgead.bundle.storage import Bundle, Draft, npy
from edgead.errors import InputError
from edgead.images import decode_image

FILE = "ignore.png"


def masked(bundle: Bundle, mask: IgnoreMask, png: bytes | None) -> Draft:
    """``bundle`` with an ignore mask, in memory; its calibration is still that of all pixels.

    The expected map of a golden frame is the old one with the ignored pixels 0, as a mask changes
    neither distances nor blur, and its expected score is pooled over the rest, in float64, of the
    map or of the sum that the score is pooled from.

    Args:
        bundle: one without a mask.
        mask: what is ignored; ``png`` is the file ``mask.image``, None where it has none.

    Returns:
        The bundle, with the digest of ``bundle``.

    Raises:
        InputError: the mask does not fit the map.
    """
    manifest = replace(bundle.manifest, ignore=mask)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    if png is not None:
        files[FILE] = png
    ignored = mask.ignored(None if png is None else decode_image(png, FILE))
    if to_roi(ignored, manifest.map_size(mask.frame_size)).all():
        raise InputError(
            f"the ignore mask ignores {np.count_nonzero(ignored)} pixels of the frame and no pixel "
            "of the map, which is ignored when half of what it stands for is: draw it larger"
        )
    golden = []
    for frame in manifest.golden:
        size = decode_image(bundle.read(frame.image), frame.image).shape[:2]
        values = bundle.read_map(frame.map, manifest.map_size(size))
        kept = to_roi(ignored, values.shape) != 0
        files[frame.map] = npy(np.where(kept, values, np.float32(0.0)))
        if frame.scored is not None:
            values = bundle.read_map(frame.scored, manifest.map_size(size))
            files[frame.scored] = npy(np.where(kept, values, np.float32(0.0)))
        score = reference.pool(values[None, kept].astype(np.float64), manifest.map)[0]
        golden.append(replace(frame, score=float(score)))
    digests = {name: sha256(data).hexdigest() for name, data in files.items()}
    manifest = replace(manifest, golden=tuple(golden), files=digests)
    return Draft(bundle.path, manifest, bundle.sha256, files)
