"""What a choice is worth, measured on synthetic defects on held-out good images.

    python benchmarks/synthetic_defects.py RUN [--data DATA]

Settings are never chosen on a test set. This takes the calibration images of a run, which training
never saw, paints seven kinds of defects on copies of them, one within the frame and one that
reaches its border on each, and prints image AUROC under several poolings, of all, by place and by
kind, and the pixel figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from edgead_export.variants import one_thread, torch_path
from edgead_training.data.synthetic_defects import add_defect
from edgead_training.evaluation import metrics
from edgead_training.run import load_run
from numpy.typing import NDArray

from edgead import EdgeadError
from edgead.images import read_image

SHARES = (0.0, 0.001, 0.01, 0.03, 1.0)  # 0 is the maximum, 1 the mean
BORDER = (False, True)  # a defective copy of each image within, one whose defect is at the border


def main() -> int:
    """Parse, score, print."""
    args = _arguments()
    try:
        run = load_run(args.run, args.data)
        frames = [
            read_image(sample.path, bit_depth=run.method.bit_depth) for sample in run.calibration
        ]
    except EdgeadError as error:
        print(f"synthetic_defects: {error}", file=sys.stderr)
        return error.exit_code
    rng = np.random.default_rng(0)
    path = torch_path(run.method)
    kinds, reach, maps, masks = [], [], [], []
    with one_thread():
        for frame in frames:
            painted = [(frame, np.zeros(frame.shape[:2], bool), "good")]
            for at_border in BORDER:
                painted.append(add_defect(frame, rng, run.method.bit_depth, at_border=at_border))
            for (image, mask, kind), at_border in zip(painted, (False, *BORDER), strict=True):
                maps.append(path.run(image)[0])
                masks.append(metrics.resize_mask(mask, maps[-1].shape))
                kinds.append(kind)
                reach.append(at_border)
    report(np.stack(maps), np.stack(masks), np.array(kinds), np.array(reach))
    return 0


def report(
    maps: NDArray[np.float32],
    masks: NDArray[np.bool_],
    kinds: NDArray[np.str_],
    reach: NDArray[np.bool_],
) -> None:
    """Print AUROC per pooling, kind and place.

    Args:
        maps, masks: [N, H, W].
        kinds: [N], "good" or a kind of defect.
        reach: [N], whether it is at the border.
    """
    defective = kinds != "good"
    pixels = -np.sort(-maps.reshape(len(maps), -1), axis=1)
    chosen = {"all": defective, "within": defective & ~reach, "border": defective & reach}
    chosen |= {kind: kinds == kind for kind in sorted(set(kinds[defective]))}
    print("pooling     " + "".join(f"{name:>9}" for name in chosen))
    for share in SHARES:
        scores = pixels[:, : max(1, round(share * pixels.shape[1]))].mean(1)
        areas = []
        for members in chosen.values():
            rows = ~defective | members
            areas.append(metrics.auroc(scores[rows], defective[rows]))
        label = {0.0: "max", 1.0: "mean"}.get(share, f"top {share:.1%}")
        print(f"{label:<12}" + "".join(f"{area:>9.3f}" for area in areas))
    print(f"pixel AUROC {metrics.pixel_auroc(maps, masks):.3f}, "
          f"AUPRO {metrics.aupro(maps, masks):.3f}")  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished training run")
    parser.add_argument("--data", metavar="DATA", type=Path, help="where its images lie now")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
