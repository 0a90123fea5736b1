"""Test images that test nothing: learnt from, calibrated with, or copies of each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edgead.bundle.known_images import CALIBRATED, LEARNT, Known
from edgead.images.image_set import first_named

from .scored_image import ScoredImage


@dataclass(frozen=True)
class Overlap:
    """How many test images are known to the bundle, and how many are copies.

    Args:
        learnt, calibrated: how many are; None where the bundle does not tell.
        learnt_good, calibrated_good: of these, the good ones.
        copies: how many are copies of another test image with the same label.
        contradictions: how many have the content of one with another label, both counted.
        warnings: for people, each a sentence or two.
    """

    learnt: int | None
    calibrated: int | None
    learnt_good: int
    calibrated_good: int
    copies: int
    contradictions: int
    warnings: tuple[str, ...]

    @property
    def good(self) -> int:
        """Good test images that the bundle knows."""
        return self.learnt_good + self.calibrated_good

    def to_json(self) -> dict[str, int | None]:
        """For ``edgead evaluate --json``."""
        return {
            "learnt": self.learnt,
            "calibrated": self.calibrated,
            "good": self.good,
            "copies": self.copies,
            "contradictions": self.contradictions,
        }


def overlap(images: Sequence[ScoredImage], known: Known) -> Overlap:
    """Which images of a test set do not test this bundle."""
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        labels[image.content].add(image.label)
    contradictions = [i for i in images if len(labels[i.content]) > 1]
    same = [i for i in images if i.copy_of is not None]
    of_kind = {kind: [i for i in images if i.known == kind] for kind in (LEARNT, CALIBRATED)}
    said = [_known(of_kind[kind], kind, len(images), known.share) for kind in of_kind]
    if contradictions:
        said.append(
            f"{len(contradictions)} test images have the content of one with another label "
            f"({_named(contradictions)}): no detector can tell them apart; correct the labels"
        )
    if same:
        said.append(
            f"{len(same)} of {len(images)} test images are copies of others ({_named(same)}): the "
            "false rejects and defects caught count each content once"
        )
    counts = {k: len(of_kind[k]) if known.tells(k) else None for k in of_kind}
    good = {k: sum(image.is_good for image in of_kind[k]) for k in of_kind}
    return Overlap(
        counts[LEARNT], counts[CALIBRATED], good[LEARNT], good[CALIBRATED],
        len(same), len(contradictions), tuple(filter(None, said)),
    )  # fmt: skip


def not_told(known: Known) -> str | None:
    """What to say of a bundle that does not tell what it has learnt or was calibrated with."""
    missing = [kind for kind in (LEARNT, CALIBRATED) if not known.tells(kind)]
    if not missing:
        return None
    return (
        f"Whether test images were {' or '.join(missing)} cannot be told: the bundle does not keep "
        "which were. Figures on such images say nothing of new parts."
    )


def _known(images: Sequence[ScoredImage], kind: str, n: int, share: float) -> str:
    if not images:
        return ""
    what = "the bundle has learnt from" if kind == LEARNT else "the threshold comes from"
    good, least = sum(image.is_good for image in images), "" if share == 1.0 else "at least "
    defects = len(images) - good
    bad = f"; {defects} of them labelled as defects" if defects else ""
    return (
        f"{least}{len(images)} of {n} test images are ones that {what} ({_named(images)}){bad}. "
        "They score lower than new parts do, so the false rejects and all figures that good images "
        "go into are better than they will be in service; test on other images"
    )


def _named(images: Sequence[ScoredImage]) -> str:
    return first_named([image.name for image in images])
