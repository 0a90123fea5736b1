"""What is learnt as entries and files of a bundle: which signals count, where, and how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import Memory, Whitening
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import npy
from edgead.learning.backbone import BackboneFacts
from edgead.learning.placement import ALIGNED, FILLING, LOOSE, REGION, Placement, Whitened, study
from edgead.learning.progress import Progress

F32 = NDArray[np.float32]

PLACES, SCORED, SHARES = "places.npy", "scored.npy", "shares.npy"
WHITENED = 0.7  # what a whitening counts beside the memory, both in their units


def border_share(size: tuple[int, int]) -> F32:
    """How much of each position's 3x3 window lies in a map of ``size``: [height, width], 4/9 to 1.

    Args:
        size: (height, width) in positions.

    Returns:
        The shares. By them a distance counts: features at the border see what the network fills
        in around the image, and differ more from part to part than others do.
    """
    height, width = (np.full(n, 3.0) - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in size)
    return np.outer(height / 3, width / 3).astype(np.float32)


def background_share(size: tuple[int, int], coarser: int) -> F32:
    """``border_share`` of the coarsest level, brought to ``size`` linearly: where it is background.

    Args:
        size: (height, width) in positions of the finest level.
        coarser: strides of the coarsest level over that of the finest.
    """
    coarse = border_share((max(1, size[0] // coarser), max(1, size[1] // coarser)))
    for axis, length in enumerate(size):
        known = coarse.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * known / length - 0.5, 0, known - 1)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, known - 1), at - low
        low_part, high_part = np.take(coarse, low, axis), np.take(coarse, high, axis)
        share = share if axis == 1 else share[:, None]
        coarse = (low_part + share * (high_part - low_part)).astype(np.float32)
    return coarse


def counted(memory: Memory, placement: Placement, shares: F32) -> tuple[Memory, dict[str, bytes]]:
    """The memory as it counts in both sums, and the files that say so.

    Args:
        memory: the entry.
        placement: of the part.
        shares: of ``background_share``.

    Returns:
        Background at the border: its features are quieted, and in the map what they are far
        counts by the share once more. A part that fills the frame: what they are far counts, at
        the border less, in the score more so than in the map, which would lose defects there.
        Unknown: at the border less, and the score is pooled from the map.
    """
    border = border_share(memory.size)
    even = np.full(memory.size, 1 / placement.unit, np.float32)
    if placement.name in (ALIGNED, LOOSE):
        files = {PLACES: npy(shares * even), SCORED: npy(even), SHARES: npy(shares)}
        return replace(memory, places=PLACES, scored=SCORED, shares=SHARES), files
    if placement.name == FILLING:
        files = {PLACES: npy(np.sqrt(border) * even), SCORED: npy(border * even)}
        return replace(memory, places=PLACES, scored=SCORED), files
    return replace(memory, places=PLACES), {PLACES: npy(border)}


@dataclass(frozen=True)
class Learnt:
    """What was learnt: the manifest with its entries, their files, and what features of the memory
    are multiplied by; the memory itself is not among the files."""

    placement: Placement
    manifest: Manifest
    files: Mapping[str, bytes]
    shares: F32 | None


def signals_of(
    manifest: Manifest,
    facts: BackboneFacts,
    features: NDArray[np.float16],
    parts: Sequence[str],
    given: str | None,
    seed: int,
    progress: Progress,
) -> Learnt:
    """Find out how the part lies, and what of it counts.

    Args:
        manifest: with one memory.
        facts: of the backbone.
        features: of good images, [N, C, H, W].
        parts: which part each shows, N names.
        given: how the part lies, where a person says so.
        seed: of the halves.
        progress: shows how far it is.
    """
    memory, stride = manifest.memories[0], facts.features.stride
    side = max(1, REGION // stride)
    shares = background_share(memory.size, max(x.stride for x in facts.levels) // stride)
    placement = study(
        features,
        parts,
        facts.levels[0].channels,
        side,
        manifest.map.blur_sigma / stride,
        shares=shares,
        given=given,
        seed=seed,
        show=progress("how the part lies"),
    )
    memory, files = counted(memory, placement, shares)
    whitenings, more = whitenings_of(memory, placement, side, shares)
    weights = (1.0,) * (1 + sum(one.places is not None for one in whitenings))
    manifest = replace(
        manifest,
        memories=(memory,),
        whitenings=whitenings,
        map=replace(manifest.map, weights=weights),
    )
    return Learnt(placement, manifest, {**files, **more}, None if memory.shares is None else shares)


def whitenings_of(
    memory: Memory, placement: Placement, side: int, shares: F32
) -> tuple[tuple[Whitening, ...], dict[str, bytes]]:
    """The whitenings that count, and their files: the finest level in the map, all in the score.

    Args:
        memory: names the features.
        placement: of the part.
        side: of regions, in positions.
        shares: of ``background_share``; by them the map counts what is background at the border.
    """
    entries, files = [], {}
    even = np.ones(memory.size, np.float32)
    shown = even if placement.name == FILLING else shares
    parts: Mapping[str, Whitened | None] = {"edges": placement.edges, "inner": placement.inner}
    for name, found in parts.items():
        if found is None:
            continue
        counts = f"{name}/places.npy"
        entry = Whitening(
            features=memory.features,
            channels=memory.channels,
            size=memory.size,
            first=found.first,
            count=found.count,
            mean=f"{name}/mean.npy",
            factors=f"{name}/factors.npy",
            side=side,
            centre=None if found.centre is None else f"{name}/centre.npy",
            places=counts if name == "edges" else None,
            scored=counts if name == "inner" else None,
        )
        files[entry.mean], files[entry.factors] = npy(found.mean), npy(found.factors)
        by = shown if name == "edges" else even
        files[counts] = npy((by * WHITENED / found.unit).astype(np.float32))
        if entry.centre is not None and found.centre is not None:
            files[entry.centre] = npy(found.centre)
        entries.append(entry)
    return tuple(entries), files
