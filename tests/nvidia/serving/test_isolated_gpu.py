"""``isolate=True``: a SIMULATED GPU served from another process, which is lost and replaced."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_same
from processes import pid_of, stop
from simulated_tensorrt import plan_bytes
from simulation import Device

from edgead import Detector, InputError
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceLostError
from edgead.serving import recovery
from edgead.serving.channel import SharedBytes
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline

MakeFrame = Callable[..., np.ndarray]
PATIENCE_S = 120.0
CHILD = Path(__file__).parent / "simulated_child"


@pytest.fixture
def flag(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Path]:
    """While this file is there, the next frame of a process that serves faults on its device. The
    device of this process serves nobody."""
    path, plan = tmp_path / "fault", tmp_path / "simulated.plan"
    plan.write_bytes(plan_bytes(half_bundle.read("model.fp16.onnx")))
    given = {"plan": str(plan), "fail_later": ["engine", 2, str(path)], "gone": f"{path}.gone"}
    monkeypatch.setenv("SIMULATED", json.dumps(given))
    monkeypatch.setenv("PYTHONPATH", str(CHILD))
    yield path
    assert device.count_of("deserialize_cuda_engine") == 0


def test_scores_maps_and_digests_are_those_of_this_process(
    flag: Path, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    """A frame that grows is uploaded from where both processes have it."""
    with (
        Detector(half_bundle, device="cuda", isolate=True, digests=True) as isolated,
        Detector(half_bundle, device="cpu") as cpu,
    ):
        assert isolated.info()["device"] == "cuda:0: Simulated GPU"
        assert isolated.info()["precision"] == "float16"
        for seed, shape in enumerate([(40, 50, 3), (40, 50), (90, 70, 3), (40, 50, 3)]):
            for dtype in (np.uint8, np.uint16):
                frame = make_frame(seed, shape, dtype)
                found = [isolated.score(frame) for _ in range(3)]
                check_same(found[0], cpu.score(frame), half_bundle)
                assert len({one.score for one in found}) == 1
                assert found[0].digests == found[2].digests is not None
                assert set(found[0].timings_ms) == {
                    "preprocess", "engine", "anomaly_map", "copy", "total"
                }  # fmt: skip


def test_a_frame_goes_up_from_where_both_processes_have_it(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    """No copy of the copy: that memory is page-locked for the GPU, and not any more at the end."""
    frame = make_frame(1, (40, 50, 3))
    pipeline = open_pipeline(half_bundle, open_engine(half_bundle, "cuda"))
    expected = pipeline.run(frame).score
    shared = SharedBytes(2 * frame.nbytes)
    pipeline.stage_in(shared.bytes)  # type: ignore[attr-defined]
    view = shared.array(np.uint8, frame.shape)
    view[:] = frame
    device.log.clear()
    for _ in range(3):
        assert pipeline.run(view).score == expected
    assert {source for name, (_, source, _) in uploads(device)} == {view.ctypes.data}
    assert device.living("pinned") > 0
    pipeline.close()


def uploads(device: Device) -> list[Any]:
    return [(name, details) for name, details in device.log if name == "upload"]


def test_a_fault_on_the_device_is_an_error_of_that_frame(
    flag: Path, half_bundle: Bundle, frame: np.ndarray
) -> None:
    """Then another process is started, which has to reproduce the golden frames."""
    with Detector(half_bundle, device="cuda", isolate=True) as detector:
        expected, before = detector.score(frame).score, pid_of(detector)
        flag.touch()
        with pytest.raises(DeviceLostError, match=r"error 700\); another process is started") as e:
            detector.score(frame)
        assert "make a new Detector" not in str(e.value)
        assert detector.score(frame).score == expected
        assert pid_of(detector) != before


def test_auto_lets_the_cpu_answer_until_another_process_has_qualified(
    flag: Path, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with (
        Detector(half_bundle, isolate=True) as detector,
        Detector(half_bundle, device="cpu") as cpu,
    ):
        assert detector.info()["isolated"].endswith("serves; none lost")
        expected, before = detector.score(frame).score, pid_of(detector)
        flag.touch()
        found, truth = detector.score(frame), cpu.score(frame)
        assert (found.score, found.p_value, found.threshold) == (
            truth.score, truth.p_value, truth.threshold
        )  # fmt: skip
        assert detector.wait_warm_start(PATIENCE_S)
        assert detector.info()["device"] == "cuda:0: Simulated GPU"
        assert "1 lost, the last time: " in detector.info()["isolated"]
        assert "error 700" in detector.info()["isolated"]
        assert detector.score(frame).score == expected and pid_of(detector) != before


def test_the_cpu_goes_on_without_a_gpu_that_disappeared(
    flag: Path, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with Detector(half_bundle, isolate=True) as detector:
        detector.score(frame)
        flag.touch()
        flag.with_suffix(".gone").touch()
        assert detector.score(frame).score > 0 and detector.wait_warm_start(PATIENCE_S)
        said = detector.info()["warm_start"]
        assert said.startswith("failed, the CPU serves: NVIDIA's driver finds no GPU")
        assert detector.score(frame).score > 0 and detector.info()["device"].startswith("CPU")


def test_auto_lets_the_cpu_answer_for_a_process_that_hangs(
    flag: Path, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with (
        Detector(half_bundle, isolate=True, answer_within_s=5.0) as detector,
        Detector(half_bundle, device="cpu") as cpu,
    ):
        expected, before = detector.score(frame).score, pid_of(detector)
        stop(before)
        found, truth = detector.score(frame), cpu.score(frame)
        assert (found.score, found.threshold) == (truth.score, truth.threshold)
        assert detector.wait_warm_start(PATIENCE_S)
        assert detector.info()["device"] == "cuda:0: Simulated GPU"
        assert detector.info()["isolated"].endswith(
            f"1 lost, the last time: the process that serves cuda:0 (process {before}) hangs: it "
            "did not answer within 5 s, and was killed"
        )
        assert detector.score(frame).score == expected and pid_of(detector) != before


def test_a_process_that_is_killed_under_load_loses_no_frame(
    flag: Path, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    frames = [make_frame(seed, (40, 50, 3)) for seed in range(3)]
    with Detector(half_bundle, device="cuda", isolate=True, warm_start=True) as detector:
        with Detector(half_bundle, device="cpu") as cpu:
            on_cpu = [cpu.score(frame).score for frame in frames]
        assert detector.wait_warm_start(PATIENCE_S)
        on_gpu = [detector.score(frame).score for frame in frames]
        wrong: list[Any] = []
        counts, over = [0, 0], threading.Event()

        def score(place: int) -> None:
            try:
                while not over.is_set():
                    turn = counts[place] % 3
                    found = detector.score(frames[turn]).score
                    if found not in (on_cpu[turn], on_gpu[turn]):
                        wrong.append((turn, found))
                    counts[place] += 1
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=score, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        while min(counts) < 5 and not wrong:
            over.wait(0.01)
        killed = pid_of(detector)
        os.kill(killed, signal.SIGKILL)
        while pid_of_or_none(detector) in (None, killed) and not wrong:
            over.wait(0.01)
        seen = list(counts)
        while any(a < b + 5 for a, b in zip(counts, seen, strict=True)) and not wrong:
            over.wait(0.01)
        over.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert "was killed by SIGKILL" in detector.info()["isolated"]


def pid_of_or_none(detector: Detector) -> int | None:
    said = detector.info()["isolated"]
    return None if said.startswith("this process") else pid_of(detector)


def test_a_process_that_is_lost_too_often_is_not_started_again(
    flag: Path, half_bundle: Bundle, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MOST_LOSSES", 0)
    with Detector(half_bundle, isolate=True) as detector:
        flag.touch()
        assert detector.score(frame).score > 0
        assert detector.info()["isolated"].startswith("this process serves; 1 lost")
        assert "the CPU goes on alone, make a new Detector" in detector.info()["isolated"]
        assert detector.info()["device"].startswith("CPU")
        assert detector.score(frame).score > 0


def test_a_frame_in_gpu_memory_belongs_to_this_process(
    flag: Path, half_bundle: Bundle, device: Device, frame: np.ndarray
) -> None:
    from test_device_frames import OnDevice

    with Detector(half_bundle, device="cuda", isolate=True) as detector:
        with pytest.raises(InputError, match=r"in host memory, or make the Detector without"):
            detector.score(OnDevice(device, frame))
        assert detector.score(frame).score > 0
