"""What two bundles say of the same frames, which neither has learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgead.calibration import wilson_interval
from edgead.detector import Detector
from edgead.live.relearning.choice import Choice
from edgead.records.reviews import Entry

KINDS = ("good", "alarms", "defective")
Read = Callable[[Entry], NDArray[Any]]
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judged:
    """How many of the frames that are held out are called anomalous.

    Args:
        rejected: by kind, of ``KINDS``.
        images: how many there are of each kind.
    """

    rejected: Mapping[str, int]
    images: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """``false_rejects`` of the sample, ``alarms`` that stay, ``caught`` defects: images,
        rejected, share, and its 95 % interval (Wilson)."""
        names = dict(zip(KINDS, ("false_rejects", "alarms", "caught"), strict=True))
        return {name: self._share(kind) for kind, name in names.items()}

    def _share(self, kind: str) -> dict[str, Any]:
        hits, n = self.rejected[kind], self.images[kind]
        told: dict[str, Any] = {"images": n, "rejected": hits, "share": None, "interval": None}
        if n:
            told |= {"share": hits / n, "interval": list(wilson_interval(hits, n))}
        return told


def judge(
    detector: Detector,
    choice: Choice,
    rates: Mapping[str, float],
    read: Read,
    show: Callable[[int, int], None],
) -> Judged:
    """Score the frames that are held out.

    Args:
        detector: of one of the bundles.
        choice: that has them.
        rates: the false-reject rate of each camera.
        read: gives a frame.
        show: called with (frames done, frames in all).
    """
    frames = {kind: getattr(choice, kind) for kind in KINDS}
    total, done = sum(map(len, frames.values())), 0
    rejected = dict.fromkeys(KINDS, 0)
    for kind, entries in frames.items():
        for entry in entries:
            found = detector.score(read(entry))
            rejected[kind] += found.p_value <= rates[entry.camera]
            done += 1
            show(done, total)
    return Judged(rejected, {kind: len(entries) for kind, entries in frames.items()})


def worse(before: Judged, after: Judged) -> str:
    """In what the bundle after is worse, in a sentence; nothing where it is not.

    It may reject no more of the sample, and must catch as many defects.
    """
    said: list[str] = []
    for kind, sign, what in (
        ("good", 1, "good frames of the sample are rejected"),
        ("defective", -1, "defective frames are caught"),
    ):
        was, found, n = before.rejected[kind], after.rejected[kind], before.images[kind]
        if sign * (found - was) > 0:
            said.append(f"{found} of {n} {what}, before it were {was}")
    return "; ".join(said)


def shares_in_words(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """(what, before, after) for people, of ``Judged.to_json``."""
    return [
        (what, _in_words(before[name]), _in_words(after[name]))
        for name, what in (
            ("false_rejects", "false rejects, of the sample"),
            ("alarms", "false alarms that stay"),
            ("caught", "defects caught"),
        )
    ]


def _in_words(share: Mapping[str, Any]) -> str:
    if share["interval"] is None:
        return "none held out"
    low, high = share["interval"]
    return f"{share['rejected']} of {share['images']} ({100 * low:.0f} to {100 * high:.0f} %)"
