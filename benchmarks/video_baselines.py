"""Frame-level AUROC of trivial baselines, and of bundles, on the test videos of one data set.

    python benchmarks/video_baselines.py DATA [--bundle NAME.edgead …] [--json FILE]

DATA has the layout "frames" (`edgead frames` makes it). The baselines see the same frames:

    frame difference   mean |grey_t - grey_(t-1)| at full size; the first frame of a video gets 0
    PCA residual       root of the mean squared residual of the frame, grey at 64x64, after the
                       projection on the principal components that hold 95 % of the variance of
                       the training frames

Every score is also smoothed over time with a Gaussian of `--smooth` frames, before it is normalised
per video. Nothing here is chosen by looking at labels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from edgead_training.data import Dataset, Sample, open_dataset
from edgead_training.evaluation.timeline import Timeline, frame_auroc, timelines
from numpy.typing import NDArray

from edgead.cli.console import table
from edgead.images import read_image

SIDE = 64  # of the grey frame that PCA sees
SHARE = 0.95  # of the variance that its components hold

Score = Callable[[NDArray[np.uint8]], float]


def grey(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[H, W] float32 in 0 to 255."""
    if frame.ndim == 3:
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return frame.astype(np.float32)


def small(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[SIDE * SIDE] float32, each pixel the mean of the ones it covers."""
    return cv2.resize(grey(frame), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()


def frame_difference() -> Score:
    """The score of frames given one after another; a new one for each video."""
    last: list[NDArray[np.float32]] = []

    def score(frame: NDArray[np.uint8]) -> float:
        now = grey(frame)
        before = last.pop() if last else now
        last.append(now)
        return float(np.abs(now - before).mean())

    return score


class Pca:
    """Mean [d] and components [k, d] of rows [n, d]; k holds `share` of their variance."""

    def __init__(self, rows: NDArray[np.float32], share: float = SHARE) -> None:
        self.mean = rows.mean(axis=0)
        _, spread, components = np.linalg.svd(rows - self.mean, full_matrices=False)
        held = np.cumsum(spread**2) / np.sum(spread**2)
        self.components = components[: int(np.searchsorted(held, share)) + 1]

    def residual(self, row: NDArray[np.float32]) -> float:
        """Root of the mean squared difference between a row [d] and its projection."""
        centred = row - self.mean
        left = centred - (self.components @ centred) @ self.components
        return float(np.sqrt(np.mean(left**2)))


def smoothed(scores: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Scores [n] after a Gaussian of `sigma` frames; weights outside the video do not count."""
    radius = math.ceil(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    middle = slice(radius, radius + scores.size)
    weights = np.convolve(np.ones(scores.size), kernel)[middle]
    return np.convolve(scores, kernel)[middle] / weights


def videos_of(samples: tuple[Sample, ...], new_score: Callable[[], Score]) -> list[Timeline]:
    """The test videos with the scores of one method, each video from its first frame on."""
    paths = {sample.name: sample.path for sample in samples}
    order = timelines((s.name, float(place), not s.is_good) for place, s in enumerate(samples))
    names = [sample.name for sample in samples]
    found = []
    for video in order:
        score = new_score()
        scores = [score(read_image(paths[names[int(place)]])) for place in video.scores]
        found.append(Timeline(video.video, np.array(scores), video.anomalous))
    return found


def methods(dataset: Dataset, bundles: list[str]) -> Iterator[tuple[str, Callable[[], Score]]]:
    """Name and scorer of each baseline and bundle."""
    yield "frame difference", frame_difference
    rows = np.stack([small(read_image(sample.path)) for sample in dataset.train])
    pca = Pca(rows)
    yield (
        f"PCA residual, {len(pca.components)} components",
        lambda: lambda f: pca.residual(small(f)),
    )
    for path in bundles:
        from edgead import Detector

        detector = Detector(path, threads=1)
        yield Path(path).stem, lambda detector=detector: lambda frame: detector.score(frame).score


def main() -> int:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="data set with the layout frames")
    parser.add_argument("--bundle", nargs="+", default=[], metavar="NAME.edgead")
    parser.add_argument("--smooth", type=float, default=10.0, metavar="FRAMES")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    dataset = open_dataset(args.data, purpose="evaluate")
    if dataset.layout != "frames" or not dataset.train:
        sys.exit(f"{args.data} has no training and testing frames; make them with: edgead frames")
    found = []
    for name, new_score in methods(dataset, args.bundle):
        videos = videos_of(dataset.test, new_score)
        smooth = [Timeline(v.video, smoothed(v.scores, args.smooth), v.anomalous) for v in videos]
        found.append(
            {
                "method": name,
                "frame_auroc": frame_auroc(videos),
                "frame_auroc_smoothed": frame_auroc(smooth),
            }
        )
    rows = [("method", "frame AUROC", f"smoothed, sigma {args.smooth:g} frames")]
    rows += [
        (f["method"], f"{f['frame_auroc']:.4f}", f"{f['frame_auroc_smoothed']:.4f}") for f in found
    ]
    print("\n".join(table(rows, right=(1, 2))))
    if args.json is not None:
        figures = {"data": dataset.root.name, "n_test": len(dataset.test), "smooth": args.smooth}
        args.json.write_text(json.dumps(figures | {"methods": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
