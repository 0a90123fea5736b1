"""Windows of AGPNet's residual compared without training anew, on synthetic defects.

    python benchmarks/windows.py RUN [--data DATA]

Decoder and residuals of a run stay as they are. What follows them is changed: the side of the
squares of positions whose mean is compared, for each level of the backbone, with E of each place
and with one E for a level. Synthetic defects are those of ``synthetic_defects.py`` on the
calibration images; AUPRO is that of maps and masks at half their size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from edgead_export.variants import one_thread
from edgead_training.data.synthetic_defects import add_defect
from edgead_training.evaluation import metrics
from edgead_training.features.scale import Compared, FeatureScale, fit_scale, join
from edgead_training.methods.agpnet import AGPNet
from edgead_training.run import Run, load_run
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgead.anomaly_map import AnomalyMap
from edgead.cli.main import guard
from edgead.errors import InputError
from edgead.images import read_image
from edgead.preprocess import Preprocessor

WINDOWS = ((1, 1, 1), (3, 3, 3), (3, 3, 1), (1, 3, 3), (5, 3, 3), (5, 5, 5))
CHUNK = 16
BORDER = (False, True)


def main() -> int:
    """Parse, keep residuals, print a line for each window."""
    args = _arguments()
    run = load_run(args.run, args.data)
    method = run.method
    if not isinstance(method, AGPNet) or method.config.join != "concat":
        raise InputError(f"{args.run} is a run of {method.name}; give one of agpnet, join=concat")
    with one_thread(), torch.no_grad():
        frames, masks = _painted(run)
        good = _residuals(method, [read_image(sample.path) for sample in run.train])
        seen = _residuals(method, frames)
        print(f"{'window':<10}{'places':<8}{'image AUROC':>12}{'AUPRO@0.3':>11}")
        for window in WINDOWS:
            for position in (True, False):
                area, overlap = _figures(method, good, seen, masks, window, position)
                name = ", ".join(map(str, window))
                print(f"{name:<10}{'yes' if position else 'no':<8}{area:>12.3f}{overlap:>11.3f}",
                      flush=True)  # fmt: skip
    return 0


def _painted(run: Run) -> tuple[list[NDArray[np.generic]], NDArray[np.bool_]]:
    """Each calibration image, one with a defect within it, one at its border; masks as the map."""
    rng, depth = np.random.default_rng(0), run.method.bit_depth
    frames, masks = [], []
    for sample in run.calibration:
        frame = read_image(sample.path, bit_depth=depth)
        frames.append(frame)
        masks.append(np.zeros(run.method.config.size, bool))
        for at_border in BORDER:
            image, mask, _ = add_defect(frame, rng, depth, at_border=at_border)
            frames.append(image)
            masks.append(metrics.resize_mask(mask, run.method.config.size))
    return frames, np.stack(masks)


def _residuals(method: AGPNet, frames: Sequence[NDArray[np.generic]]) -> list[Tensor]:
    """F_clean - F_hat of every level, [N, C, h, w] float16."""
    preprocessor, parts = Preprocessor(method.preprocess_params()), []
    for first in range(0, len(frames), CHUNK):
        images = [torch.from_numpy(preprocessor.run(x)) for x in frames[first : first + CHUNK]]
        clean = method.join(method.on_grid(method.levels(torch.stack(images))))
        parts.append([x.half() for x in method.split(clean - method.decoder(clean))])
    return join(parts)


def _figures(
    method: AGPNet, good: list[Tensor], seen: list[Tensor], masks: NDArray[np.bool_],
    window: Sequence[int], position: bool,
) -> tuple[float, float]:  # fmt: skip
    """Image AUROC and AUPRO of what was ``seen``, with units from what is ``good``."""

    def chunks(residuals: list[Tensor]) -> Iterator[Compared]:
        for first in range(0, len(residuals[0]), CHUNK):
            parts = [x[first : first + CHUNK].float() for x in residuals]
            means = [
                F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
                for x, side in zip(parts, window, strict=True)
            ]
            yield means, [torch.zeros_like(x) for x in means]

    params = method.map_params()
    sizes = [(int(x.shape[2]), int(x.shape[3])) for x in good]
    usual, own = [1.0] * len(sizes), method.config.own_level
    scale = FeatureScale(method.backbone.channels, sizes, usual, own_level=own)
    fit_scale(scale, lambda _: chunks(good), position, params if method.config.balance else None)
    maps, scores = [], []
    for chunk in chunks(seen):
        pairs = [tuple(x.contiguous().numpy() for x in pair) for pair in scale.emit(*chunk)]
        found = AnomalyMap(params, [pair[0].shape[1:] for pair in pairs]).run(pairs)
        maps.append(found[0][:, ::2, ::2].copy())
        scores.append(found[1].copy())
    area = metrics.auroc(np.concatenate(scores), masks.any((1, 2)))
    overlap = metrics.aupro(np.concatenate(maps), masks[:, ::2, ::2])
    return float(area or 0), float(overlap or 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished run of agpnet")
    parser.add_argument("--data", metavar="DATA", type=Path, help="where its images lie now")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guard(main))
