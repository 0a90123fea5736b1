"""What fails on a SIMULATED GPU becomes a status and a sentence; the process goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

MEMORY, NO_DRIVER, NO_GPU, NO_IMAGE, ILLEGAL = 2, 35, 100, 209, 700

OPENING = {
    "no driver": ("cudaGetDeviceCount", NO_DRIVER, "driver does not start.*error 35.*nvidia-smi"),
    "no GPU": ("cudaGetDeviceCount", NO_GPU, "finds no GPU.*the CPU serves without it"),
    "a driver without what is asked of it": ("cuDevicePrimaryCtxRetain", 999, "does not start"),
    "a GPU that is silent": ("cudaGetDeviceProperties", ILLEGAL, "driver does not start"),
    "no memory for what was learnt": ("cudaMalloc", MEMORY, "is out of memory when opening"),
    "no pinned memory": ("cudaHostAlloc", MEMORY, r"out of memory when .*\d+ of \d+ MB are free"),
    "no stream": ("cudaStreamCreate", ILLEGAL, "failed when opening a session"),
    "no event": ("cudaEventCreate", MEMORY, "out of memory when opening a session"),
    "no upload": ("cudaMemcpy", ILLEGAL, "failed when .*make|failed when opening"),
    "kernels of another GPU": (
        "launch",
        NO_IMAGE,
        "built for simulated, and this GPU, .* is sm_87",
    ),
    "an error of the first kernel": ("kernel", ILLEGAL, "illegal memory access.*error 700"),
    "an error of the first copy": ("copy", ILLEGAL, "illegal memory access.*error 700"),
    "an error of the graph": ("engine", ILLEGAL, "illegal memory access.*error 700"),
    "no context of the thread": ("cuCtxSetCurrent", ILLEGAL, "illegal memory access"),
}


@pytest.mark.parametrize("case", OPENING)
def test_a_detector_that_does_not_open(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, frame: np.ndarray, case: str
) -> None:
    call, error, sentence = OPENING[case]
    machine.plant(call, error)
    with pytest.raises(refused, match=sentence) as raised:
        gpu_library.open(half_path, device="gpu")
    assert raised.value.status == "DEVICE"
    machine.reset()  # another process, or a driver that is there now
    with gpu_library.serving(half_path, device="gpu") as session:
        session.score(frame, "BGR")


REFUSALS = {
    "createInferBuilder": "cannot start a build: because",
    "createNetworkV2": "cannot make a network: because",
    "createParser": "cannot make a parser: because",
    "parse": r"cannot read the graph: node 'node_conv' \(Conv\): because",
    "createBuilderConfig": "cannot make a configuration: because",
    "setDimensions": "refuses a batch of one: because",
    "addOptimizationProfile": "refuses a batch of one: because",
    "buildSerializedNetwork": "cannot build the plan: because",
    "createInferRuntime": "does not load this plan on cuda:0.*because",
    "deserializeCudaEngine": "does not load this plan on cuda:0.*because.*remove .*plan",
    "createExecutionContext": "makes no execution context.*because",
    "setInputShape": "makes no execution context.*because",
    "setTensorAddress": "expected .*because",
    "enqueueV3": "failed on a frame: because",
}


@pytest.mark.parametrize("call", REFUSALS)
def test_what_tensorrt_refuses(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, frame: np.ndarray, call: str
) -> None:
    machine.refuse(call, "because\nof \x1b[31mthis")
    with pytest.raises(refused, match=REFUSALS[call]) as raised:
        gpu_library.open(half_path, device="gpu")
    assert raised.value.status == "DEVICE"
    assert "\x1b" not in str(raised.value) and "\n" not in str(raised.value)
    machine.reset()
    with gpu_library.serving(half_path, device="gpu") as session:
        session.score(frame, "BGR")


@pytest.mark.parametrize("call", ["buildSerializedNetwork", "deserializeCudaEngine"])
def test_tensorrt_without_memory(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, call: str
) -> None:
    machine.refuse(call, "Cuda Runtime (out of memory)")
    with pytest.raises(refused, match=r"out of device memory; (stop|close)"):
        gpu_library.open(half_path, device="gpu")


@pytest.mark.parametrize("work", ["copy", "kernel", "engine", "cudaGraphLaunch"])
def test_an_error_of_a_frame_ends_the_detector_and_not_the_process(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, frame: np.ndarray, work: str
) -> None:
    with gpu_library.detector(half_path, device="gpu") as detector:
        with gpu_library.session(detector) as session, gpu_library.session(detector) as other:
            session.score(frame, "BGR")
            machine.plant(work, ILLEGAL)
            for one in (session, session, other):
                with pytest.raises(refused, match="failed when scoring a frame") as raised:
                    one.score(frame, "BGR")
                assert raised.value.status == "DEVICE"
                assert "open the detector again" in str(raised.value)
        late = gpu_library.session(detector)
        with pytest.raises(refused, match="failed when scoring a frame"):
            late.__enter__()
    machine.reset()
    with gpu_library.serving(half_path, device="gpu") as session:
        session.score(frame, "BGR")


def test_a_frame_that_is_too_large_is_an_error_of_that_frame(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, frame: np.ndarray
) -> None:
    with gpu_library.serving(half_path, device="gpu") as session:
        before = session.score(frame, "BGR").score
        machine.be(free_bytes=1 << 20)
        with pytest.raises(refused, match="out of memory when making ready for a frame"):
            session.score(np.zeros((1000, 1000, 3), np.uint8), "BGR")
        machine.be(free_bytes=1 << 27)
        assert session.score(frame, "BGR").score == before


def test_a_memory_that_does_not_fit_says_how_much_does(
    gpu_library: Any, machine: Any, tiny: Any, tmp_path: Path, refused: Any
) -> None:
    from signal_bundles import write_with_signals  # type: ignore[import-not-found]

    path = write_with_signals(tiny, tmp_path / "learnt.edgead", 0)
    machine.be(free_bytes=5000)
    with pytest.raises(refused, match=r"features takes .* at most .* fit: learn with --memory"):
        gpu_library.open(path, device="gpu", precision="float32")


def test_what_another_library_left_is_not_ours(
    gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray
) -> None:
    with gpu_library.serving(half_path, device="gpu") as session:
        expected = session.score(frame, "BGR").score
        gpu_library.c.simulated_leave(1)
        assert session.score(frame, "BGR").score == expected
        gpu_library.c.simulated_leave(1)
        assert session.score(frame[:40], "BGR").score != expected  # launches anew


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture"])
def test_what_cannot_be_captured_runs_step_by_step_and_says_so(
    gpu_library: Any, machine: Any, half_path: Path, frame: np.ndarray, call: str
) -> None:
    with gpu_library.serving(half_path, device="gpu") as session:
        expected = session.score(frame, "BGR").score
    machine.plant(call, 900)
    with gpu_library.detector(half_path, device="gpu") as detector:
        kernels = gpu_library.info(detector).kernels.decode()
        assert kernels.startswith("cuda, without a CUDA graph: ") and "900" in kernels
        with gpu_library.session(detector) as session:
            launched = machine.calls("cudaGraphLaunch")
            assert [session.score(frame, "BGR").score for _ in range(2)] == [expected] * 2
            assert machine.calls("cudaGraphLaunch") == launched


def test_a_capture_that_fails_later_is_an_error(
    gpu_library: Any, machine: Any, half_path: Path, refused: Any, frame: np.ndarray
) -> None:
    with gpu_library.serving(half_path, device="gpu") as session:
        machine.plant("cudaStreamBeginCapture", 900)
        with pytest.raises(refused, match="captured frames before and does not now"):
            session.score(frame, "BGR")
