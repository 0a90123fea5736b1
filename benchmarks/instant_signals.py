"""What statistics of good features tell, one by one and joined: trials for ``edgead learn``.

    python benchmarks/instant_signals.py DATA/mvtec_bottle DATA/magnetic_tile DATA/aws_cookies

Everything is fitted on the training images of each set and measured on its test images, so a choice
made by these figures has seen the test set. One seed. What it gave: docs/notes/instant.md.

    m   squared distance to the nearest of 4096 features kept (k-centre), levels 8 and 16 joined
    h   m times how much of each position's 3x3 window lies in the image; q: times its square
    b   m of features that were multiplied by that share, in the memory too
    w0 w1 w2   Mahalanobis distance of level 4, 8, 16, by the mean of each place and the covariance
               of squares of 32 pixels, both drawn towards the whole image's
    g0 g1 g2   the same with one mean and one covariance for all places
    c*, d*     as w* and g*, of features of mean 0 and variance 1 over the channels of a position
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from edgead.engine.whitening import whiten_by
from edgead_training.data import Dataset, Sample, open_dataset, read_mask
from edgead_training.evaluation.metrics import aupro, auroc, resize_mask
from edgead_training.features.efficientnet_lite import load_lite
from edgead_training.features.scale import smooth
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgead.images import read_image
from edgead.learning.coreset import choose_coreset
from edgead.learning.signals import border_share
from edgead.learning.statistics import Moments, fit
from edgead.nearest import Nearest, NearestMemory
from edgead.preprocess import Preprocessor, PreprocessParams

SIDE = 256
STRIDES = (4, 8, 16)
REGION = 32  # pixels
KEPT, CANDIDATES = 4096, 40_000
COMBINATIONS = (
    "m h b w0 w1 w2 g1 g2 c1 c2 d1 d2 m+w1 h+w1 m+w0+w1+w2 m+c1+c2 m+b+c1+c2 m+q+c1+c2 m+b+d1+d2 "
    "b+d1 b+d1+d2 m+d1+d2"
)
Maps = NDArray[np.float32]


def levels_of(samples: tuple[Sample, ...]) -> list[Tensor]:
    """The three levels of all images, [N, C, h, w] each."""
    network, found = load_lite(), []
    preprocess = Preprocessor(PreprocessParams((SIDE, SIDE), network.mean, network.std))
    for sample in samples:
        with torch.no_grad():
            found.append(network(torch.from_numpy(preprocess.run(read_image(sample.path)))[None]))
    return [torch.cat(level) for level in zip(*found, strict=True)]


def standardised(levels: list[Tensor], like: list[Tensor]) -> list[Tensor]:
    """By mean and deviation of the channels of ``like``, smoothed."""
    scaled = []
    for level, known in zip(levels, like, strict=True):
        mean = known.mean((0, 2, 3), keepdim=True)
        scaled.append((level - mean) / (known.std((0, 2, 3), keepdim=True) + 1e-6))
    return smooth(scaled)


def joined(levels: list[Tensor], quiet: bool) -> NDArray[np.float32]:
    """Levels 8 and 16 side by side, [N, C, h, w]."""
    shares = [torch.from_numpy(border_share(tuple(x.shape[2:]))) for x in levels[1:]]
    fine, coarse = (x * y if quiet else x for x, y in zip(levels[1:], shares, strict=True))
    large = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([fine, large], 1).contiguous().numpy()


def memory_distances(good: NDArray[np.float32], seen: NDArray[np.float32]) -> Maps:
    """[N, h, w] of ``seen``, to a coreset of ``good``."""
    rows = good.transpose(0, 2, 3, 1).reshape(-1, good.shape[1])
    drawn = rows[np.random.default_rng(0).permutation(len(rows))[:CANDIDATES]]
    memory = NearestMemory(np.ascontiguousarray(drawn[choose_coreset(drawn, KEPT)]))
    height, width = seen.shape[2:]
    return Nearest(memory, (height, width)).run(np.ascontiguousarray(seen)) / np.float32(
        seen.shape[1]
    )


def whitened_distances(good: Tensor, seen: Tensor, stride: int, places: bool) -> Maps:
    """[N, h, w] of ``seen``, by mean and covariance of ``good``."""
    side = REGION // stride
    parts = [Moments.of(part.contiguous().numpy(), side) for part in good.split(16)]
    mean, factors = fit(sum(parts[1:], parts[0]), places)
    return whiten_by(mean, factors, side, None).run(seen.contiguous().numpy())


def channel_normal(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()


def signals(good: list[Tensor], test: list[Tensor]) -> dict[str, Maps]:
    """Each signal's distances on the test images, in units of their mean on the good ones."""
    found: dict[str, Maps] = {}
    for name, quiet in (("m", False), ("b", True)):
        known, seen = joined(good, quiet), joined(test, quiet)
        held_out, learnt = known[::2], known[1::2]
        unit = float(memory_distances(learnt, held_out).mean())
        found[name] = memory_distances(known, seen) / unit
    share = border_share(found["m"].shape[1:])
    found["h"], found["q"] = found["m"] * share, found["m"] * share**2
    for k, stride in enumerate(STRIDES):
        known, seen = good[k], test[k]
        for names, change in (("wg", lambda x: x), ("cd", channel_normal)):
            for name, places in zip(names, (True, False), strict=True):
                distances = whitened_distances(change(known), change(seen), stride, places)
                unit = whitened_distances(change(known[1::2]), change(known[::2]), stride, places)
                found[f"{name}{k}"] = distances / float(unit.mean())
    return found


def to_maps(distances: Maps, side: int = 64) -> Maps:
    large = [cv2.resize(x, (side, side), interpolation=cv2.INTER_LINEAR) for x in distances]
    return np.stack(large).astype(np.float32)


def masks_of(dataset: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks at map size, and which images may be asked for pixels."""
    masks, usable = [], []
    for sample in dataset.test:
        usable.append(sample.is_good or sample.mask is not None)
        size = read_image(sample.path).shape[:2]
        mask = read_mask(sample, size) if usable[-1] else np.zeros(size, bool)
        masks.append(resize_mask(np.asarray(mask, bool), (SIDE, SIDE)))
    return np.stack(masks), np.array(usable)


def measure(folder: Path, combinations: list[str]) -> None:
    dataset = open_dataset(folder)
    raw = [levels_of(dataset.train), levels_of(dataset.test)]
    good, test = (standardised(levels, raw[0]) for levels in raw)
    found = {name: to_maps(values) for name, values in signals(good, test).items()}
    masks, usable = masks_of(dataset)
    labels = np.array([not sample.is_good for sample in dataset.test])
    for combination in combinations:
        total = np.sum([found[name] for name in combination.split("+")], axis=0)
        maps = np.stack([cv2.GaussianBlur(cv2.resize(x, (SIDE, SIDE)), (0, 0), 4.0) for x in total])
        image = auroc(maps.reshape(len(maps), -1).max(1), labels)
        pro = aupro(maps[usable], masks[usable])
        print(f"{folder.name:16} {combination:14} image AUROC {image:.4f}  AUPRO {pro:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, help="data sets with a test set")
    parser.add_argument("--signals", default=COMBINATIONS, help="sums, with blanks between them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for folder in args.data:
        measure(folder, args.signals.split())


if __name__ == "__main__":
    main()
