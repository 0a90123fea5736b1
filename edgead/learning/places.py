"""What is usual at each place, with good parts that are added: those count as several images each.

The whitenings of a bundle become those of the mixture of the parts that were learnt and the added
ones; units, centres and what each position counts stay. As one image among many, an added part
would hardly move them. So it counts for more, but all added ones together never for more than
all that was learnt before, unless they are more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, npy
from edgead.engine.signals import read_whitenings
from edgead.learning.statistics import PRIOR_IMAGES, Moments, added_to, channel_normal

F32 = NDArray[np.float32]


class Places:
    """The whitenings of a bundle, and sums of the images that are added to them.

    Args:
        bundle: has them.
        images: that it was learnt from.
    """

    def __init__(self, bundle: Bundle, images: int) -> None:
        self._entries, self._read = bundle.manifest.whitenings, read_whitenings(bundle)
        self._images = images
        self._moments: list[Moments | None] = [None] * len(self._entries)

    @property
    def learnt(self) -> bool:
        """Whether the bundle compares with what is usual at each place."""
        return bool(self._entries)

    def watch(self, features: Iterable[F32]) -> Iterator[F32]:
        """Pass on the features of each added image, [positions, channels], and take their sums."""
        for values in features:
            for index, (entry, one) in enumerate(zip(self._entries, self._read, strict=True)):
                before = self._moments[index]
                shaped = values.T.reshape(1, entry.channels, *entry.size)
                shaped = shaped[:, entry.first : entry.first + entry.count]
                if one.centre is not None:
                    shaped = channel_normal(shaped - one.centre)
                found = Moments.of(np.ascontiguousarray(shaped - one.mean), entry.side)
                self._moments[index] = found if before is None else before + found
            yield values

    def files(self, weight: float) -> dict[str, bytes]:
        """Means and factors with the added images, as files of the bundle.

        Args:
            weight: how many images each counts as, unless all together would be more than were
                learnt from.
        """
        found: dict[str, bytes] = {}
        both = zip(self._entries, self._read, strict=True)
        for (entry, one), moments in zip(both, self._moments, strict=True):
            if moments is None:
                continue
            most = (self._images + PRIOR_IMAGES) / moments.images
            counts = max(1.0, min(weight, most))
            mean, factors = added_to(one.mean, one.factors, self._images, moments, counts)
            found |= {entry.mean: npy(mean), entry.factors: npy(factors)}
        return found
