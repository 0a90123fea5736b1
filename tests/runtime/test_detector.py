"""The Detector against onnxruntime and float64 NumPy, in threads, and with bad frames."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgead
from edgead import BundleError, CalibrationError, Detector, DeviceError, InputError
from edgead.bundle.storage import open_bundle

MakeFrame = Callable[..., np.ndarray]
# Scores are around 1; float32 features and maps against float64 ones differ by some 1e-6.
CLOSE = 2e-5


@pytest.fixture(scope="module")
def shared(bundle_dir: Path) -> Iterator[Detector]:
    """One Detector for tests that do not change it."""
    with Detector(bundle_dir) as detector:
        yield detector


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(90, 110, 3), (90, 110), (90, 110, 1), (64, 48, 3), (1, 1), (1, 1, 3), (300, 5, 3)]
)
def test_score_and_map(
    shared: Detector, tiny: Any, make_frame: MakeFrame, shape: tuple[int, ...], dtype: type
) -> None:
    frame = make_frame(31, shape, dtype)
    expected_map, expected_score = tiny.truth(frame)
    result = shared.score(frame)
    assert result.score == pytest.approx(expected_score, abs=CLOSE)
    assert float(result) == result.score
    assert result.map.shape == (64, 48)
    assert result.map.dtype == np.float32
    np.testing.assert_allclose(result.map, expected_map, atol=CLOSE)
    calibration = tiny.manifest.calibration.scores
    count = sum(c + 1e-4 >= result.score for c in calibration)
    assert result.p_value == (1 + count) / (len(calibration) + 1)
    assert result.is_anomalous == (result.p_value <= 0.05)
    assert result.is_anomalous == (result.score > result.threshold)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_color(bundle_dir: Path, tiny: Any, frame: np.ndarray, color: str) -> None:
    result = Detector(bundle_dir, color=color).score(frame)
    assert result.score == pytest.approx(tiny.truth(frame, color)[1], abs=CLOSE)
    swapped = Detector(bundle_dir, color="rgb" if color == "bgr" else "bgr").score(frame)
    assert swapped.score != result.score


def test_gray(bundle_dir: Path, shared: Detector, make_frame: MakeFrame) -> None:
    gray = Detector(bundle_dir, color="gray")
    frame = make_frame(3, (40, 50))
    assert gray.score(frame).score == shared.score(frame).score
    with pytest.raises(InputError, match="gray"):
        gray.score(make_frame(3))


def test_an_anomalous_frame(shared: Detector, make_frame: MakeFrame) -> None:
    frame = make_frame(4, (128, 96, 3))
    assert not shared.score(frame).is_anomalous
    frame[60:70, 20:60] = (255, 255, 0)
    result = shared.score(frame)
    assert result.is_anomalous
    assert result.p_value == 1 / 40


VIEWS = {
    "every second pixel": lambda a: a[::2, ::2],
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "channels turned": lambda a: a[:, :, ::-1],
    "transposed": lambda a: a.transpose(1, 0, 2),
    "a window": lambda a: a[11:50, 7:90],
    "Fortran order": np.asfortranarray,
    "one channel": lambda a: a[:, :, 1],
    "repeated without memory": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_and_read_only_frames(shared: Detector, frame: np.ndarray, view: str) -> None:
    seen = VIEWS[view](frame)
    copy = np.ascontiguousarray(seen).copy()
    seen.setflags(write=False)
    before = frame.copy()
    result = shared.score(seen)
    np.testing.assert_array_equal(result.map, shared.score(copy).map)
    np.testing.assert_array_equal(frame, before)


def test_a_large_frame(shared: Detector, tiny: Any) -> None:
    """8000 x 6000 of one colour: the same as one pixel of it."""
    frame = np.broadcast_to(np.array([30, 90, 200], np.uint8), (6000, 8000, 3))
    np.testing.assert_array_equal(shared.score(frame).map, shared.score(frame[:1, :1]).map)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32.*uint8 or uint16"),
        (np.full((8, 8, 3), np.nan), "float64.*uint8 or uint16"),
        (np.zeros((8, 8, 3), np.int16), "int16"),
        (np.zeros((8, 8, 3), bool), "bool"),
        (np.zeros((0, 8, 3), np.uint8), r"0 x 8"),
        (np.zeros((8, 0), np.uint8), r"8 x 0"),
        (np.zeros((8, 8, 2), np.uint8), r"\(8, 8, 2\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"\(2, 8, 8, 3\)"),
        (np.zeros(8, np.uint8), r"\(8,\)"),
        ("frame.png", "str"),
        (None, "None: the file"),
        ([[0, 1], [2, 3]], "list"),
    ],
)
def test_what_is_no_frame(shared: Detector, frame: np.ndarray, bad: Any, match: str) -> None:
    before = shared.score(frame).score
    with pytest.raises(InputError, match=match):
        shared.score(bad)
    assert shared.score(frame).score == before


def test_frames_of_several_sizes_in_turn(shared: Detector, make_frame: MakeFrame) -> None:
    frames = [make_frame(1), make_frame(2, (33, 44)), make_frame(3, (50, 60, 3), np.uint16)]
    alone = [shared.score(frame) for frame in frames]
    again = [shared.score(frame) for frame in frames]
    for one, other in zip(alone, again, strict=True):
        np.testing.assert_array_equal(one.map, other.map)
        assert one.score == other.score


def test_threads_agree_bit_for_bit(shared: Detector, make_frame: MakeFrame) -> None:
    frames = [make_frame(seed, (40 + seed, 70, 3)) for seed in range(6)]
    expected = [shared.score(frame) for frame in frames]
    start = threading.Barrier(8)
    problems: list[str] = []

    def work(first: int) -> None:
        try:
            start.wait(timeout=60)
            for step in range(30):
                index = (first + step) % len(frames)
                result = shared.score(frames[index])
                if result.score != expected[index].score:
                    problems.append(f"score of frame {index}")
                if not np.array_equal(result.map, expected[index].map):
                    problems.append(f"map of frame {index}")
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert problems == []


def test_results_keep_their_map(shared: Detector, make_frame: MakeFrame) -> None:
    first = shared.score(make_frame(1))
    kept = first.map.copy()
    shared.score(make_frame(2))
    np.testing.assert_array_equal(first.map, kept)


def test_memory_does_not_grow(shared: Detector, make_frame: MakeFrame) -> None:
    frames = [make_frame(1, (120, 160, 3)), make_frame(2, (120, 160))]

    def run(count: int) -> None:
        for index in range(count):
            shared.score(frames[index % 2])

    run(50)  # caches and pools fill
    gc.collect()
    tracemalloc.start()
    try:
        run(10)
        gc.collect()
        traced, grown = tracemalloc.get_traced_memory()[0], []
        for _ in range(3):
            resident = resident_bytes()
            run(400)
            gc.collect()
            grown.append(resident_bytes() - resident)
        # One map is 12 KB: keeping one of them in forty frames would already show.
        assert tracemalloc.get_traced_memory()[0] - traced < 100_000
        # Native memory: an input or map kept per frame would be at least 400 * 12 KB = 4.8 MB in
        # every round. In one of them the system may bring back pages that it had taken away.
        assert min(grown) < 1_000_000
    finally:
        tracemalloc.stop()


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc, which only Linux has")
    return int(statm.read_text().split()[1]) * 4096


def test_false_reject_rate(bundle_dir: Path, tiny: Any, make_frame: MakeFrame) -> None:
    ranked = sorted(tiny.manifest.calibration.scores, reverse=True)
    detector = Detector(bundle_dir, false_reject_rate=0.5)
    assert detector.false_reject_rate == 0.5
    assert detector.threshold == ranked[19] + 1e-4  # at 20 of 40 the twentieth highest decides
    before = detector.score(make_frame(4, (128, 96, 3)))
    detector.false_reject_rate = 0.025
    assert detector.threshold == ranked[0] + 1e-4
    after = detector.score(make_frame(4, (128, 96, 3)))
    assert (before.p_value, before.score) == (after.p_value, after.score)
    assert before.is_anomalous == (before.p_value <= 0.5)
    assert not after.is_anomalous
    assert before.threshold < after.threshold
    with pytest.raises(CalibrationError, match=r"best possible is 0\.025; 0\.01 needs 99"):
        detector.false_reject_rate = 0.01
    assert detector.false_reject_rate == 0.025
    with pytest.raises(CalibrationError, match="39 calibration images"):
        Detector(bundle_dir, false_reject_rate=0.02)


def test_calibration_images_as_served(bundle_dir: Path, tiny: Any, make_frame: MakeFrame) -> None:
    """Of the calibration images themselves at most 5 % are rejected: here, one of 39."""
    detector = Detector(open_bundle(bundle_dir))
    results = [detector.score(make_frame(seed)) for seed in range(39)]
    assert sum(result.is_anomalous for result in results) <= 1
    found = np.array([result.score for result in results])
    np.testing.assert_allclose(found, tiny.manifest.calibration.scores, atol=CLOSE)


def test_what_it_says_of_itself(shared: Detector, bundle_dir: Path, frame: np.ndarray) -> None:
    info = shared.info()
    assert set(info) == {*("device", "precision", "kernels", "version", "bundle_sha256", "chosen")}
    assert info["bundle_sha256"] == open_bundle(bundle_dir).sha256
    assert "tiny" in repr(shared) and "CPU: " in repr(shared) and "0.05" in repr(shared)
    assert shared.bundle.manifest.name == "tiny"
    assert shared.engine.device == info["device"]
    timings = shared.score(frame).timings_ms
    assert list(timings) == ["preprocess", "engine", "anomaly_map", "total"]
    assert 0 < sum(list(timings.values())[:3]) <= timings["total"]


def test_closed(bundle_dir: Path, frame: np.ndarray) -> None:
    with Detector(bundle_dir) as detector:
        result = detector.score(frame)
    detector.close()
    with pytest.raises(InputError, match="closed"):
        detector.score(frame)
    with pytest.raises(InputError, match="closed"):
        _ = detector.engine
    with pytest.raises(InputError, match="closed"):
        detector.false_reject_rate = 0.5
    assert detector.false_reject_rate == 0.05
    assert "closed" in repr(detector)
    assert detector.info()["precision"] == "float32"
    assert result.overlay().shape == frame.shape


def test_bad_arguments(bundle_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="color"):
        Detector(bundle_dir, color="cmyk")
    with pytest.raises(BundleError, match="does not exist"):
        Detector(tmp_path / "absent.edgead")
    assert BundleError.exit_code == 1
    assert DeviceError.exit_code == 2


def test_features_that_turn_infinite(bundle_dir: Path, frame: np.ndarray) -> None:
    detector = Detector(bundle_dir)
    expected = detector.score(frame).score
    session: Any = detector._pipeline(detector._state)._stages._session
    infer = session.infer

    def broken() -> Any:
        pairs = infer()
        pairs[1][1][0, 3, 2, 1] = np.nan
        return pairs

    session.infer = broken
    with pytest.raises(DeviceError, match="not finite"):
        detector.score(frame)
    session.infer = infer
    assert detector.score(frame).score == expected


def test_version_is_the_project_s() -> None:
    from importlib.metadata import version

    assert edgead.__version__ == version("edgead")
    assert all(hasattr(edgead, name) for name in edgead.__all__)
