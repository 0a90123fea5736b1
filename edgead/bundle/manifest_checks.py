"""Whether the parts of a manifest fit together; each part alone was checked when it was read."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgead.errors import BundleError

if TYPE_CHECKING:
    from edgead.bundle.manifest import Manifest

MODEL_PRECISIONS = ("float32", "float16", "int8")
"""What a bundle may hold a graph in; bfloat16 is computed from the float32 one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check(manifest: Manifest) -> None:
    """Raise BundleError for a manifest whose parts contradict each other."""
    calibration = manifest.calibration
    names = [name for pair in manifest.pairs for name in (pair.reference, pair.restored)]
    numbers = [*calibration.scores, *calibration.peaks]
    own = calibration.own
    tolerances = [*manifest.tolerance.values(), *(one.ties for one in own.values())]
    tolerances += [calibration.ties] if calibration.ties else []
    numbers += [value for t in tolerances for value in (t.score, t.map)]
    numbers += [value for one in own.values() for value in (*one.scores, *one.peaks)]
    for wrong, sentence in (
        (len(set(names)) != len(names), "pairs: an output is named twice"),
        (
            any(n <= 0 for shape in manifest.shapes() for n in shape),
            "pairs: sizes must be positive",
        ),
        (
            tuple(manifest.map.weights) != tuple(pair.weight for pair in manifest.pairs),
            "map.weights and the weights of pairs differ",
        ),
        ("float32" not in manifest.models, 'models: "float32" is missing'),
        (
            bool(set(manifest.models) - set(MODEL_PRECISIONS)),
            f"models: wanted only {MODEL_PRECISIONS}",
        ),
        (set(manifest.models) != set(manifest.tolerance), "tolerance: wanted one per model"),
        (
            manifest.tiling is not None and min(manifest.map.size) < 2,
            "tiling: wanted a map of at least 2 x 2 pixels",
        ),
        (not manifest.golden, "golden: no golden frame, so no engine can be qualified"),
        (not calibration.scores, "calibration.scores: none"),
        (
            len(calibration.scores) != len(calibration.peaks),
            "calibration: scores and peaks differ in number",
        ),
        (
            any({len(o.scores), len(o.peaks)} != {len(calibration.scores)} for o in own.values()),
            "calibration.own: wanted as many scores and peaks as in float32",
        ),
        (bool(set(own) - set(manifest.models)), "calibration.own: of a precision without a model"),
        (not all(map(math.isfinite, numbers)), "calibration or tolerance: a value is not finite"),
        (any(t.score < 0 or t.map < 0 for t in tolerances), "tolerance or ties: negative"),
        (
            not 0 < calibration.false_reject_rate < 1,
            "calibration.false_reject_rate: wanted a number between 0 and 1",
        ),
        (
            manifest.health is not None and manifest.health.images < 1,
            "health.images: wanted at least 1",
        ),
        (
            not all(_SHA256.fullmatch(digest) for digest in manifest.files.values()),
            "files: a digest is no SHA-256 in hex",
        ),
    ):
        if wrong:
            raise BundleError(f"manifest: {sentence}")
