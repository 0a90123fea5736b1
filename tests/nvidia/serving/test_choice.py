"""device="auto" and warm starts, on a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from simulation import CudaError, Device

from edgead import Detector, DeviceError, InputError
from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import CancelledError, QualificationError
from edgead.serving import choice
from edgead.serving.choice import choose, obstacle
from edgead.serving.open_engine import open_engine

MakeFrame = Callable[..., np.ndarray]
PATIENCE_S = 60.0  # of a wait that is over at once


def test_auto_takes_a_gpu_that_can_serve(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    assert obstacle(half_bundle) is None
    with Detector(half_bundle) as detector:
        assert detector.info()["device"] == "cuda:0: Simulated GPU"
        assert detector.info()["chosen"] == "auto: a GPU that can serve"
        assert detector.score(frame).score > 0
    assert open_engine(half_bundle).device == "cuda:0: Simulated GPU"


@pytest.mark.parametrize("warm_start", [False, True])
def test_the_device_is_chosen_once(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, warm_start: bool
) -> None:
    """A GPU that comes or goes in between is not asked about again."""
    answers: list[str | None] = [None]
    monkeypatch.setattr(choice, "obstacle", lambda bundle, precision: answers.pop())
    with Detector(half_bundle, warm_start=warm_start) as detector:
        assert detector.wait_warm_start(PATIENCE_S)
        assert detector.info()["device"] == "cuda:0: Simulated GPU"
    assert answers == []


def test_auto_says_why_it_takes_the_cpu(bundle_dir: Any, no_gpu: None) -> None:
    with Detector(bundle_dir) as detector:
        assert detector.info()["device"].startswith("CPU")
        assert detector.info()["chosen"].startswith(
            "auto: no GPU: edgead's CUDA kernels were not built"
        )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tensorrt", "TensorRT is not installed"),
        ("edgead.nvidia._cuda", "kernels were not built"),
        ("device", "finds no GPU"),
        ("graph", "the bundle has no float16 graph"),
    ],
)
def test_what_keeps_auto_from_a_gpu(
    device: Device,
    half_bundle: Bundle,
    bundle_dir: Any,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    said: str,
) -> None:
    bundle = open_bundle(bundle_dir) if missing == "graph" else half_bundle
    if missing == "device":
        device.count = 0
    elif missing != "graph":
        monkeypatch.setitem(sys.modules, missing, None)
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with Detector(bundle) as detector:
        assert detector.info()["device"].startswith("CPU")
        assert said in detector.info()["chosen"]


def test_auto_goes_on_with_the_cpu_where_the_gpus_engine_does_not_open(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    device.refuse_plan = True
    with pytest.raises(DeviceError, match="does not load this plan"):
        Detector(half_bundle, device="cuda")
    with Detector(half_bundle) as detector, Detector(half_bundle, device="cpu") as cpu:
        assert detector.info()["device"] == cpu.info()["device"]
        chosen = detector.info()["chosen"]
        assert chosen.startswith("auto: no GPU: ") and "does not load this plan" in chosen
        assert detector.score(frame).score == cpu.score(frame).score


def test_auto_takes_no_cpu_for_a_gpu_that_computes_something_else(
    device: Device, half_bundle: Bundle
) -> None:
    """A wrong result has to be seen, not passed over."""
    strict = {**half_bundle.manifest.tolerance, "float16": Tolerance(0.0, 0.0)}
    manifest = replace(half_bundle.manifest, tolerance=strict)
    with pytest.raises(QualificationError):
        Detector(replace(half_bundle, manifest=manifest))


def test_auto_takes_no_cpu_for_a_plan_that_was_given(
    device: Device, half_bundle: Bundle, tmp_path: Any
) -> None:
    device.refuse_plan = True
    (tmp_path / "own.plan").write_bytes(b"x" * 64)
    with pytest.raises(DeviceError):
        Detector(half_bundle, plan=tmp_path / "own.plan", trust_plan=True)


def test_words() -> None:
    assert choose("CPU").device == "cpu"
    assert choose("cuda").device == "cuda:0"
    assert choose("cuda:11").device == "cuda:11"
    for word in ("gpu", "cuda:", "cuda:-1", "cuda:1234", "", None, 0):
        with pytest.raises(InputError, match='expected "auto"'):
            choose(word)  # type: ignore[arg-type]


def test_a_warm_start_goes_from_the_cpu_to_the_gpu(
    device: Device, half_bundle: Bundle, plans: dict[str, Any], make_frame: MakeFrame
) -> None:
    frame, go = make_frame(4, (90, 110, 3)), threading.Event()
    plans["before"] = lambda cancelled: go.wait(PATIENCE_S)
    tolerance = half_bundle.manifest.tolerance
    with Detector(half_bundle, device="cuda", warm_start=True, digests=True) as detector:
        cold = detector.score(frame)
        assert detector.info()["device"].startswith("CPU")
        assert detector.engine.precision == "float32"
        assert detector.info()["warm_start"].startswith("the CPU serves while")
        assert not detector.wait_warm_start(0)
        detector.false_reject_rate = 0.1
        go.set()
        assert detector.wait_warm_start(PATIENCE_S)
        assert detector.info()["warm_start"] == "done: cuda:0: Simulated GPU serves"
        assert detector.info()["precision"] == detector.engine.precision == "float16"
        assert detector.false_reject_rate == 0.1
        warm = detector.score(frame)
        assert abs(warm.score - cold.score) <= tolerance["float16"].score
        assert warm.score != cold.score
        assert warm.digests is not None and warm.digests.served["precision"] == "float16"
        with Detector(half_bundle, device="cuda", false_reject_rate=0.1) as other:
            same = other.score(frame)
            assert (warm.threshold, warm.p_value) == (same.threshold, same.p_value)
            assert warm.scale == same.scale


def test_a_warm_start_with_auto_and_no_gpu(bundle_dir: Any, no_gpu: None) -> None:
    with Detector(bundle_dir, warm_start=True) as detector:
        assert detector.info()["warm_start"].startswith("none: auto: no GPU: edgead's CUDA kernels")
        assert detector.wait_warm_start()


def test_a_warm_start_that_names_the_cpu(bundle_dir: Any) -> None:
    with pytest.raises(InputError, match="begins on the CPU and goes on to a GPU"):
        Detector(bundle_dir, device="cpu", warm_start=True)


@pytest.mark.parametrize("why", ["build", "load", "golden", "defect", "memory", "no gpu"])
def test_a_warm_start_that_fails_keeps_the_cpu_and_says_why(
    device: Device,
    half: Any,
    half_bundle: Bundle,
    plans: dict[str, Any],
    frame: np.ndarray,
    tmp_path: Any,
    why: str,
) -> None:
    bundle, said = half_bundle, ""

    def fail(error: Exception) -> Callable[[Any], None]:
        def before(cancelled: Any) -> None:
            raise error

        return before

    if why == "build":
        plans["before"] = fail(DeviceError("Add_3 does not parse"))
        said = "Add_3 does not parse"
    elif why == "load":
        device.refuse_plan, said = True, "does not load this plan"
    elif why == "golden":
        strict = {**half.manifest.tolerance, "float16": Tolerance(0.0, 0.0)}
        bundle, said = half.write(tmp_path / "strict.edgead", tolerance=strict), "golden frames"
    elif why == "defect":
        plans["before"], said = fail(ZeroDivisionError("a defect")), "ZeroDivisionError"
    elif why == "memory":
        device.free_bytes, said = 60_000, "out of memory"
    else:
        device.count, said = 0, "finds no GPU"
    with Detector(bundle, device="cuda", warm_start=True) as detector:
        assert detector.wait_warm_start(PATIENCE_S)
        assert detector.info()["warm_start"].startswith("failed, the CPU serves: ")
        assert said in detector.info()["warm_start"]
        assert detector.info()["device"].startswith("CPU")
        assert detector.score(frame).score > 0


def test_closing_stops_the_build(
    device: Device, half_bundle: Bundle, plans: dict[str, Any], frame: np.ndarray
) -> None:
    building = threading.Event()

    def before(cancelled: Callable[[], bool]) -> None:
        building.set()
        for _ in range(10_000):
            if cancelled():
                raise CancelledError("the build was stopped")
            threading.Event().wait(0.01)
        raise AssertionError("nobody stopped the build")

    plans["before"] = before
    detector = Detector(half_bundle, device="cuda", warm_start=True)
    assert building.wait(PATIENCE_S)
    detector.score(frame)
    detector.close()
    assert detector.wait_warm_start(0)
    assert detector.info()["warm_start"] == "cancelled"
    assert not any(t.name == "edgead warm start" for t in threading.enumerate())


def test_an_engine_that_comes_after_the_close_is_let_go(
    device: Device, half_bundle: Bundle, plans: dict[str, Any]
) -> None:
    building, closed = threading.Event(), threading.Event()

    def before(cancelled: Callable[[], bool]) -> None:
        building.set()
        while not cancelled():  # and then goes on, as a library that cannot be interrupted
            closed.wait(0.01)

    plans["before"] = before
    detector = Detector(half_bundle, device="cuda", warm_start=True)
    assert building.wait(PATIENCE_S)
    detector.close()
    assert detector.info()["warm_start"].startswith("cancelled")
    with pytest.raises(InputError, match="closed"):
        detector.score(np.zeros((8, 8), np.uint8))


END = """
import threading, time
from types import SimpleNamespace
from edgead.errors import CancelledError, QualificationError
from edgead.serving.warm_start import WarmStart

building = threading.Event()

def build(cancelled):
    from edgead.nvidia import memory, pipeline  # as who opens a GPU's engine does
    memory._opened[0] = SimpleNamespace(release=lambda: print("CUDA ended", flush=True))
    building.set()
    while not cancelled():
        time.sleep(0.01)
    print("the build ended", flush=True)
    raise CancelledError("stopped")

start = WarmStart(build, lambda engine: True)
building.wait()
"""


def test_a_process_that_ends_stops_the_build_before_it_ends_cuda() -> None:
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the build ended\nCUDA ended\n"


def test_a_swap_under_load_loses_and_garbles_nothing(
    device: Device, half_bundle: Bundle, plans: dict[str, Any], make_frame: MakeFrame
) -> None:
    """Every score is the CPU's or the GPU's of its own frame, and each thread gets all of them."""
    frames = [make_frame(seed, (40, 50, 3)) for seed in range(5)]
    with Detector(half_bundle, device="cpu") as cpu, Detector(half_bundle, device="cuda") as gpu:
        allowed = [{cpu.score(f).score, gpu.score(f).score} for f in frames]
        last = [gpu.score(f).score for f in frames]
        limits = {cpu.threshold, gpu.threshold}
    go, over = threading.Event(), threading.Event()
    plans["before"] = lambda cancelled: go.wait(PATIENCE_S)
    detector = Detector(half_bundle, device="auto", warm_start=True)
    wrong: list[Any] = []
    counts = [0, 0, 0]

    def score(place: int) -> None:
        turn = 0
        try:
            while not over.is_set() or turn % 5:
                result = detector.score(frames[turn % 5])
                if result.score not in allowed[turn % 5] or result.threshold not in limits:
                    wrong.append((turn, result))
                if result.map.max() != pytest.approx(result.score, rel=1e-6):
                    wrong.append((turn, "map"))
                turn, counts[place] = turn + 1, counts[place] + 1
            for frame, expected in zip(frames, last, strict=True):
                if detector.score(frame).score != expected:
                    wrong.append("after the swap")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=score, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    while min(counts) < 5 and not wrong:
        over.wait(0.01)
    go.set()
    assert detector.wait_warm_start(PATIENCE_S)
    seen = list(counts)
    while any(now < then + 5 for now, then in zip(counts, seen, strict=True)) and not wrong:
        over.wait(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert detector.info()["device"].startswith("cuda")
    detector.close()


def test_a_gpu_that_fails_after_the_swap_fails_the_detector(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    detector = Detector(half_bundle, device="cuda", warm_start=True)
    assert detector.wait_warm_start(PATIENCE_S)
    detector.score(frame)
    device.plant("launch", 1, CudaError("too bad"))
    for _ in range(2):
        with pytest.raises(DeviceError, match="too bad"):
            detector.score(frame)
    detector.close()
