"""Which reviewed frames teach a bundle, which calibrate it, and which are held out to judge it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgead.calibration import images_needed
from edgead.errors import InputError
from edgead.records.reviews import Entry, Reviews

LEAST_HELD_OUT = 10
"""Good frames of the sample that judge the new bundle, at least."""
LEAST_REVIEWED = 0.5
"""Of the sample: whoever reviews fewer may have chosen which."""
PART_SECONDS = 1.0
_ALL = 1_000_000


class RelearningError(InputError):
    """Frames that nothing can be learnt from, or a bundle that cannot be swapped; says why."""


@dataclass(frozen=True)
class Choice:
    """Reviewed frames, divided; no part is on two sides.

    Args:
        add: false alarms, the earlier half: they are learnt.
        sample: good frames of the random sample, the earlier ones: they set the threshold.
        good: the later ones of the sample: of them, too many must not be rejected.
        alarms: false alarms, the later half: these should be rejected no more.
        defective: all of them: these must still be caught.
        unreviewed: frames of the sample, of the same time, that nobody marked.
    """

    add: tuple[Entry, ...]
    sample: tuple[Entry, ...]
    good: tuple[Entry, ...]
    alarms: tuple[Entry, ...]
    defective: tuple[Entry, ...]
    unreviewed: int

    def counts(self) -> dict[str, int]:
        """How many frames each has."""
        names = ("add", "sample", "good", "alarms", "defective")
        return {name: len(getattr(self, name)) for name in names} | {"unreviewed": self.unreviewed}


def choose(
    reviews: Reviews,
    cameras: Sequence[str],
    rate: float,
    learnt: Collection[str] = (),
    part_seconds: float = PART_SECONDS,
) -> Choice:
    """Divide what was reviewed.

    Args:
        reviews: of the records.
        cameras: that share the bundle.
        rate: the lowest false-reject rate of theirs, which the sample has to promise.
        learnt: ids of frames that the bundle has learnt already.
        part_seconds: frames of a camera that follow each other within so many seconds show one
            part; 0: each shows a part of its own.

    Raises:
        RelearningError: only alarms were reviewed, too few, or a frame's file is gone.
    """
    marked = [entry for camera in cameras for entry in reviews.marked(camera)]
    gone = [e for e in marked if e.frame is None or not e.frame.is_file()]
    if gone:
        raise RelearningError(
            f"{len(gone)} marked frames are gone ({gone[0].id}): they were removed from the folder "
            "of records; mark others, or restore the files"
        )
    good = [entry for entry in marked if entry.label == "good"]
    parts = _parts(good, part_seconds)
    frames = [entry for entry in good if entry.is_sampled]
    sampled = _one_each(frames, parts)
    alarms = [e for e in good if not e.is_sampled and e.id not in learnt]
    needed = images_needed(rate)
    together = (
        f" ({len(frames)} frames, of which those within {part_seconds:g} s of each other count as "
        "one part: part_seconds)"
    )
    _check_sample(sampled, alarms, needed, rate, together if len(frames) > len(sampled) else "")
    calibrates = min(max(needed, len(sampled) // 2), len(sampled) - LEAST_HELD_OUT)
    sample, later = sampled[:calibrates], sampled[calibrates:]
    alarms = [e for e in alarms if parts[e.id] not in {parts[s.id] for s in sample}]
    add, rest = _halves(alarms, parts)
    if not add:
        raise RelearningError(
            "nothing to learn: no false alarm is marked good that is not in the random sample or "
            "was learnt already; mark false alarms as good"
        )
    taught = {parts[entry.id] for entry in add}
    held_out = [entry for entry in later if parts[entry.id] not in taught]
    _check_held_out(len(held_out), len(later))
    return Choice(
        add=tuple(add),
        sample=tuple(sample),
        good=tuple(held_out),
        alarms=tuple(rest),
        defective=tuple(entry for entry in marked if entry.label == "defective"),
        unreviewed=_unreviewed(reviews, cameras, sampled),
    )


def _check_sample(
    sampled: Sequence[Entry], alarms: Sequence[Entry], needed: int, rate: float, together: str
) -> None:
    """Refuse a sample that is too small; ``together``: how its frames became fewer parts."""
    if alarms and not sampled:
        raise RelearningError(
            f"only alarms are marked ({len(alarms)} good): frames that were chosen by their high "
            "scores cannot set a threshold, since one from them lets defects pass and promises "
            "nothing of other parts. Review the random sample of all frames too"
        )
    least = needed + LEAST_HELD_OUT
    if len(sampled) < least:
        raise RelearningError(
            f"{len(sampled)} good parts of the random sample are marked{together}, expected "
            f"{least}: {needed} set the threshold for a false-reject rate of {100 * rate:.3g} %, "
            f"{LEAST_HELD_OUT} judge the new bundle. Review more of the sample, or lower "
            "sample_every to have it grow faster"
        )


def _check_held_out(number: int, later: int) -> None:
    """Refuse too few frames that judge, where others show a part that is learnt."""
    if number < LEAST_HELD_OUT:
        raise RelearningError(
            f"{number} good parts of the random sample are held out to judge the new bundle, "
            f"expected {LEAST_HELD_OUT}: {later - number} more show a part that it would learn. "
            "Review more of the sample"
        )


def _unreviewed(reviews: Reviews, cameras: Iterable[str], sampled: Sequence[Entry]) -> int:
    """Frames of the sample that nobody marked, between the first and the last that is marked.

    Raises:
        RelearningError: they are more than those that were.
    """
    first, last = min(e.number for e in sampled), max(e.number for e in sampled)
    waiting = sum(
        e.is_sampled and e.frame is not None and e.label is None and first < e.number < last
        for camera in cameras
        for e in reviews.waiting(camera, _ALL)
    )
    if len(sampled) < LEAST_REVIEWED * (len(sampled) + waiting):
        raise RelearningError(
            f"{len(sampled)} of {len(sampled) + waiting} frames of the random sample are marked: "
            "where people choose which ones, it is random no more; review the others too"
        )
    return waiting


def _parts(entries: Sequence[Entry], part_seconds: float) -> dict[str, int]:
    """Which part each frame shows, by camera and time, in the order of recording."""
    found: dict[str, int] = {}
    before: dict[str, tuple[float, int]] = {}
    for number, entry in enumerate(sorted(entries, key=lambda e: e.number)):
        at_s = datetime.fromisoformat(entry.captured.replace("Z", "+00:00")).timestamp()
        earlier_s, part = before.get(entry.camera, (float("-inf"), -1))
        if not abs(at_s - earlier_s) < part_seconds:
            part = number
        found[entry.id] = part
        before[entry.camera] = at_s, part
    return found


def _one_each(entries: Sequence[Entry], parts: Mapping[str, int]) -> list[Entry]:
    """The first frame of each part, in the order of recording."""
    first: dict[int, Entry] = {}
    for entry in sorted(entries, key=lambda e: e.number):
        first.setdefault(parts[entry.id], entry)
    return list(first.values())


def _halves(entries: Sequence[Entry], parts: Mapping[str, int]) -> tuple[list[Entry], list[Entry]]:
    """The frames of the earlier half of the parts, and the others; a single part is earlier."""
    shown = sorted({parts[entry.id] for entry in entries})
    early = set(shown[: (len(shown) + 1) // 2])
    ordered = sorted(entries, key=lambda e: e.number)
    return (
        [e for e in ordered if parts[e.id] in early],
        [e for e in ordered if parts[e.id] not in early],
    )
