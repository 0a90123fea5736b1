"""Good images divided into those to learn from and those to calibrate with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgead.errors import DataError

from .dataset import Sample, by_name


def split(
    samples: Sequence[Sample], seed: int, calibration_fraction: float = 0.2
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divide good samples into (train, calibration), at least one each, both ordered by name.

    A sample's place follows from sha256(seed, name) alone, so that neither the order of the
    listing, nor the machine, nor the folder's location changes it.
    Errors: DataError with fewer than two samples.
    """
    if not 0.0 < calibration_fraction < 1.0:
        raise ValueError(f"calibration_fraction is {calibration_fraction}; wanted 0 < it < 1")
    if len(samples) < 2:
        raise DataError(
            f"{len(samples)} good image(s) cannot be divided into training and calibration; "
            f"wanted at least two"
        )
    ranked = sorted(samples, key=lambda s: (_rank(seed, s.name), s.name))
    n_calibration = min(max(round(len(ranked) * calibration_fraction), 1), len(ranked) - 1)
    calibration, train = ranked[:n_calibration], ranked[n_calibration:]
    return tuple(sorted(train, key=by_name)), tuple(sorted(calibration, key=by_name))


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
