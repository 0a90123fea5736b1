"""The cases of nearest: real or made-up features beside NumPy and the arithmetic of the core."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from turns import Case

from edgead import _cpu, reference
from edgead.images import list_images, read_image
from edgead.learning.coreset import choose_coreset
from edgead.nearest import Nearest, NearestMemory
from edgead.preprocess import PreprocessParams, preprocess

ROWS, IMAGE, SIZE = 4096, (256, 256), (32, 32)
CHANNELS = 152  # EfficientNet-Lite0 at strides 8 and 16
IMAGES, CANDIDATES = 60, 30000  # that the memory is chosen from
BYTES = {"avx512vnni": 64, "avx512": 64, "avxvnni": 32, "avx2": 32}  # of a vector; others: 16
Made = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def cases(data: Path | None) -> Iterator[Case]:
    """Each set of features, path and peer. ``data``: a folder of sets in MVTec AD's layout."""
    one_thread()
    folder = tempfile.TemporaryDirectory()
    sets = [("made up", made_up())]
    if data is not None:
        found = sorted(path for path in data.iterdir() if (path / "train" / "good").is_dir())
        sets = [(path.name, real(path)) for path in found]
    for name, (memory, query, before) in sets:
        workload = f"1024 x {len(memory)} x {CHANNELS} {name}"
        exact = reference.nearest(query, memory)
        ready = {search: NearestMemory(memory, search=search) for search in ("pruned", "every")}
        for path in _cpu.nearest_paths():
            nearest = Nearest(ready["pruned"], SIZE, simd=path)
            run = partial(both, nearest, query, before)
            error = float(np.abs(nearest.run(query) - exact).max())
            peers = numpy_peers(query, memory)
            for peer, work in peers.items():
                yield Case("nearest", workload, path, error, run, peer, partial(twice, work))
            every = Nearest(ready["every"], SIZE, simd=path)
            error = float(np.abs(every.run(query) - exact).max())
            if (loop := fma_loop(path, Path(folder.name))) is not None:
                run = partial(every.run, query, np.empty((1, *SIZE), np.float32))
                count = SIZE[0] * SIZE[1] * len(memory) * CHANNELS
                peer = "a plain loop of as many multiply-adds"
                work = partial(loop, count)
                yield Case("nearest", f"{workload}, every row", path, error, run, peer, work)
        peer, work = next(iter(peers.items()))
        for stored in ("float16", "int8"):
            yield held_as(stored, memory, query, before, workload, peer, partial(twice, work))


def held_as(
    stored: str, memory: Any, query: Any, before: Any, workload: str, peer: str, work: Any
) -> Case:
    """The best path with a memory of another type, beside NumPy with the one of float32."""
    scale = None
    if stored == "int8":
        scale = np.abs(memory).max(axis=0) / 127 + np.float32(1e-20)
        memory = np.rint(memory / scale)
    held = memory.astype(stored)
    values = held.astype(np.float32) * (1 if scale is None else scale)
    nearest, path = Nearest(NearestMemory(held, scale), SIZE), _cpu.nearest_paths()[0]
    error = float(np.abs(nearest.run(query) - reference.nearest(query, values)).max())
    run = partial(both, nearest, query, before)
    return Case("nearest", f"{workload}, {stored}", path, error, run, peer, work)


def one_thread() -> None:
    """NumPy's products in one thread, as the kernel runs in one."""
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        return
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def both(nearest: Nearest, query: Any, before: Any) -> None:
    """Two frames in turn: neither finds its own nearest rows as its first guess."""
    nearest.run(before)
    nearest.run(query)


def twice(work: Callable[[], Any]) -> None:
    """As many frames as ``both``."""
    work()
    work()


def numpy_peers(query: Any, memory: Any) -> dict[str, Callable[[], Any]]:
    """|q|^2 + |m|^2 - 2 q m, in memory that is there already."""
    flat = np.ascontiguousarray(query[0].reshape(CHANNELS, -1).T)
    length, own = np.square(memory).sum(axis=1), np.square(flat).sum(axis=1)
    across = np.ascontiguousarray(memory.T)
    matrix = np.empty((len(flat), len(memory)), np.float32)

    def product() -> Any:
        np.matmul(flat, across, out=matrix)
        np.multiply(matrix, -2, out=matrix)
        return np.add(matrix, length, out=matrix)

    return {
        "NumPy: matmul, argmin": lambda: product().argmin(axis=1),
        "NumPy: matmul, min": lambda: product().min(axis=1) + own,
    }


def made_up() -> Made:
    """Features whose variance falls off as that of real ones; queries near the memory's."""
    rng = np.random.default_rng(0)
    spread = 3.0 / (1 + np.arange(CHANNELS)) ** 0.7
    turn = np.linalg.qr(rng.standard_normal((CHANNELS, CHANNELS)))[0]

    def features(count: int) -> Any:
        return (rng.standard_normal((count, CHANNELS)) * spread @ turn).astype(np.float32)

    frames = [features(SIZE[0] * SIZE[1]).T.reshape(1, CHANNELS, *SIZE).copy() for _ in "ab"]
    return features(ROWS), frames[0], frames[1]


def real(folder: Path) -> Made:
    """A memory of a set's good images, one image with a defect, and a good one."""
    import torch
    from edgead_training.features.efficientnet_lite import load_lite
    from torch.nn import functional as F

    backbone = load_lite()
    params = PreprocessParams(IMAGE, backbone.mean, backbone.std)

    def features(path: Path) -> Any:
        image = torch.from_numpy(preprocess(read_image(path), params)[None])
        fine, coarse = (F.avg_pool2d(level, 3, 1, 1) for level in backbone(image)[1:3])
        coarse = F.interpolate(coarse, size=SIZE, mode="bilinear")
        return torch.cat([fine, coarse], dim=1)

    generator = torch.Generator().manual_seed(0)
    good = list_images(folder / "train" / "good")[:IMAGES]
    rows = torch.cat([features(path)[0].flatten(1).T for path in good])
    rows = rows[torch.randperm(len(rows), generator=generator)[:CANDIDATES]]
    candidates = np.ascontiguousarray(rows.numpy())
    memory = candidates[choose_coreset(candidates, ROWS)]
    kinds = sorted(path for path in (folder / "test").iterdir() if path.is_dir())
    kinds = [*(k for k in kinds if k.name != "good"), *(k for k in kinds if k.name == "good")]
    frames = [features(list_images(kind)[0]).numpy() for kind in (kinds[0], kinds[-1])]
    return memory, frames[0], frames[1]


def fma_loop(path: str, folder: Path) -> Callable[[int], Any] | None:
    """The loop of fma_loop.cpp in vectors as wide as those of a path; None without a compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        print("kernels: no c++, the loop of multiply-adds is left out", file=sys.stderr)
        return None
    bytes_ = BYTES.get(path, 16)
    library = folder / f"fma_loop_{bytes_}.so"
    if not library.exists():
        source = Path(__file__).with_name("fma_loop.cpp")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        command = [compiler, *flags, f"-DEDGEAD_BYTES={bytes_}", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).multiply_adds
    function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_float
    loop: Callable[[int], Any] = function
    return loop
