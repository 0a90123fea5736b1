"""What a choice is worth, asked of defects painted on held-out good images.

    python benchmarks/synthetic_defects.py RUN [--data DATA]

Settings are never chosen on a test set. This takes the calibration images of a run, which training
never saw, paints seven kinds of defects on copies of them and prints image AUROC under several
poolings, the pixel figures and the image AUROC of each kind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from edgead_export.paths import one_thread, torch_path
from edgead_training import metrics
from edgead_training.run import load_run
from numpy.typing import NDArray

from edgead import EdgeadError
from edgead.images import read_image

SHARES = (0.0, 0.001, 0.01, 0.03, 1.0)  # 0 is the maximum, 1 the mean
COPIES = 2  # defective copies of each image
Painter = Callable[[NDArray[np.float32], NDArray[np.float32], np.random.Generator], NDArray]


def main() -> int:
    """Parse, score, print."""
    args = _arguments()
    try:
        run = load_run(args.run, args.data)
        frames = [read_image(sample.path) for sample in run.calibration]
    except EdgeadError as error:
        print(f"synthetic_defects: {error}", file=sys.stderr)
        return error.exit_code
    rng = np.random.default_rng(0)
    path = torch_path(run.method)
    kinds, maps, masks = [], [], []
    with one_thread():
        for frame in frames:
            painted = [(frame, np.zeros(frame.shape[:2], bool), "good")]
            painted += [paint(frame, rng) for _ in range(COPIES)]
            for image, mask, kind in painted:
                maps.append(path.run(image)[0])
                masks.append(metrics.resize_mask(mask, maps[-1].shape))
                kinds.append(kind)
    report(np.stack(maps), np.stack(masks), np.array(kinds))
    return 0


def report(maps: NDArray[np.float32], masks: NDArray[np.bool_], kinds: NDArray[np.str_]) -> None:
    """Print AUROC per pooling and kind for maps [N, H, W], masks [N, H, W], kinds [N]."""
    defective = kinds != "good"
    pixels = -np.sort(-maps.reshape(len(maps), -1), axis=1)
    columns = ["all", *sorted(set(kinds[defective]))]
    print("pooling     " + "".join(f"{name:>9}" for name in columns))
    for share in SHARES:
        scores = pixels[:, : max(1, round(share * pixels.shape[1]))].mean(1)
        areas = []
        for name in columns:
            rows = ~defective | (kinds == name) | (name == "all")
            areas.append(metrics.auroc(scores[rows], defective[rows]))
        label = {0.0: "max", 1.0: "mean"}.get(share, f"top {share:.1%}")
        print(f"{label:<12}" + "".join(f"{area:>9.3f}" for area in areas))
    print(f"pixel AUROC {metrics.pixel_auroc(maps, masks):.3f}, "
          f"AUPRO {metrics.aupro(maps, masks):.3f}")  # fmt: skip


def paint(
    frame: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], str]:
    """A copy of frame [H, W] or [H, W, 3] with one defect, where it is [H, W], and its kind.

    Blobs are ellipses of 2 to 20 % of the smaller side, lines a quarter of it at most. The place is
    one that differs from the frame's border, if there is any, so that the part is hit.
    """
    kind = str(rng.choice([*LINES, *BLOBS]))
    image = frame.astype(np.float32).reshape(*frame.shape[:2], -1)
    side, centre = min(frame.shape[:2]), _place(image, rng)
    mask = np.zeros(frame.shape[:2], np.float32)
    if kind in LINES:
        _line(mask, centre, LINES[kind], side, rng)
        shade = rng.uniform(25, 90) * (-1 if kind == "crack" or rng.random() < 0.5 else 1)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.7)
        painted = image + shade * soft[..., None]
    else:
        axes = tuple(max(2, int(side * rng.uniform(0.01, 0.1))) for _ in range(2))
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        soft = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None]
        painted = image + soft * (BLOBS[kind](image, side, rng) - image)
    return painted.clip(0, 255).astype(np.uint8).reshape(frame.shape), mask > 0, kind


def _place(image: NDArray[np.float32], rng: np.random.Generator) -> tuple[int, int]:
    """(x, y) in the inner three quarters."""
    height, width = image.shape[:2]
    border = np.median(np.concatenate([image[0], image[-1]]), axis=0)
    for _ in range(50):
        y, x = (int(rng.uniform(0.12, 0.88) * length) for length in (height, width))
        around = image[max(0, y - 9) : y + 9, max(0, x - 9) : x + 9]
        if np.abs(around - border).mean() > 25:
            break
    return x, y


def _line(
    mask: NDArray[np.float32], start: tuple[int, int], bend: float, side: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    corners, angle = [np.array(start, float)], rng.uniform(0, 2 * np.pi)
    count = int(rng.integers(3, 7))
    length = side * rng.uniform(0.05, 0.3) / count
    for _ in range(count):
        angle += rng.normal(0, bend)
        corners.append(corners[-1] + length * np.array([np.cos(angle), np.sin(angle)]))
    thickness = max(1, round(side / 256 * int(rng.integers(1, 4))))
    cv2.polylines(mask, [np.round(corners).astype(np.int32)], False, 1.0, thickness)


def _foreign(image: NDArray[np.float32], _side: int, rng: np.random.Generator) -> NDArray:
    height, width = image.shape[:2]
    grain = rng.normal(0, 1, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    return (cv2.resize(grain, (width, height)) * 35 + rng.uniform(60, 200))[..., None]


def _shift(image: NDArray[np.float32], side: int, rng: np.random.Generator) -> NDArray:
    return np.roll(image, [int(side * rng.uniform(0.1, 0.3)) for _ in range(2)], (0, 1))


def _blur(image: NDArray[np.float32], side: int, _rng: np.random.Generator) -> NDArray:
    return cv2.GaussianBlur(image, (0, 0), side / 40).reshape(image.shape)


LINES = {"scratch": 0.1, "crack": 0.5}  # radians from one piece to the next
BLOBS: dict[str, Painter] = {
    "spot": lambda image, _side, rng: rng.uniform(0, 255, image.shape[2]),
    "stain": lambda image, _side, rng: image * rng.uniform(0.5, 0.85),
    "shift": _shift,
    "blur": _blur,
    "foreign": _foreign,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished training run")
    parser.add_argument("--data", metavar="DATA", type=Path, help="where its images lie now")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
