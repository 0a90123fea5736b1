"""The cases of anomaly_map: features of two backbones beside PyTorch and a plain sum."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from turns import Case

from edgead import _cpu, reference
from edgead.anomaly_map import AnomalyMap, MapParams

SIZE = (256, 256)
FEATURES = {
    "EfficientNet-Lite0": ((24, 64, 64), (40, 32, 32), (112, 16, 16)),
    "WideResNet-50": ((256, 64, 64), (512, 32, 32), (1024, 16, 16)),
}
TORCH_THREADS = 2


def cases() -> Iterator[Case]:
    """Each set of features, path and peer."""
    params = MapParams(SIZE)
    for workload, shapes in FEATURES.items():
        rng = np.random.default_rng(0)
        pairs = [tuple(rng.standard_normal((1, *s), np.float32) for _ in "ab") for s in shapes]
        expected, _ = reference.anomaly_map(pairs, params)
        peers = [("numpy.sum of the features", partial(_read, pairs), 1)]
        if (eager := torch_eager(pairs, params)) is not None:
            peers.append(("torch eager", eager, TORCH_THREADS))
        for path in _cpu.simd_paths():
            kernel = AnomalyMap(params, shapes, simd=path)
            out = np.empty((1, *SIZE), np.float32)
            error = float(np.abs(kernel(pairs, out)[0] - expected).max())
            run = partial(kernel, pairs, out)
            for peer, work, threads in peers:
                yield Case("anomaly_map", workload, path, error, run, peer, work, threads)


def torch_eager(pairs: list[Any], params: MapParams) -> Callable[[], Any] | None:
    """cosine_similarity, interpolate, add, Gaussian, amax on two threads; None without torch."""
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        print("kernels: torch is not installed, that peer is left out", file=sys.stderr)
        return None
    torch.set_num_threads(TORCH_THREADS)
    tensors = [tuple(torch.from_numpy(array) for array in pair) for pair in pairs]
    radius = int(4 * params.blur_sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / params.blur_sigma) ** 2)
    taps = (taps / taps.sum()).float()

    @torch.inference_mode()
    def work() -> Any:
        fused = 0
        for (a, b), weight in zip(tensors, params.weights, strict=True):
            d = 1 - functional.cosine_similarity(a, b)[:, None]
            fused = fused + weight * functional.interpolate(d, params.size, mode="bilinear")
        padded = functional.pad(fused, [radius] * 4, mode="replicate")
        blurred = functional.conv2d(padded, taps[None, None, :, None])
        return functional.conv2d(blurred, taps[None, None, None, :]).amax()

    return work


def _read(pairs: list[Any]) -> None:
    for pair in pairs:
        for array in pair:
            array.sum()
