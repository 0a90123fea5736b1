"""A shadow period: the new bundle judges the frames that the old one judges, and serves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.detector import Detector
from edgead.errors import EdgeadError
from edgead.files import in_words
from edgead.images import read_image

MOST_NAMED = 100


@dataclass(frozen=True)
class Changed:
    """A frame that the two judge differently; p-values of the old and of the new bundle."""

    image: str
    was_anomalous: bool
    p_value: tuple[float, float]


@dataclass
class Shadow:
    """What a shadow period found.

    Args:
        frames: that both scored.
        changed: those with another verdict.
        unreadable: name and reason of each image that was not scored.
    """

    frames: int = 0
    changed: list[Changed] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the frames, those with another verdict."""
        return len(self.changed) / self.frames if self.frames else 0.0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``: counts, and the first frames with another verdict."""
        newly = sum(not one.was_anomalous for one in self.changed)
        return {
            "frames": self.frames,
            "verdicts_changed": len(self.changed),
            "newly_anomalous": newly,
            "no_longer_anomalous": len(self.changed) - newly,
            "unreadable": len(self.unreadable),
            "changed": [
                {"image": one.image, "was_anomalous": one.was_anomalous, "p_values": one.p_value}
                for one in self.changed[:MOST_NAMED]
            ],
        }


def shadow(
    old: Detector,
    new: Detector,
    images: Sequence[Path],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shadow:
    """Score every image with both, each at its own false-reject rate.

    An image that cannot be read, or that only one of them can score, is counted and left out.
    """
    found = Shadow()
    for done, path in enumerate(images, 1):
        try:
            frame = read_image(path, bit_depth=old.bit_depth)
            before, after = old.score(frame), new.score(frame)
        except (EdgeadError, OSError) as error:
            found.unreadable.append((str(path), in_words(error)))
        else:
            found.frames += 1
            if before.is_anomalous != after.is_anomalous:
                values = (before.p_value, after.p_value)
                found.changed.append(Changed(str(path), before.is_anomalous, values))
        progress(done, len(images))
    return found
