"""Good images divided into those to learn from and those to calibrate with."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgead.errors import DataError, shortened

from .dataset import Sample, by_name

Parts = tuple[tuple[Sample, ...], tuple[Sample, ...]]  # (train, calibration), ordered by name


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
        group: regular expression whose first group, found in the name, is the id of the part that
            the image shows; images of one part stay together, and the calibration part is then the
            least number of parts that reaches the fraction.
        shots: learn from this many images of every category only, at least 1; fewer shots are a
            subset of more. The calibration part is the same as without.
        alike: name to name of the first sample that shows the same; without ``group``, those with
            one first sample stay together. They count once.

    Returns:
        (train, calibration), at least one each, both ordered by name.

    Raises:
        DataError: fewer than two samples or parts in a category, an expression that does not fit,
            fewer images than shots.
    """
    if not 0.0 < calibration_fraction < 1.0:
        raise ValueError(f"calibration_fraction is {calibration_fraction}; expected 0 < it < 1")
    pattern = None if group is None else _compiled(group)
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
        learn, held_out = _divide(members, where, seed, calibration_fraction, pattern, same)
        if shots is not None:
            if shots > len(learn):
                raise DataError(
                    f"--shots {shots} is more than the {len(learn)} good images{where} that are "
                    f"left to learn from after {len(held_out)} are held out to calibrate with; "
                    f"give --shots {len(learn)} or less, more images, or a smaller --calibration"
                )
            learn = _different_first(sorted(learn, key=lambda s: _rank(seed, s.name)), same)[:shots]
        train += learn
        calibration += held_out
    return tuple(sorted(train, key=by_name)), tuple(sorted(calibration, key=by_name))


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
    return len({part_of(sample, group) for sample in samples})


def part_of(sample: Sample, group: str) -> tuple[str, str]:
    """(category, part) of what a sample shows; ``group`` and errors as for ``split``."""
    return sample.category, _part(_compiled(group), sample)


def _divide(
    samples: Sequence[Sample], where: str, seed: int, fraction: float,
    pattern: re.Pattern[str] | None, same: Mapping[str, str],
) -> tuple[list[Sample], list[Sample]]:  # fmt: skip
    """(train, calibration) of one category, which ``where`` names."""
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        parts[same[sample.name] if pattern is None else _part(pattern, sample)].append(sample)
    if len(parts) < 2:
        what = f"{len(samples)} good image{'s' * (len(samples) != 1)}{where}"
        raise DataError(
            f"{what} cannot be divided into training and calibration; expected at least two"
            + (", and not copies of one" if len(samples) > 1 else "")
            if pattern is None
            else f"{what} show one part by --group {pattern.pattern}; expected at "
            "least two parts, one to learn from and one to calibrate with: give images of more "
            "parts, or remove --group"
        )
    first, *ranked = sorted(parts, key=lambda part: _rank(seed, part))
    calibration, share = parts[first], round(len(set(same.values())) * fraction)
    while len({same[sample.name] for sample in calibration}) < share and len(ranked) > 1:
        calibration += parts[ranked.pop(0)]
    return [sample for part in ranked for sample in parts[part]], calibration


def _compiled(group: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read in another way
            pattern = re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(
            f"--group {shortened(group)} is not a regular expression: {error}"
        ) from error
    if not pattern.groups:
        raise DataError(
            f"--group {group} has no group; put parentheses around what is the same in all images "
            f"of one part, as in '_num_([0-9]+)'"
        )
    return pattern


def _part(pattern: re.Pattern[str], sample: Sample) -> str:
    found = pattern.search(sample.name)
    if found is None or not found.group(1):
        raise DataError(
            f"--group {pattern.pattern} does not say which part {sample.name} shows; give an "
            f"expression whose first group is found in every name"
        )
    return found.group(1)


def _rank(seed: int, name: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest(), name
