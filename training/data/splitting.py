"""Good images divided into those to learn from and those to calibrate with."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgead.calibration import best_false_reject_rate, images_needed, typed_rate
from edgead.errors import CalibrationError, DataError, printable

from .dataset import Dataset, Sample, by_name
from .grouping import grouped, name_of, told

Parts = tuple[tuple[Sample, ...], tuple[Sample, ...]]  # (train, calibration), ordered by name

OF_PARTS = (
    "images of one part resemble each other: the false-reject rate is promised as an average over "
    "parts, and is known less well than the images suggest"
)


def split(
    samples: Sequence[Sample],
    seed: int,
    calibration_fraction: float = 0.2,
    *,
    group: str | None = None,
    shots: int | None = None,
    alike: Mapping[str, str] | None = None,
) -> Parts:
    """Divide good samples into those to learn from and those to calibrate with.

    A sample's place follows from sha256(seed, name) alone, so that neither the order of the
    listing, nor the machine, nor the folder's location changes it. Every category is divided by
    itself, in the same share.

    Args:
        samples: good images, at least two of each category.
        seed: of the division.
        calibration_fraction: share to calibrate with, in (0, 1).
        group: tells the part that an image shows, see ``grouping.grouped``; images of one part
            stay together, and the calibration part is then the least number of parts that reaches
            the fraction.
        shots: learn from this many images of every category only, at least 1; fewer shots are a
            subset of more. The calibration part is the same as without.
        alike: name to name of the first sample that shows the same; without ``group``, those with
            one first sample stay together. They count once.

    Returns:
        (train, calibration), at least one each, both ordered by name.

    Raises:
        DataError: fewer than two samples or parts in a category, a ``group`` that does not fit,
            fewer images than shots.
    """
    if not 0.0 < calibration_fraction < 1.0:
        raise ValueError(f"calibration_fraction is {calibration_fraction}; expected 0 < it < 1")
    shows = None if group is None else dict(zip(samples, parts_of(samples, group), strict=True))
    if shots is not None and shots < 1:
        raise DataError(f"--shots {shots} leaves nothing to learn from; give at least 1")
    categories: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        categories[sample.category].append(sample)
    train: list[Sample] = []
    calibration: list[Sample] = []
    for name, members in (categories or {"": []}).items():
        where = f" of {name}" if name else ""
        same = {sample.name: (alike or {}).get(sample.name, sample.name) for sample in members}
        parts = [same[s.name] if shows is None else shows[s][1] for s in members]
        if len(set(parts)) < 2:
            raise _of_one(len(members), where, group)
        learn, held_out = _divide(members, parts, seed, calibration_fraction, same)
        if shots is not None:
            learn = _drawn(learn, shots, len(held_out), where, seed, same)
        train += learn
        calibration += held_out
    return tuple(sorted(train, key=by_name)), tuple(sorted(calibration, key=by_name))


def _drawn(
    learn: list[Sample], shots: int, held_out: int, where: str, seed: int, same: Mapping[str, str]
) -> list[Sample]:
    """``shots`` of the samples of one category, drawn by ``seed``. Raises: DataError."""
    if shots > len(learn):
        raise DataError(
            f"--shots {shots} is more than the {len(learn)} good images{where} that are left to "
            f"learn from after {held_out} are held out to calibrate with; give --shots "
            f"{len(learn)} or less, more images, or a smaller --calibration"
        )
    return _different_first(sorted(learn, key=lambda s: _rank(seed, s.name)), same)[:shots]


def _different_first(samples: list[Sample], same: Mapping[str, str]) -> list[Sample]:
    """In their order, but what shows the same as an earlier one behind all others."""
    first: dict[str, str] = {}
    for sample in samples:
        first.setdefault(same[sample.name], sample.name)
    return sorted(samples, key=lambda sample: first[same[sample.name]] != sample.name)


def once_each(parts: Parts, alike: Mapping[str, str]) -> Parts:
    """Parts without the calibration images that show what another one, or a learnt one, shows.

    Args:
        parts: train and calibration.
        alike: as for ``split``.
    """
    seen = {alike.get(sample.name, sample.name) for sample in parts[0]}
    kept = []
    for sample in parts[1]:
        first = alike.get(sample.name, sample.name)
        if first not in seen:
            kept.append(sample)
        seen.add(first)
    return parts[0], tuple(kept)


def count_parts(samples: Sequence[Sample], group: str) -> int:
    """How many parts the samples show; ``group`` and errors as for ``split``."""
    return len(set(parts_of(samples, group)))


def check_rate_of_parts(rate: float | None, parts: int) -> None:
    """Refuse a false-reject rate that so few parts to calibrate with cannot promise.

    Args:
        rate: that was asked for; None: the default, of which users are told what holds.
        parts: how many, each with as many images as there are.

    Raises:
        CalibrationError: says the best possible, and how many parts the rate asked for would take.

    Source: Lee, Barber, Willett, arXiv 2306.06342: of m parts at most (m rate + 1) / (m + 1).
    """
    best = best_false_reject_rate(parts)
    if rate is None or not 0 < rate < best:  # what is not a rate is refused elsewhere
        return
    raise CalibrationError(
        f"false-reject rate {rate:g} cannot be promised with {parts} parts to calibrate with, "
        f"however many images show them: the best possible is {typed_rate(best)}, and "
        f"{rate:g} takes {images_needed(rate)} parts; give images of more parts, hold out more "
        f"with --calibration, or ask for {typed_rate(best)}"
    )


def parts_of(samples: Sequence[Sample], group: str) -> list[tuple[str, str]]:
    """(category, part) of what each sample shows; ``group`` and errors as for ``split``."""
    found = grouped([sample.name for sample in samples], group)
    return [(sample.category, part) for sample, part in zip(samples, found, strict=True)]


def check_halves(dataset: Dataset, group: str) -> int:
    """Refuse parts that are both learnt from and tested with.

    Args:
        dataset: with a test set, or without.
        group: as for ``split``.

    Returns:
        How many images of the test set show a part that ``group`` does not tell.

    Raises:
        DataError: how many parts are in both, and an image of one in each; a ``group`` that cannot
            be read.
    """
    halves: list[dict[tuple[str, str], str]] = [{}, {}]  # part to the name of an image
    untold = 0
    for half, samples in zip(halves, (dataset.train, dataset.test), strict=True):
        found = told([sample.name for sample in samples], group)
        untold = found.count(None)
        for sample, part in zip(samples, found, strict=True):
            if part is not None:
                half.setdefault((sample.category, part), sample.name)
    both = sorted(set(halves[0]) & set(halves[1]))
    if both:
        one, other = (printable(half[both[0]]) for half in halves)
        raise DataError(
            f"{len(both)} of {len(halves[1])} parts of the test set are among those to learn from "
            f"too, by --group {printable(name_of(group))} (such as {printable(both[0][1])}: {one} "
            f"and {other}), so figures would say nothing of new parts; expected: none. Move all "
            "images of a part to one half, or, where a number counts within each folder, let the "
            "group hold the folder too"
        )
    return untold


def _of_one(n: int, where: str, group: str | None) -> DataError:
    """The images of a category, which ``where`` names, show one part."""
    what = f"{n} good image{'s' * (n != 1)}{where}"
    if group is None:
        more = ", and not copies of one" if n > 1 else ""
        return DataError(
            f"{what} cannot be divided into training and calibration; expected at least two{more}"
        )
    return DataError(
        f"{what} show one part by --group {group}; expected at least two parts, one to learn from "
        "and one to calibrate with: give images of more parts, or remove --group"
    )


def _divide(
    samples: Sequence[Sample], shown: Sequence[str], seed: int, fraction: float,
    same: Mapping[str, str],
) -> tuple[list[Sample], list[Sample]]:  # fmt: skip
    """(train, calibration) of one category, whose samples show the parts ``shown``."""
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample, part in zip(samples, shown, strict=True):
        parts[part].append(sample)
    first, *ranked = sorted(parts, key=lambda part: _rank(seed, part))
    calibration, share = list(parts[first]), round(len(set(same.values())) * fraction)
    while len({same[sample.name] for sample in calibration}) < share and len(ranked) > 1:
        calibration += parts[ranked.pop(0)]
    return [sample for part in ranked for sample in parts[part]], calibration


def _rank(seed: int, name: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest(), name
