"""Which pooling suits solar cells, asked of cells that the demo's test never sees.

    python benchmarks/cell_pooling.py [--minutes M] [--out DIR]

Two development sets of ELPV: monocrystalline cells of which the experts were not sure (defect
probability 1/3 or 2/3) against 120 of the demo's training cells, and polycrystalline ones, sure
good against sure defective. Trains ReDi on the remaining good cells of each kind and prints the
image AUROC of one set of maps under several poolings.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from edgead_training.data import open_dataset
from edgead_training.evaluation.metrics import auroc
from elpv_dataset.utils import load_dataset

import edgead
from edgead.images import read_image, write_png

SHARES = (0.0, 0.001, 0.01, 0.02, 0.03, 0.05, 0.1, 1.0)  # 0 is the maximum, 1 the mean
DEMO_SEED, DEMO_HELD_OUT = 0, 120  # as in examples/demo.py, whose test cells are left out


def main() -> int:
    """Train and score both sets, one table row each."""
    args = _arguments()
    print("set      " + "".join(f"{_name(share):>9}" for share in SHARES), flush=True)
    for name, parts in development_sets().items():
        data = args.out / name
        for folder, images in parts.items():
            (data / folder).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                write_png(data / folder / f"{number:04d}.png", image)
        run, bundle = args.out / f"{name}.run", args.out / f"{name}.edgead"
        if not bundle.exists():
            _edgead("train", "redi", data, "--out", run, "--minutes", args.minutes)
            _edgead("export", run, "--out", bundle, "--float32-only")
        areas = areas_by_share(bundle, data)
        print(f"{name:<9}" + "".join(f"{area:>9.4f}" for area in areas), flush=True)
    return 0


def development_sets() -> dict[str, dict[str, np.ndarray]]:
    """{"mono" | "poly": {folder of the MVTec layout: images [N, 300, 300] uint8}}."""
    images, probability, kind = load_dataset()
    mono = kind == "mono"
    good = np.random.default_rng(DEMO_SEED).permutation(np.flatnonzero(mono & (probability == 0)))
    good = np.random.default_rng(7).permutation(good[DEMO_HELD_OUT:])
    unsure = np.flatnonzero(mono & (probability > 0) & (probability < 1))
    poly = np.random.default_rng(7).permutation(np.flatnonzero(~mono & (probability == 0)))
    broken = np.flatnonzero(~mono & (probability == 1))
    chosen = {
        "mono": {"train/good": good[120:], "test/good": good[:120], "test/unsure": unsure},
        "poly": {
            "train/good": poly[:468],
            "test/good": poly[468:668],
            "test/defective": broken,
        },
    }
    return {name: {k: images[v] for k, v in parts.items()} for name, parts in chosen.items()}


def areas_by_share(bundle: Path, data: Path) -> list[float]:
    """Image AUROC when the score is the mean of the highest share of the map, for ``SHARES``."""
    detector, samples = edgead.Detector(bundle), open_dataset(data).test
    scores = []
    for sample in samples:
        pixels = np.sort(detector.score(read_image(sample.path)).map, axis=None)[::-1]
        scores.append([pixels[: max(1, round(share * pixels.size))].mean() for share in SHARES])
    defective = [not sample.is_good for sample in samples]
    return [float(auroc(column, defective) or np.nan) for column in np.transpose(scores)]


def _name(share: float) -> str:
    return {0.0: "max", 1.0: "mean"}.get(share, f"{100 * share:g} %")


def _edgead(*words: object) -> None:
    # Its progress goes to stderr; the table alone is on stdout.
    command = [sys.executable, "-m", "edgead", *map(str, words)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4, help="of training, each set")
    parser.add_argument("--out", type=Path, default=Path("runs/cell_pooling"), metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
