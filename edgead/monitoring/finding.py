"""What health and drift report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something wrong with the camera or the scores, while it lasts.

    Args:
        name: one of ``health.CHECKS``, or of the drift test.
        value, limit: what was measured, and what good images had at worst.
        frames: how many frames in a row.
        reason: all of it as a sentence.
    """

    name: str
    value: float
    limit: float
    frames: int
    reason: str
