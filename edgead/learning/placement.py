"""How the part lies before the camera, told from good images alone, and what follows from it.

What was tried, and on which sets the limits were chosen: docs/notes/instant.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.engine.whiten import Whiten
from edgead.learning.coreset import choose_coreset
from edgead.learning.statistics import Moments, channel_normal, fit, log_likelihood
from edgead.nearest import Nearest, NearestMemory

F32 = NDArray[np.float32]

ALIGNED, LOOSE, FILLING, UNKNOWN = "aligned", "loose", "filling", "unknown"
PLACEMENTS = (ALIGNED, LOOSE, FILLING)
REACHES = 0.85  # held-out distances at the border over those inside: below, it is background
MEANINGFUL = 0.4  # nats per channel that places gain on held-out images: above, parts are aligned
WHITENED_FROM = 16  # images; a covariance of fewer says nothing of a place
REGION = 32  # pixels, side of the squares that have a covariance of their own
TAIL = 0.999  # quantile of the held-out images' blurred distances that is the unit of a signal
MOST_CHANNELS = 256  # that are whitened: the factors of more are larger than the network
CHUNK = 16  # images at once
CANDIDATES = 20_000  # features of each half that its memory is chosen from
KEPT = 4096


@dataclass(frozen=True)
class Whitened:
    """One whitening as it was learnt; see ``edgead.bundle.entries.Whitening``."""

    first: int
    count: int
    centre: F32 | None
    mean: F32
    factors: F32
    unit: float


@dataclass(frozen=True)
class Placement:
    """What good images say.

    Args:
        name: of ``PLACEMENTS``, or "unknown": of one image, or where a person wants a memory alone.
        border: held-out distance to other good parts at the border over that inside; None: unknown.
        gain: nats per channel that places gain on held-out images; None: too few images.
        unit: of the distance to the memory.
        edges, inner: whitenings for the map (finest level) and for the score (all levels); None:
            places are not used.
    """

    name: str
    border: float | None = None
    gain: float | None = None
    unit: float = 1.0
    edges: Whitened | None = None
    inner: Whitened | None = None

    def meaning(self) -> str:
        """What the name says of the part, and whether places are used."""
        used = "places are used" if self.edges is not None else "places are not used"
        return f"{MEANINGS[self.name]}; {used}"


MEANINGS = {
    ALIGNED: "parts lie alike amid a background",
    LOOSE: "parts lie amid a background, each in its own way or too few to tell",
    FILLING: "the part reaches the border of the frame",
    UNKNOWN: "a memory alone is compared with",
}


def study(
    features: NDArray[np.float16],
    parts: Sequence[str],
    finest: int,
    side: int,
    sigma: float,
    *,
    shares: F32,
    given: str | None = None,
    seed: int = 0,
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> Placement:
    """Find out how the part lies, and the units of what is compared, by two halves of the parts.

    Args:
        features: of good images, [N, C, H, W].
        parts: which part each image shows, N names.
        finest: channels of the finest level, which come first.
        side: of regions, in positions.
        sigma: of the blur of the map, in positions.
        shares: how much a position counts where the border is background, [H, W].
        given: what a person says, of ``PLACEMENTS`` or "unknown"; None: it is found.
        seed: of the division and the memories.
        show: called with (steps done, steps in all).

    Returns:
        What was found.
    """
    halves = _halves(parts, seed)
    if given == UNKNOWN or not all(map(len, halves)):
        return Placement(given or UNKNOWN)
    steps = 7
    far = np.empty((len(features), *features.shape[2:]), np.float32)
    for done, (held_out, others) in enumerate((halves, halves[::-1]), 1):
        far[held_out] = _far(features, held_out, others, seed)
        show(done, steps)
    border = _border(far)
    enough = len(features) >= WHITENED_FROM
    edges = gain = inner = None
    if enough:
        edges, gain = _whitening(features, halves, slice(0, min(finest, MOST_CHANNELS)), side,
                                 sigma, normal=False)  # fmt: skip
    show(5, steps)
    aligned = gain is not None and gain >= MEANINGFUL
    found = FILLING if border >= REACHES else ALIGNED if aligned else LOOSE
    name = given or found
    if not enough or name == LOOSE:
        edges = None
    elif features.shape[1] <= MOST_CHANNELS:
        inner, _ = _whitening(features, halves, slice(0, features.shape[1]), side, sigma,
                              normal=True)  # fmt: skip
    show(steps, steps)
    counted = far if name == FILLING else far * np.square(shares)
    return Placement(name, border, gain, _unit(counted, sigma), edges, inner)


def _halves(parts: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images of one half of the parts, and of the other."""
    names = sorted(set(parts))
    order = np.random.default_rng(seed).permutation(len(names))
    first = {names[index] for index in order[::2]}
    inside = np.array([part in first for part in parts])
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def _far(
    features: NDArray[np.float16],
    held_out: NDArray[np.int64],
    others: NDArray[np.int64],
    seed: int,
) -> F32:
    """Mean squared differences [n, H, W] of images to the nearest features of the others."""
    generator = np.random.default_rng(seed)
    each = -(-CANDIDATES // len(others))
    rows = [features[i].reshape(features.shape[1], -1).T for i in others]
    drawn = np.concatenate([x[generator.permutation(len(x))[:each]] for x in rows])
    candidates = np.ascontiguousarray(drawn, np.float32)
    kept = candidates[choose_coreset(candidates, KEPT, seed)].astype(np.float16)
    search = Nearest(NearestMemory(kept), features.shape[2:])
    found = [search.run(chunk) for chunk in _chunks(features, held_out)]
    return np.concatenate(found) / np.float32(features.shape[1])


def _whitening(
    features: NDArray[np.float16],
    halves: tuple[NDArray[np.int64], NDArray[np.int64]],
    channels: slice,
    side: int,
    sigma: float,
    *,
    normal: bool,
) -> tuple[Whitened, float]:
    """A whitening of all images, its unit, and what places gain; both on held-out halves."""
    centre: F32 | None = None
    if normal:
        centre = features[:, channels].mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)

    def prepared(index: NDArray[np.int64]) -> Iterator[F32]:
        for chunk in _chunks(features, index, channels):
            yield chunk if centre is None else chunk - centre[:, None, None]

    sums = []
    for half in halves:
        chunks = (channel_normal(x) if normal else x for x in prepared(half))
        moments = [Moments.of(chunk, side) for chunk in chunks]
        sums.append(sum(moments[1:], moments[0]))
    count, held, gains = int(sums[0].total.shape[0]), [], []
    for half, learnt in zip(halves, sums[::-1], strict=True):
        (mean, factors), alike = fit(learnt), fit(learnt, places=False)
        kernel = Whiten(mean, factors, side, channel_normal=normal)
        held.append(np.concatenate([kernel.run(x) for x in prepared(half)]))
        if not normal:
            kernel = Whiten(*alike, side, channel_normal=normal)
            joint = np.concatenate([kernel.run(x) for x in prepared(half)])
            gains.append(
                log_likelihood(held[-1], factors, count) - log_likelihood(joint, alike[1], count)
            )
    mean, factors = fit(sums[0] + sums[1])
    unit = _unit(np.concatenate(held), sigma)
    gain = float(np.mean(gains)) if gains else 0.0
    return Whitened(channels.start, count, centre, mean, factors, unit), gain


def _chunks(
    features: NDArray[np.float16], index: NDArray[np.int64], channels: slice = slice(None)
) -> Iterator[F32]:
    for at in range(0, len(index), CHUNK):
        yield np.ascontiguousarray(features[index[at : at + CHUNK], channels], np.float32)


def _border(far: F32) -> float:
    """Mean at the outer eighth of the height and width over that of the rest."""
    height, width = far.shape[1:]
    inside = np.zeros((height, width), bool)
    rows, columns = (max(1, round(n / 16)) for n in (height, width))
    inside[rows : height - rows, columns : width - columns] = True
    if not inside.any():
        return 1.0
    return float(far[:, ~inside].mean() / max(far[:, inside].mean(), np.finfo(np.float32).tiny))


def _unit(distances: F32, sigma: float) -> float:
    """The ``TAIL`` of blurred distances [N, H, W]; 1 where all are 0."""
    blurred = [cv2.GaussianBlur(each, (0, 0), sigma) if sigma > 0 else each for each in distances]
    found = float(np.quantile(np.stack(blurred), TAIL))
    return found if found > 0 else 1.0
