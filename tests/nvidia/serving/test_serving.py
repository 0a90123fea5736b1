"""Frames through the pipeline for NVIDIA GPUs on a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_same
from simulation import Device

from edgead import BundleError, Detector, InputError, Result
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import DeviceError
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.tiling import Tiling

MakeFrame = Callable[..., np.ndarray]
ALLOCATIONS = ("allocate", "pinned", "cudaMalloc", "Events", "Stream")
FRAMES = [
    ((90, 110, 3), np.uint8),
    ((33, 44), np.uint8),
    ((33, 44, 1), np.uint16),
    ((64, 48, 3), np.uint16),
    ((1, 1, 3), np.uint8),
]


def test_scores_are_those_of_the_cpu_within_the_tolerance_of_float16(
    gpu: Detector, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    for seed, (shape, dtype) in enumerate(FRAMES * 2):
        frame = make_frame(seed, shape, dtype)
        found, expected = gpu.score(frame), cpu.score(frame)
        check_same(found, expected, half_bundle)
        assert found.score != expected.score  # it did compute in float16
        assert found.frame is frame
        assert found.overlay().shape == (*shape[:2], 3)
        assert "frame" in repr(found)


def test_float16_ranks_images_and_pixels_as_float32_does(
    gpu: Detector, cpu: Detector, make_frame: MakeFrame
) -> None:
    """Twenty good frames, and the same with a faint square; AUROC within 0.001 of the CPU's."""
    metrics = pytest.importorskip("sklearn.metrics", reason="AUROC of the tests' own library")
    images: dict[str, list[float]] = {}
    pixels: dict[str, list[float]] = {}
    painted = np.zeros((64, 48), bool)
    painted[20:32, 10:22] = True
    for name, detector in (("gpu", gpu), ("cpu", cpu)):
        for label in (0, 1):
            for seed in range(20):
                frame = make_frame(seed, (64, 48, 3))
                if label:
                    frame[painted] = (0.7 * frame[painted]).astype(np.uint8)
                result = detector.score(frame)
                images.setdefault(name, []).append(result.score)
                pixels.setdefault(name, []).append(result.map)
    truth = {"image": [0] * 20 + [1] * 20, "pixel": [*[painted & False] * 20, *[painted] * 20]}
    for kind, found in (("image", images), ("pixel", pixels)):
        labels = np.ravel(truth[kind])
        half, single = (metrics.roc_auc_score(labels, np.ravel(found[n])) for n in ("gpu", "cpu"))
        assert 0.6 < single < 0.999  # else a difference could not show
        assert abs(half - single) <= 0.001


def test_any_strides(gpu: Detector, make_frame: MakeFrame) -> None:
    frame = make_frame(3, (60, 80, 3))
    for view in (frame[::2, ::-1], frame[::-1, :, ::-1], frame.transpose(1, 0, 2), frame[5:41, 7:]):
        np.testing.assert_array_equal(
            gpu.score(view).map, gpu.score(np.ascontiguousarray(view)).map
        )


def test_what_it_says_of_itself(gpu: Detector, device: Device, plans: dict[str, Any]) -> None:
    info = gpu.info()
    assert info["device"] == "cuda:0: Simulated GPU"
    assert info["precision"] == "float16"
    assert info["version"] == "TensorRT 10.3.0"
    assert info["kernels"] == "cuda"
    assert info["chosen"] == 'asked for "cuda"'
    assert plans["asked"][0]["device"] == "Simulated GPU sm_87 8 SM 1 GiB"
    assert plans["asked"][0]["precision"] == "float16"
    assert "TensorRTEngine(cuda:0" in repr(gpu.engine)


def test_the_order_of_calls(gpu: Detector, device: Device, frame: np.ndarray) -> None:
    """Run once, synchronise, capture, launch; from then on one launch and one wait a frame."""
    gpu.score(frame)
    device.log.clear()
    gpu.score(np.ascontiguousarray(frame[:50]))  # a new shape, in memory that is large enough
    run = ["upload", "preprocess", "execute_async_v3", "anomaly_map"]
    run += ["download"]
    quiet = ("record", "enter", "leave", "cudaMalloc", "Events")
    found = [name for name, _ in device.log if name not in quiet]
    whole = [*run, "synchronize", "begin_capture", *run, "end_capture", "launch"]
    assert found == [*whole, "copy", "synchronize", "intervals_ms"]
    device.log.clear()
    gpu.score(np.ascontiguousarray(frame[50:][:40]))
    gpu.score(frame)
    device.log.clear()
    gpu.score(frame)
    found = [name for name, _ in device.log]
    assert found == ["enter", "launch", "copy", "synchronize", "intervals_ms", "leave"]


def test_everything_is_on_one_stream(gpu: Detector, device: Device, frame: np.ndarray) -> None:
    gpu.score(frame)
    streams = {details[-1] for name, details in device.log if name in ("preprocess", "anomaly_map")}
    device.log.clear()
    gpu.score(frame[:40])
    used = {details[-1] for name, details in device.log if name in ("preprocess", "anomaly_map")}
    used |= {details for name, details in device.log if name in ("execute_async_v3", "launch")}
    used |= {d[-1] for name, d in device.log if name.startswith("memcpy")}
    assert len(used) == 1 and used <= streams


def test_nothing_is_allocated_once_a_kind_of_frame_is_known(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    shapes = [(90, 110, 3), (33, 44)]
    for shape in shapes:
        gpu.score(make_frame(0, shape))
    before = device.count_of(*ALLOCATIONS, "begin_capture")
    for seed in range(10):
        gpu.score(make_frame(seed, shapes[seed % 2])).map.sum()
    assert device.count_of(*ALLOCATIONS, "begin_capture") == before


def test_few_kinds_of_frames_are_kept(
    gpu: Detector, device: Device, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    gpu.score(make_frame(0, (60, 60, 3)))
    living = []
    for side in range(20, 40):
        frame = make_frame(side, (side, 30, 3))
        check_same(gpu.score(frame), cpu.score(frame), half_bundle)
        living.append(device.living("device"))
    assert max(living[5:]) == min(living[5:])


def test_maps_of_results_that_are_kept_stay_theirs(
    gpu: Detector, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    frames = [make_frame(seed, (50, 40, 3)) for seed in range(7)]
    kept = [gpu.score(frame) for frame in frames]
    for result, frame in zip(kept, frames, strict=True):
        check_same(result, cpu.score(frame), half_bundle)
        assert result.map is result.map
    last = gpu.score(frames[0])
    gpu.close()
    check_same(last, cpu.score(frames[0]), half_bundle)


def test_maps_are_copied_only_when_somebody_wants_them(
    gpu: Detector, device: Device, frame: np.ndarray
) -> None:
    gpu.score(frame)
    before = device.count_of("download")
    for _ in range(6):
        result = gpu.score(frame)  # the last one lives while the next frame runs
    assert device.count_of("download") == before
    assert result.map.shape == (64, 48)
    assert device.count_of("download") == before + 1
    kept = [gpu.score(frame) for _ in range(5)]
    assert device.count_of("download") == before + 1 + 3
    assert all(np.array_equal(one.map, result.map) for one in kept)


def test_a_map_is_read_in_another_thread_while_frames_run(
    gpu: Detector, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    frames = [make_frame(seed, (50, 40, 3)) for seed in range(4)]
    expected = [cpu.score(frame) for frame in frames]
    waiting: list[tuple[int, Result]] = []
    wrong: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set() or waiting:
            if waiting:
                index, result = waiting.pop()
                try:
                    check_same(result, expected[index], half_bundle)
                except BaseException as error:
                    wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        waiting.append((turn % 4, gpu.score(frames[turn % 4])))
    over.set()
    reader.join()
    assert wrong == []


@pytest.mark.parametrize("device", [{"integrated": True}], indirect=True, ids=["jetson"])
def test_on_an_integrated_device_frames_and_scores_are_not_copied(
    gpu: Detector, device: Device, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    assert device.living("mapped") > 0
    for seed, (shape, dtype) in enumerate(FRAMES * 2):
        frame = make_frame(seed, shape, dtype)
        check_same(gpu.score(frame), cpu.score(frame), half_bundle)
    assert device.count_of("upload") == 0


def test_timings(gpu: Detector, frame: np.ndarray) -> None:
    timings = gpu.score(frame).timings_ms
    assert list(timings) == ["preprocess", "engine", "anomaly_map", "copy", "total"]
    assert all(value > 0 for value in timings.values())
    # A tick of the simulated clock between two events, and two copies.
    assert timings["preprocess"] == pytest.approx(0.25)
    assert timings["copy"] >= 0.5


def test_an_ignore_mask(half: Any, device: Device, tmp_path: Path, make_frame: MakeFrame) -> None:
    mask = IgnoreMask((80, 60), polygons=(((5.0, 5.0), (50.0, 8.0), (30.0, 70.0)),))
    bundle = half.write(tmp_path / "masked.edgead", ignore=mask)
    frame = make_frame(8, (80, 60, 3))
    found = [_score_unqualified(bundle, d, frame) for d in ("cpu", "cuda")]
    assert found[1].roi is not None and (found[1].roi == 0).any()
    np.testing.assert_array_equal(found[0].roi, found[1].roi)
    assert not np.asarray(found[1].map)[found[1].roi == 0].any()
    tolerance = bundle.manifest.tolerance["float16"]
    assert abs(found[0].score - found[1].score) <= tolerance.score


def _score_unqualified(bundle: Bundle, device: str, frame: np.ndarray) -> Any:
    from edgead.engine.lazy_array import as_array

    pipeline = open_pipeline(bundle, open_engine(bundle, device))
    found = pipeline.run(frame)
    found = found._replace(map=as_array(found.map))
    pipeline.close()
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_tiles(
    half: Any, device: Device, tmp_path: Path, make_frame: MakeFrame, masked: bool
) -> None:
    """Every tile of an uploaded frame; the map is joined as the CPU joins it."""
    polygon = ((0.0, 0.0), (150.0, 0.0), (150.0, 100.0), (0.0, 100.0))
    mask = IgnoreMask((200, 190), polygons=(polygon,)) if masked else None
    bundle = half.write(tmp_path / "tiled.edgead", tiling=Tiling((70, 60), 10), ignore=mask)
    frame = make_frame(8, (200, 190, 3))
    for _ in range(2):  # the second time as a graph
        found = [_score_unqualified(bundle, d, frame) for d in ("cpu", "cuda")]
        assert found[0].map.shape == found[1].map.shape != (64, 48)
        tolerance = bundle.manifest.tolerance["float16"]
        assert abs(found[0].score - found[1].score) <= tolerance.score
        np.testing.assert_allclose(found[1].map, found[0].map, atol=tolerance.map)
    pipeline = open_pipeline(bundle, open_engine(bundle, "cuda"))
    first = pipeline.run(frame)
    device.log.clear()
    again = pipeline.run(frame)
    assert device.count_of("launch") == 1
    assert device.count_of("execute_async_v3", *ALLOCATIONS) == 0
    np.testing.assert_array_equal(first.map, again.map)
    with pytest.raises(InputError, match="at least as large as a tile"):
        pipeline.run(frame[:60])
    pipeline.close()


def test_digests(
    device: Device, half_bundle: Bundle, frame: np.ndarray, make_frame: MakeFrame
) -> None:
    """Image and map are hashed as they are; two runs agree, also with what runs as a graph."""
    with (
        Detector(half_bundle, device="cpu", digests=True) as cpu,
        Detector(half_bundle, device="cuda", digests=True) as gpu,
        Detector(half_bundle, device="cuda") as plain,
    ):
        expected, found, again = cpu.score(frame), gpu.score(frame), gpu.score(frame)
        assert found.digests is not None and expected.digests is not None
        assert found.digests == again.digests
        assert found.digests.frame == expected.digests.frame
        assert found.digests.preprocess == expected.digests.preprocess
        assert found.digests.anomaly_map != expected.digests.anomaly_map
        assert len({name for pair in found.digests.engine for name in pair}) == 4
        assert found.digests.served["device"] == "cuda:0: Simulated GPU"
        np.testing.assert_array_equal(plain.score(frame).map, found.map)


def test_an_interrupted_frame_leaves_nothing_to_the_next_one(
    gpu: Detector, cpu: Detector, half_bundle: Bundle, device: Device, make_frame: MakeFrame
) -> None:
    frames = [make_frame(seed, (50, 40, 3)) for seed in range(2)]
    gpu.score(frames[0])
    for name in ("launch", "synchronize", "copy"):
        device.plant(name, 1, KeyboardInterrupt())
        assert _interrupted(gpu, frames[0])
        check_same(gpu.score(frames[1]), cpu.score(frames[1]), half_bundle)
    for name in ("preprocess", "execute_async_v3", "begin_capture", "end_capture"):
        frame = make_frame(9, (30 + len(name), 30, 3))
        device.plant(name, 2 if "capture" not in name else 1, KeyboardInterrupt())
        assert _interrupted(gpu, frame)
        check_same(gpu.score(frame), cpu.score(frame), half_bundle)


def _interrupted(detector: Detector, frame: np.ndarray) -> bool:
    try:  # pytest.raises would keep the frames of the call, and what they hold
        detector.score(frame)
    except KeyboardInterrupt:
        return True
    return False


def test_a_bundle_without_float16_is_refused(device: Device, bundle_dir: Path) -> None:
    with pytest.raises(BundleError, match=r"no float16.*only float32.*learn it again"):
        Detector(bundle_dir, device="cuda")
    with Detector(open_bundle(bundle_dir), device="cuda", precision="float32") as detector:
        assert detector.info()["precision"] == "float32"


def test_a_gpu_that_is_not_there(device: Device, half_bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match=r"cuda:1.*this machine has cuda:0 only"):
        Detector(half_bundle, device="cuda:1")
