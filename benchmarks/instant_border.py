"""The map of parts amid a background: how far the fill-in reaches, rules for it, PatchCore beside.

    python benchmarks/instant_border.py DATA/aws_cookies DATA/mvtec_bottle … [--seeds S …]

For each set: what filling in around the image changes in the features of good images, by distance
from the border; AUPRO of rules for the border over the seeds; PatchCore in its published form
(windows filled with zeros, a tenth of the features), with both normalisations, on the images that
`edgead learn` would learn from; and what of the differences from PatchCore is chance: the
test images drawn anew 2000 times, the same for both, mean over the seeds. Units, means and
covariances are those of `edgead learn`. What it gave: docs/notes/instant.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from edgead_training.data import Dataset, Sample, open_dataset
from edgead_training.data.splitting import split
from edgead_training.evaluation.metrics import aupro
from edgead_training.features.backbone import MEAN, STD, load_backbone
from edgead_training.features.scale import smooth
from instant_signals import SIDE, joined, masks_of
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgead.engine.whitening import whiten_by
from edgead.images import read_image
from edgead.learning.coreset import choose_coreset
from edgead.learning.placement import study
from edgead.learning.signals import WHITENED, background_share
from edgead.nearest import Nearest, NearestMemory
from edgead.preprocess import Preprocessor, PreprocessParams

F32 = NDArray[np.float32]
NORMALISATIONS = {"own": (MEAN, STD), "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
AROUND, BLUR = 64, 4.0  # pixels
DRAWS, BINS = 2000, 4000
FINEST, REGION = 40, 4  # channels; positions


def levels_of(samples: tuple[Sample, ...], normalisation: str, around: int = 0) -> list[Tensor]:
    """Levels 8 and 16 of all images; ``around``: pixels of their reflection on each side."""
    network, found = load_backbone(), []
    preprocess = Preprocessor(PreprocessParams((SIDE, SIDE), *NORMALISATIONS[normalisation]))
    for sample in samples:
        image = torch.from_numpy(preprocess.run(read_image(sample.path)))[None]
        image = F.pad(image, (around,) * 4, mode="reflect") if around else image
        with torch.no_grad():
            found.append(network(image)[1:])
    return [torch.cat(level) for level in zip(*found, strict=True)]


def features_of(levels: list[Tensor]) -> F32:
    """As a backbone file gives them, [N, C, h, w]."""
    return joined([levels[0], *smooth(levels)], quiet=False)


def fill_in(samples: tuple[Sample, ...]) -> F32:
    """Mean squared difference [h, w] that fill-in makes, over images and channels."""
    plain, amid = (features_of(levels_of(samples, "own", around)) for around in (0, AROUND))
    at = AROUND // 8
    return np.square(plain - amid[:, :, at:-at, at:-at]).mean((0, 1))


def rings(values: F32) -> str:
    """Mean by distance from the border, without the corners of what lies further out."""
    each = [
        np.mean(
            [
                side[i, i : side.shape[1] - i].mean()
                for side in map(np.rot90, [values] * 4, range(4))
            ]
        )
        for i in range(7)
    ]
    return " ".join(f"{value:.2f}" for value in each)


def to_maps(distances: F32, interpolation: int = cv2.INTER_LINEAR) -> F32:
    size = (SIDE, SIDE)
    return np.stack([
        cv2.GaussianBlur(cv2.resize(each, size, interpolation=interpolation), (0, 0), BLUR,
                         borderType=cv2.BORDER_REPLICATE)
        for each in distances
    ])  # fmt: skip


def nearest(rows: F32, kept: int, seen: F32, seed: int) -> F32:
    """Mean squared differences [N, h, w] to a coreset."""
    memory = NearestMemory(np.ascontiguousarray(rows[choose_coreset(rows, kept, seed)]))
    found = Nearest(memory, seen.shape[2:]).run(np.ascontiguousarray(seen))
    return found / np.float32(seen.shape[1])


def rows_of(features: F32) -> F32:
    return np.ascontiguousarray(features.transpose(0, 2, 3, 1)).reshape(-1, features.shape[1])


def learnt(good: F32, seen: F32, filled: F32, seed: int) -> dict[str, F32]:
    """Distances [N, h, w] of each rule."""
    height, width = good.shape[2:]
    share = background_share((height, width), 2)
    names = [str(i) for i in range(len(good))]
    placement = study(good.astype(np.float16), names, FINEST, REGION, BLUR / 8, shares=share,
                      seed=seed)  # fmt: skip
    print(f"  seed {seed}: {placement.name}", flush=True)
    drawn = rows_of(good * share)
    drawn = drawn[np.random.default_rng(seed).permutation(len(drawn))[:40_000]]
    memory = nearest(drawn, 4096, seen * share, seed) / placement.unit
    places = np.zeros_like(memory)
    if (edges := placement.edges) is not None:
        kernel = whiten_by(edges.mean, edges.factors, REGION, edges.centre)
        places = kernel.run(np.ascontiguousarray(seen[:, :FINEST])) * (WHITENED / edges.unit)
    whole, half = good[::2], good[1::2]
    inside = np.s_[:, height // 4 : -height // 4, width // 4 : -width // 4]
    far = nearest(rows_of(half)[::2], 2048, whole, seed)[inside].mean()
    trust = (far / (far + filled)).astype(np.float32)
    return {
        "as they are": memory + places,
        "memory times S": memory * share + places,
        "both times S": (memory + places) * share,
        "both times S squared": (memory + places) * share**2,
        "both times w": (memory + places) * trust,
    }


def patchcore(good: list[Tensor], seen: list[Tensor], seed: int) -> F32:
    """Distances [N, h, w], Roth et al., arXiv 2106.08265, as its authors' code has them."""
    known, new = (
        joined([levels[0], *(F.avg_pool2d(x, 3, 1, 1) for x in levels)], quiet=False)
        for levels in (good, seen)
    )
    rows = rows_of(known)
    return np.sqrt(nearest(rows, len(rows) // 10, new, seed))


class Drawn:
    """AUPRO of test images that are drawn anew, from counts of pixels by rank."""

    def __init__(self, maps: F32, masks: NDArray[np.bool_]) -> None:
        ranks = np.r_[np.linspace(0, 0.35, BINS), np.linspace(0.36, 1, 50)]
        edges = np.unique(np.quantile(maps[~masks], 1 - ranks))
        bins = len(edges) + 1
        self.good, self.found = np.zeros((len(maps), bins)), np.zeros((len(maps), bins))
        self.regions = np.zeros(len(maps))
        for i, (values, mask) in enumerate(zip(maps, masks, strict=True)):
            at = np.searchsorted(edges, values, side="right")
            self.good[i] = np.bincount(at[~mask], minlength=bins)
            count, region = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            self.regions[i] = count - 1
            for each in range(1, count):
                inside = region == each
                self.found[i] += np.bincount(at[inside], minlength=bins) / inside.sum()
        self.good, self.found = (x[:, ::-1].cumsum(1) for x in (self.good, self.found))

    def aupro(self, weights: NDArray[np.float64], limit: float = 0.3) -> float:
        false = np.r_[0, weights @ self.good / (weights @ self.good[:, -1])]
        found = np.r_[0, weights @ self.found / (weights @ self.regions)]
        at = np.r_[false[false < limit], limit]
        return float(np.trapezoid(np.interp(at, false, found), at) / limit)


def measure(dataset: Dataset, seeds: list[int]) -> None:
    masks, usable = masks_of(dataset)
    masks, count = masks[usable], int(usable.sum())
    good = {name: levels_of(dataset.train, name) for name in NORMALISATIONS}
    test = {name: levels_of(dataset.test, name) for name in NORMALISATIONS}
    filled = fill_in(dataset.train[:24])
    print(f"{dataset.root.name}: fill-in {rings(filled)}", flush=True)
    every, seen = features_of(good["own"]), features_of(test["own"])
    found: dict[str, list[F32]] = {}
    for seed in seeds:
        chosen = set(split(dataset.train, seed)[0])
        index = [i for i, sample in enumerate(dataset.train) if sample in chosen]
        rules = {k: to_maps(v) for k, v in learnt(every[index], seen, filled, seed).items()}
        for name, levels in good.items():
            part = [level[index] for level in levels]
            rules[f"PatchCore, {name}"] = to_maps(patchcore(part, test[name], seed),
                                                  cv2.INTER_NEAREST)  # fmt: skip
        for name, maps in rules.items():
            found.setdefault(name, []).append(maps[usable])
    for name in NORMALISATIONS:
        maps = to_maps(patchcore(good[name], test[name], 0), cv2.INTER_NEAREST)
        found[f"PatchCore, {name}, all {len(dataset.train)} images"] = [maps[usable]]
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(DRAWS)]
    areas = {}
    for name, several in found.items():
        drawn = [Drawn(maps, masks) for maps in several]
        areas[name] = np.array([np.mean([x.aupro(w.astype(float)) for x in drawn]) for w in draws])
        exact = [aupro(maps, masks) for maps in several]
        print(f"  {name:36} {np.mean(exact):.4f}", *(f"{x:.4f}" for x in exact), flush=True)
    for ours in ("as they are", "both times S"):
        for name in (name for name in areas if name.startswith("PatchCore")):
            low, high = np.quantile(areas[ours] - areas[name], (0.025, 0.975))
            print(f"  {ours} less {name}: 95 % {low:+.4f} to {high:+.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+", type=Path, help="data sets with masks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="S")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for folder in args.data:
        measure(open_dataset(folder), args.seeds)


if __name__ == "__main__":
    main()
