"""Scores over time: the test frames of each video in their order, and the frame-level AUROC.

    s'_t = (s_t - min s) / (max s - min s)     over the frames t of one video, 0 where all are equal
    frame-level AUROC = AUROC of s' over the frames of all videos together

Source: the convention of the field since Liu et al., Future frame prediction for anomaly
detection (CVPR 2018), section 3.5. It looks at the whole video before it judges a frame, so it is
a figure for comparison with papers, not what a camera can do; the verdicts use the raw scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.layouts.frames import place_in_video, video_of
from . import metrics


@dataclass(frozen=True)
class Timeline:
    """One video: scores [n] float64 as the detector gave them, anomalous [n] bool, in its order."""

    video: str
    scores: NDArray[np.float64]
    anomalous: NDArray[np.bool_]

    @property
    def auroc(self) -> float | None:
        """AUROC over the frames of this video; None where they are all normal or all anomalous."""
        return metrics.auroc(self.scores, self.anomalous)

    def spans(self) -> list[tuple[int, int]]:
        """The stretches of anomalous frames, [first, last + 1)."""
        steps = np.diff(self.anomalous.astype(np.int8), prepend=0, append=0)
        ends = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
        return [(int(first), int(end)) for first, end in ends]


def timelines(frames: Iterable[tuple[str, float, bool]]) -> tuple[Timeline, ...]:
    """The videos, by name.

    Args:
        frames: (sample's name, score, anomalous or not), in any order
    """
    videos: dict[str, list[tuple[str, float, bool]]] = {}
    for frame in frames:
        videos.setdefault(video_of(frame[0]), []).append(frame)
    found = []
    for video, members in sorted(videos.items()):
        members.sort(key=lambda frame: place_in_video(frame[0]))
        scores = np.array([score for _, score, _ in members], dtype=np.float64)
        found.append(Timeline(video, scores, np.array([odd for _, _, odd in members], dtype=bool)))
    return tuple(found)


def normalised(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores [n] of one video brought to [0, 1], least and largest; 0 where all are equal."""
    values = np.asarray(scores, dtype=np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def frame_auroc(videos: Sequence[Timeline]) -> float | None:
    """AUROC over all frames of all videos, normalised per video; None with one class only."""
    scores = np.concatenate([normalised(video.scores) for video in videos])
    return metrics.auroc(scores, np.concatenate([video.anomalous for video in videos]))
