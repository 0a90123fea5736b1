"""What a set of images of good parts can teach: said before anything is learnt from them.

The same for every command that learns or calibrates: a set of one picture, or of images that show
nothing, is refused; copies and images that are black, saturated or of one value are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgead.errors import DataError, printable

from .content import Content, is_black, is_constant, is_saturated, levels
from .copies import copies, near_copies

MOST_FAULTS = 5  # that a sentence lists
_MOST_NAMED = 3
FEWEST = 8  # images, to say that one of them is blurred beside the others


@dataclass(frozen=True)
class ImageSet:
    """What ``examine`` found.

    Args:
        same: for each image the index of the first one with the same pixels.
        alike: for each image the index of the first one that it is a copy or near-copy of; ``same``
            where near-copies do not matter, or where all images are near-copies of one.
        warnings: for people, each a sentence or two.
    """

    same: tuple[int, ...]
    alike: tuple[int, ...]
    warnings: tuple[str, ...]


def examine(
    names: Sequence[str],
    contents: Sequence[Content],
    *,
    bit_depth: int | None = None,
    calibration: float = 1.0,
    near: bool = True,
    otherwise: str = "",
) -> ImageSet:
    """Look at images of good parts before anything is learnt from them, or calibrated with them.

    Args:
        names: of the images, for messages.
        contents: what they show, in the same order.
        bit_depth: of 16-bit images, where it is declared.
        calibration: share of the images that the threshold comes from, in (0, 1].
        near: whether near-copies matter; not for frames of a camera that does not move.
        otherwise: what to do where near-copies show different parts, as a clause.

    Returns:
        The groups of copies, and warnings.

    Raises:
        DataError: several images that are one picture, or no image that shows anything.
    """
    same, level = copies(contents), levels(contents, bit_depth)
    n, n_different = len(names), len(set(same))
    if n > 1 and n_different == 1:
        raise DataError(
            f"all {n} images are copies of one picture ({_named(names, range(n))}); expected "
            "images of at least two different good parts, since copies teach nothing and a "
            "threshold that comes from them rejects other good parts: take pictures of more parts"
        )
    constant = _where(contents, level, is_constant)
    if n and len(constant) == n:
        deep = any(one.bits == 16 for one in contents)
        bits = ", and how many of the 16 bits are used (--bit-depth)" if deep else ""
        raise DataError(
            f"all {n} images are of one value, or nearly ({_named(names, range(n))}), so there is "
            "nothing to learn from them and no threshold; expected pictures of good parts: check "
            f"the camera's cap, light and exposure, and how the files were written{bits}"
        )
    if n > 1 and len(set(same) - {same[i] for i in constant}) < 2:
        raise DataError(
            f"{_count(len(constant), n, 'of one value, or nearly')} ({_named(names, constant)}), "
            "and the rest is one picture; expected images of at least two different good parts: "
            "take pictures of more parts"
        )
    said = _about_copies(names, same, calibration)
    alike = near_copies(contents, level) if near else same
    said += _about_near_copies(names, same, alike, calibration, otherwise)
    if len(set(alike)) < 2:
        alike = same
    said += _about_kinds(names, contents, constant)
    said += _about_sizes(names, contents, constant)
    said += _about_empty(names, contents, level, constant, bit_depth)
    said += _about_blur(names, contents, constant)
    return ImageSet(tuple(same), tuple(alike), tuple(said))


def first_named(names: Sequence[str]) -> str:
    """The first of some names of images, as a sentence shows them."""
    shown = ", ".join(map(printable, names[:_MOST_NAMED]))
    return f"{shown}, …" if len(names) > _MOST_NAMED else shown


def first_faults(faults: Sequence[str]) -> str:
    """The first of what is wrong with some images, as a sentence lists them."""
    more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    return "; ".join(faults[:MOST_FAULTS]) + more


def promise(n: int) -> str:
    """The lowest rate that ``n`` different calibration images can promise, as people write it."""
    return f"1/{n + 1} = {100 / (n + 1):.3g} %"


def _about_copies(names: Sequence[str], same: Sequence[int], share: float) -> list[str]:
    n, n_different = len(same), len(set(same))
    if n_different == n:
        return []
    pairs = [f"{names[i]} of {names[j]}" for i, j in enumerate(same) if i != j]
    return [
        f"{n} images are {n_different} different ones: {first_named(pairs)}. Each counts once, so "
        f"{_promised(n_different, share)}; {n} different ones, {promise(_held_out(n, share))}"
    ]


def _about_near_copies(
    names: Sequence[str], same: Sequence[int], alike: Sequence[int], share: float, otherwise: str
) -> list[str]:
    shown = sorted(set(same))
    near = [i for i in shown if alike[i] != i]
    if not near:
        return []
    n_different = len(set(alike))
    pairs = [f"{names[i]} of {names[alike[i]]}" for i in near]
    what = (
        f"{len(near)} of {len(shown)} images ({len(near) / len(shown):.0%}) nearly repeat others, "
        f"but for noise, encoding or the way they are turned: {first_named(pairs)}"
    )
    if n_different == 1:
        return [
            f"{what}. All are of one part or scene that did not move: the threshold is promised "
            "for further shots of it, and other good parts may all be rejected; if parts are to be "
            "judged, take pictures of more of them"
        ]
    said = f"{what}. They count as {n_different} parts, so {_promised(n_different, share)}"
    return [f"{said}; {otherwise}" if otherwise else said]


def _about_kinds(
    names: Sequence[str], contents: Sequence[Content], constant: Sequence[int]
) -> list[str]:
    kinds: dict[str, list[int]] = {}
    for index in sorted(set(range(len(names))) - set(constant)):
        kinds.setdefault(contents[index].kind, []).append(index)
    if len(kinds) < 2:
        return []
    parts = [f"{len(some)} {kind} ({_named(names, some)})" for kind, some in kinds.items()]
    return [
        f"The images are of several kinds: {', '.join(parts)}. Frames of one camera are of one, "
        "and the threshold holds for those; give the images as that camera makes them"
    ]


def _about_sizes(
    names: Sequence[str], contents: Sequence[Content], constant: Sequence[int]
) -> list[str]:
    sizes: dict[tuple[int, int], list[int]] = {}
    for index in sorted(set(range(len(names))) - set(constant)):
        sizes.setdefault(contents[index].size, []).append(index)
    if len(sizes) < 2:
        return []
    ordered = sorted(sizes.items(), key=lambda item: (-len(item[1]), item[0]))
    parts = [
        f"{len(some)} of {height} x {width} ({_named(names, some)})"
        for (height, width), some in ordered[:_MOST_NAMED]
    ]
    more = ", …" if len(sizes) > _MOST_NAMED else ""
    return [
        f"The images are of {len(sizes)} sizes (height x width): {', '.join(parts)}{more}. All are "
        "brought to one, so that parts come out larger in some than in others; give the images as "
        "one camera makes them, or cut them alike"
    ]


def _about_empty(
    names: Sequence[str],
    contents: Sequence[Content],
    level: Sequence[float],
    constant: Sequence[int],
    bit_depth: int | None,
) -> list[str]:
    said = []
    if constant:
        said.append(
            f"{_count(len(constant), len(names), 'of one value, or nearly')} "
            f"({_named(names, constant)}): no part is to be seen, so they teach nothing, and a "
            "threshold that counts them holds for something else than your parts; remove them"
        )
    known = set(constant)
    black, saturated = (
        [index for index in _where(contents, level, test) if index not in known]
        for test in (is_black, is_saturated)
    )
    if black:
        deep = any(contents[i].bits == 16 for i in black) and bit_depth is None
        bits = "; if they hold fewer than 16 bits, say how many with --bit-depth" if deep else ""
        said.append(
            f"{_count(len(black), len(names), 'black')} ({_named(names, black)}): a defect in the "
            "dark changes no pixel, and a threshold that counts them lets dark frames pass; give "
            f"more light or exposure{bits}"
        )
    if saturated:
        said.append(
            f"{_count(len(saturated), len(names), 'saturated')}, most of the pixels at "
            f"full scale ({_named(names, saturated)}): a defect there changes no pixel, so the "
            "threshold promises few false rejects and says nothing of what is caught; give less "
            "light or exposure"
        )
    return said


def _about_blur(
    names: Sequence[str], contents: Sequence[Content], constant: Sequence[int]
) -> list[str]:
    """Of images that are far less sharp than the others; see ``FEWEST`` and docs/copies.md."""
    seen = [index for index in range(len(names)) if index not in set(constant)]
    if len(seen) < FEWEST:
        return []
    low, high = np.quantile([contents[i].sharpness for i in seen], (0.25, 0.75))
    limit = low / max(2.0, (high / low) ** 3) if low > 0 else 0.0
    blurred = [index for index in seen if contents[index].sharpness < limit]
    if not blurred:
        return []
    return [
        f"{_count(len(blurred), len(names), 'blurred beside the others')} "
        f"({_named(names, blurred)}): what learns from them takes blurred frames for good ones, in "
        "which fine defects cannot be seen; take such images again, or remove them"
    ]


def _where(
    contents: Sequence[Content], level: Sequence[float], test: Callable[[Content, float], bool]
) -> list[int]:
    pairs = zip(contents, level, strict=True)
    return [index for index, (content, one) in enumerate(pairs) if test(content, one)]


def _promised(n: int, share: float) -> str:
    """What a threshold can promise that comes from this share of ``n`` different images."""
    held_out = _held_out(n, share)
    from_them = "" if share == 1.0 else f" of about {held_out} of them to calibrate with"
    return f"the threshold{from_them} can promise no rate below {promise(held_out)}"


def _held_out(n: int, share: float) -> int:
    return max(1, round(n * share))


def _count(some: int, n: int, what: str) -> str:
    return f"{some} of {n} images {'is' if some == 1 else 'are'} {what}"


def _named(names: Sequence[str], which: Sequence[int]) -> str:
    return first_named([names[index] for index in which])
