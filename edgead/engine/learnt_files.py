"""Files of a bundle that say how much distances count, and what is said of others."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory, Whitening
from edgead.bundle.storage import Bundle
from edgead.errors import BundleError

F32 = NDArray[np.float32]


class Counts(NamedTuple):
    """What a distance at each position counts, [height, width]; None: nothing in that sum."""

    shown: F32 | None
    scored: F32 | None


def counts_of(bundle: Bundle, entry: Memory | Whitening) -> Counts:
    """What the distances of an entry count in the map and in the score.

    Raises:
        BundleError: a file that is not the array the manifest describes.
    """
    names = entry.places, entry.scored
    return Counts(*(None if n is None else places_of(bundle, n, entry.size) for n in names))


def places_of(bundle: Bundle, name: str, size: tuple[int, int]) -> F32:
    """A number for each position, [height, width] float32, finite and not negative; BundleError."""
    places = bundle.read_array(name)
    fits = places.shape == size and places.dtype == np.float32
    if not fits or not np.isfinite(places).all() or places.min() < 0:
        expected = f"{list(size)} float32, finite and not negative"
        raise wrong_file(bundle, name, places, expected)
    return np.ascontiguousarray(places)


def finite_of(bundle: Bundle, name: str, shape: tuple[int, ...]) -> F32:
    """A float32 array of ``shape``, finite; BundleError."""
    found = bundle.read_array(name)
    if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
        raise wrong_file(bundle, name, found, f"{list(shape)} float32, finite")
    return np.ascontiguousarray(found)


def wrong_file(bundle: Bundle, name: str, found: NDArray[Any], expected: str) -> BundleError:
    """What is said of an array that is another than the manifest describes."""
    return BundleError(
        f"bundle {bundle.path}: {name} is {list(found.shape)} {found.dtype}; expected {expected}: "
        "copy the bundle again, or learn it again"
    )
