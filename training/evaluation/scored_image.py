"""A test image with its verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoredImage:
    """One test image and what the detector said about it.

    Args:
        name: path relative to the data set's root; `path` is the file itself
        label: "good" or the name of the defect
        score: raw anomaly score; `p_value` in (0, 1]
        anomalous: the verdict at the rate the evaluation ran with
        frame_size: (height, width) in pixels
        total_ms: the time of Detector.score
        known: "learnt" or "calibrated" where the bundle tells so, else None
        content: digest of what it shows, hexadecimal
        copy_of: name of the first test image with this content and label, None for that one itself
    """

    name: str
    path: str
    label: str
    score: float
    p_value: float
    anomalous: bool
    frame_size: tuple[int, int]
    total_ms: float
    has_mask: bool
    category: str = ""
    known: str | None = None
    content: str = ""
    copy_of: str | None = None

    @property
    def is_good(self) -> bool:
        return self.label == "good"

    @property
    def outcome(self) -> str:
        """One of "missed", "rejected" (the mistakes), "caught", "passed"."""
        if self.is_good:
            return "rejected" if self.anomalous else "passed"
        return "caught" if self.anomalous else "missed"
