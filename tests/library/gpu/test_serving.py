"""libedgead's TensorRT engine on a SIMULATED GPU says what the CPU says. Nothing here has run on a
GPU."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import COLOURS, array_of  # type: ignore[import-not-found]
from signal_bundles import (  # type: ignore[import-not-found]
    MASK_SIZE,
    write_tiled,
    write_with_signals,
)


def differ(gpu: Any, cpu: Any, array: np.ndarray, kind: str, bits: int = 0) -> tuple[float, float]:
    """Of score and map, of one frame."""
    a, b = gpu.score(array, kind, bits), cpu.score(array, kind, bits)
    assert gpu.map_size() == cpu.map_size()
    maps = [session.rows("map", session.map_size()) for session in (gpu, cpu)]
    return abs(a.score - b.score), float(np.abs(maps[0] - maps[1]).max())


def within_rounding(gpu: Any, cpu: Any, array: np.ndarray) -> None:
    """Sums of float32 in another order: a share of the largest value."""
    score, map_ = differ(gpu, cpu, array, "BGR")
    largest = float(cpu.rows("map", cpu.map_size()).max())
    assert score <= 2e-5 * (abs(cpu.score(array, "BGR").score) + 1)
    assert map_ <= 2e-5 * (largest + 1)


def test_engines_that_are_in(library: Any, gpu_library: Any) -> None:
    def engines(one: Any) -> list[bytes]:
        return [name for index in range(3) if (name := one.c.edgead_engine(index))]

    assert engines(library) == [b"openvino"]
    assert engines(gpu_library) == [b"openvino", b"tensorrt"]


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
def test_frames_of_every_kind(
    gpu_library: Any, library: Any, machine: Any, half: Any, half_path: Path, integrated: bool
) -> None:
    machine.be(integrated=integrated)
    allowed = half.manifest.tolerance["float16"]
    rng = np.random.default_rng(5)
    with (
        library.serving(half_path) as cpu,
        gpu_library.serving(half_path, device="gpu") as gpu,
    ):
        for kind in ("GRAY8", "GRAY16", *COLOURS):
            bits = int(rng.integers(9, 17)) if kind.endswith("16") else 0
            size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
            array = array_of(rng, kind, size, bits)
            score, map_ = differ(gpu, cpu, array, kind, bits)
            # noise is harder than the frames that the tolerance was measured on
            assert score <= 4 * allowed.score and map_ <= 4 * allowed.map


def test_the_same_graph_gives_the_scores_of_the_cpu(
    gpu_library: Any, library: Any, machine: Any, bundle_dir: Path, make_frame: Any
) -> None:
    with (
        library.serving(bundle_dir) as cpu,
        gpu_library.serving(bundle_dir, device="gpu", precision="float32") as gpu,
    ):
        for seed in range(4):
            score, map_ = differ(gpu, cpu, make_frame(seed), "BGR")
            # float32 sums of 576 products in another order
            assert score < 3e-6 and map_ < 3e-6


def agree_in_float32(gpu_library: Any, library: Any, path: Path, array: np.ndarray) -> None:
    with (
        library.serving(path) as cpu,
        gpu_library.serving(path, device="gpu", precision="float32") as gpu,
    ):
        scale = abs(cpu.score(array, "BGR").score) + 1
        score, map_ = differ(gpu, cpu, array, "BGR")
        assert score < 2e-5 * scale and map_ < 2e-5 * (
            float(cpu.rows("map", cpu.map_size()).max()) + 1
        )


@pytest.mark.parametrize("seed", range(4))
def test_what_was_learnt(
    gpu_library: Any, library: Any, machine: Any, tiny: Any, tmp_path: Path, seed: int
) -> None:
    path = write_with_signals(tiny, tmp_path / "learnt.edgead", seed)
    array = array_of(np.random.default_rng(seed), "BGR", (70, 90), 8)
    agree_in_float32(gpu_library, library, path, array)


@pytest.mark.parametrize("seed", [1, 2])
def test_tiles(
    gpu_library: Any, library: Any, machine: Any, tiny: Any, tmp_path: Path, seed: int
) -> None:
    path = write_tiled(tiny, tmp_path, seed)
    array = array_of(np.random.default_rng(seed), "BGR", MASK_SIZE, 8)
    agree_in_float32(gpu_library, library, path, array)


def test_a_frame_is_one_launch(
    gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray
) -> None:
    with gpu_library.serving(half_path, device="gpu") as session:
        session.score(frame, "BGR")
        calls = (
            "cudaGraphLaunch",
            "cudaStreamSynchronize",
            "enqueueV3",
            "launch",
            "cudaMemcpyAsync",
        )
        before = [machine.calls(name) for name in calls]
        memory = [machine.calls(name) for name in ("cudaMalloc", "cudaHostAlloc")]
        for _ in range(3):
            session.score(frame, "BGR")
        assert [machine.calls(name) - n for name, n in zip(calls, before, strict=True)] == [
            3,
            3,
            0,
            0,
            0,
        ]
        assert memory == [machine.calls(name) for name in ("cudaMalloc", "cudaHostAlloc")]


def test_info(gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray) -> None:
    with gpu_library.detector(half_path, device="gpu") as detector:
        info = gpu_library.info(detector)
        assert info.device == b"cuda:0: Simulated GPU" and info.version == b"TensorRT 10.3.0"
        assert (info.precision, info.kernels, info.chosen) == (b"float16", b"cuda", b"")
        with gpu_library.session(detector) as session:
            verdict = session.score(frame, "BGR")
    parts = (verdict.preprocess_ms, verdict.engine_ms, verdict.map_ms)
    assert all(part >= 0 for part in parts) and abs(verdict.total_ms - sum(parts)) < 1e-9


def test_sessions_of_many_threads(
    gpu_library: Any, machine: Any, half_path: Path, make_frame: Any
) -> None:
    frames = [make_frame(seed, (40 + seed, 50, 3)) for seed in range(4)]
    found: dict[int, list[float]] = {}
    with gpu_library.detector(half_path, device="gpu") as detector:
        with gpu_library.session(detector) as session:
            alone = [session.score(one, "BGR").score for one in frames]

        def work(number: int) -> None:
            with gpu_library.session(detector) as own:
                found[number] = [own.score(one, "BGR").score for one in frames]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == dict.fromkeys(range(3), alone)


@pytest.mark.parametrize("context", [0, 0xC0DE])
def test_the_context_of_the_calling_thread_stays(
    gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray, context: int
) -> None:
    """Another library's is current, or none: edgead works in the device's primary one."""
    current = gpu_library.c.simulated_current_context
    current.restype = ctypes.c_size_t
    gpu_library.c.simulated_current(ctypes.c_size_t(context))
    try:
        with gpu_library.serving(half_path, device="gpu") as session:
            session.score(frame, "BGR")
            assert current() == context
        assert current() == context
    finally:
        gpu_library.c.simulated_current(ctypes.c_size_t(0))


def test_the_context_stays_when_giving_it_back_tells_of_an_earlier_error(
    gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray
) -> None:
    """The frame is done by then; if the device is in trouble, the next one hears of it."""
    current = gpu_library.c.simulated_current_context
    current.restype = ctypes.c_size_t
    gpu_library.c.simulated_current(ctypes.c_size_t(0xC0DE))
    try:
        with gpu_library.serving(half_path, device="gpu") as session:
            machine.plant("cuCtxSetCurrent", 700, 2)
            session.score(frame, "BGR")
            assert current() == 0xC0DE
    finally:
        gpu_library.c.simulated_current(ctypes.c_size_t(0))


def test_auto(
    gpu_library: Any, library: Any, machine: Any, half_path: Path, bundle_dir: Path
) -> None:
    def chosen(one: Any, path: Path) -> tuple[bytes, str]:
        with one.detector(path, device="auto") as detector:
            info = one.info(detector)
            return info.device.partition(b":")[0], info.chosen.decode()

    assert chosen(gpu_library, half_path) == (b"cuda", "auto: a GPU that can serve")
    device, why = chosen(gpu_library, bundle_dir)
    assert device == b"CPU" and "the bundle has no float16 graph" in why
    device, why = chosen(library, half_path)
    assert device == b"CPU" and "built without TensorRT" in why
    machine.be(devices=0)
    device, why = chosen(gpu_library, half_path)
    assert device == b"CPU" and "finds no GPU" in why


@pytest.mark.parametrize("word", ["cuda", "GPU", "tpu", ""])
def test_a_device_that_is_no_word(
    gpu_library: Any, half_path: Path, refused: Any, word: str
) -> None:
    with pytest.raises(refused, match='expected "cpu", "gpu", "auto"') as raised:
        gpu_library.open(half_path, device=word)
    assert raised.value.status == "INPUT"


def test_a_gpu_that_is_not_built_in(library: Any, half_path: Path, refused: Any) -> None:
    with pytest.raises(refused, match="EDGEAD_TENSORRT=ON") as raised:
        library.open(half_path, device="gpu")
    assert raised.value.status == "DEVICE"


def test_a_precision_without_a_graph(
    gpu_library: Any, machine: Any, bundle_dir: Path, refused: Any
) -> None:
    with pytest.raises(refused, match="has no float16 graph") as raised:
        gpu_library.open(bundle_dir, device="gpu")
    assert raised.value.status == "BUNDLE"


def test_golden_frames_that_come_out_otherwise(
    gpu_library: Any, machine: Any, half: Any, tmp_path: Path, refused: Any
) -> None:
    first = replace(half.manifest.golden[0], score=half.manifest.golden[0].score + 1)
    path = tmp_path / "other.edgead"
    half.write(path, golden=(first, *half.manifest.golden[1:]))
    with pytest.raises(refused, match="does not reproduce 1 of 3 golden frames") as raised:
        gpu_library.open(path, device="gpu")
    assert raised.value.status == "QUALIFICATION"
