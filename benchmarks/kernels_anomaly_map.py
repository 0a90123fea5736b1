"""The cases of anomaly_map: features of two backbones beside PyTorch, OpenVINO and a plain sum.

One more is the kernel with an ignore mask beside itself without: what the mask costs or saves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from peer_openvino import openvino_head
from turns import Case

from edgead import _cpu, reference
from edgead.anomaly_map import DTYPES, LAYOUTS, AnomalyMap, MapParams

SIZE = (256, 256)
FEATURES = {
    "EfficientNet-Lite0": ((24, 64, 64), (40, 32, 32), (112, 16, 16)),
    "WideResNet-50": ((256, 64, 64), (512, 32, 32), (1024, 16, 16)),
}
TORCH_THREADS = 2
KEPT_RADIUS = 100  # pixels of the map around its middle that the mask leaves: 48 % of it

Pairs = list[tuple[Any, Any]]


def cases() -> Iterator[Case]:
    """Each set of features, dtype, layout, path and peer."""
    params = MapParams(SIZE)
    for name, shapes in FEATURES.items():
        for dtype in DTYPES:
            nchw = features(shapes, dtype)
            expected, _ = reference.anomaly_map(nchw, params)
            for layout in LAYOUTS:
                pairs = nchw if layout == "NCHW" else [(_nhwc(a), _nhwc(b)) for a, b in nchw]
                peers = list(peers_of(pairs, params, layout))
                for path in _cpu.simd_paths():
                    kernel = AnomalyMap(params, shapes, dtype=dtype, layout=layout, simd=path)
                    out = np.empty((1, *SIZE), np.float32)
                    error = float(np.abs(kernel.run(pairs, out)[0] - expected).max())
                    run, workload = partial(kernel.run, pairs, out), f"{name} {dtype} {layout}"
                    for peer, work, threads in peers:
                        yield Case("anomaly_map", workload, path, error, run, peer, work, threads)
    yield from masked(params)


def masked(params: MapParams) -> Iterator[Case]:
    """A round part whose surroundings are ignored, on the first set of features; each path."""
    name, shapes = next(iter(FEATURES.items()))
    rows, columns = np.indices(SIZE)
    middle = (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2
    roi = np.hypot(rows - middle[0], columns - middle[1]) <= KEPT_RADIUS
    pairs = features(shapes, "float32")
    expected, _ = reference.anomaly_map(pairs, params, roi)
    for path in _cpu.simd_paths():
        kernel = AnomalyMap(params, shapes, roi=roi, simd=path)
        whole = AnomalyMap(params, shapes, simd=path)
        out = np.empty((1, *SIZE), np.float32)
        error = float(np.abs(kernel.run(pairs, out)[0] - expected).max())
        run, peer = partial(kernel.run, pairs, out), partial(whole.run, pairs, np.empty_like(out))
        workload = f"{name} float32 masked"
        yield Case("anomaly_map", workload, path, error, run, "the kernel without a mask", peer)


def features(shapes: Any, dtype: str) -> Pairs:
    """Pairs [1, C, H, W] of noise."""
    rng = np.random.default_rng(0)
    return [
        tuple(rng.standard_normal((1, *shape), np.float32).astype(dtype) for _ in "ab")
        for shape in shapes
    ]


def _nhwc(array: Any) -> Any:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def peers_of(
    pairs: Pairs, params: MapParams, layout: str
) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Name, work and threads of each peer."""
    yield "plain sum of the same bytes", plain_sum(pairs), 1
    for threads in (1, 2):
        name = f"OpenVINO graph, threads = {threads}"
        yield name, openvino_head(pairs, params, layout, threads), threads
    if (eager := torch_eager(pairs, params, layout)) is not None:
        yield f"torch eager, threads = {TORCH_THREADS}", eager, TORCH_THREADS


def plain_sum(pairs: Pairs) -> Callable[[], Any]:
    """Read everything once, as fast as one thread can.

    numpy.sum adds float32 pairwise and is 2.5 times slower than memory; einsum adds straight on.
    """
    flat = [array.reshape(-1).view(np.float32) for pair in pairs for array in pair]
    return lambda: [np.einsum("i->", array) for array in flat]


def torch_eager(pairs: Pairs, params: MapParams, layout: str) -> Callable[[], Any] | None:
    """cosine_similarity, interpolate, add, Gaussian, amax on two threads; None without torch."""
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        print("kernels: torch is not installed, that peer is left out", file=sys.stderr)
        return None
    torch.set_num_threads(TORCH_THREADS)
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 3, 1, 2)
    tensors = [tuple(torch.from_numpy(array).permute(order) for array in pair) for pair in pairs]
    radius = int(4 * params.blur_sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / params.blur_sigma) ** 2)
    taps = (taps / taps.sum()).float()

    @torch.inference_mode()
    def work() -> Any:
        fused = 0
        for (a, b), weight in zip(tensors, params.weights, strict=True):
            d = 1 - functional.cosine_similarity(a.float(), b.float())[:, None]
            fused = fused + weight * functional.interpolate(d, params.size, mode="bilinear")
        padded = functional.pad(fused, [radius] * 4, mode="replicate")
        blurred = functional.conv2d(padded, taps[None, None, :, None])
        return functional.conv2d(blurred, taps[None, None, None, :]).amax()

    return work
