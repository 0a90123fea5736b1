"""Threads, CUDA contexts and streams on a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from checks import check_same
from simulation import CudaError, Device

from edgead import Detector, InputError
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceError
from edgead.nvidia import pipeline
from edgead.serving.open_engine import open_engine

MakeFrame = Callable[..., np.ndarray]


def test_two_threads_have_a_context_and_a_stream_each(
    gpu: Detector, device: Device, cpu: Detector, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    frames = [make_frame(seed, (50, 40, 3)) for seed in range(4)]
    expected = [cpu.score(frame) for frame in frames]
    contexts = device.count_of("create_execution_context")
    wrong: list[BaseException] = []
    together = threading.Barrier(2)

    def score() -> None:
        try:
            together.wait()
            for turn in range(20):
                check_same(gpu.score(frames[turn % 4]), expected[turn % 4], half_bundle)
            assert device.stack == []
        except BaseException as error:
            wrong.append(error)

    device.log.clear()
    threads = [threading.Thread(target=score) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert contexts > 0 and device.count_of("create_execution_context") == 2
    assert len({details for name, details in device.log if name == "launch"}) == 2


@pytest.mark.parametrize("other", ["torch", "primary"])
def test_another_library_finds_its_context_again(
    device: Device, half_bundle: Bundle, frame: np.ndarray, other: str
) -> None:
    """Torch is only simulated here, as a context that is current before."""
    with device.foreign_context(other):
        detector = Detector(half_bundle, device="cuda")
        assert device.stack == [other]
        result = detector.score(frame)
        assert device.stack == [other]
        assert result.map.shape == (64, 48)
        with pytest.raises(InputError):
            detector.score(frame.astype(np.float32))
        assert device.stack == [other]
        detector.close()
        del detector, result
        assert device.stack == [other]


def test_tensorrt_8_gives_its_profile_to_one_context_at_a_time(
    device: Device, half_bundle: Bundle, cpu: Detector, make_frame: MakeFrame
) -> None:
    """One thread is served; another is told why not."""
    device.shares_profiles = False
    frame = make_frame(3, (40, 50, 3))
    with Detector(half_bundle, device="cuda") as detector:
        check_same(detector.score(frame), cpu.score(frame), half_bundle)
        heard: list[str] = []

        def score() -> None:
            try:
                detector.score(frame)
            except DeviceError as error:
                heard.append(str(error))

        thread = threading.Thread(target=score)
        thread.start()
        thread.join()
        assert len(heard) == 1 and "TensorRT 8.5 has a context for one thread only" in heard[0]
        check_same(detector.score(frame), cpu.score(frame), half_bundle)
    assert device.count_of("set_optimization_profile_async") > 0


def test_a_session_copies_image_and_pairs(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    """What edgead-bench and the digests' tests use of any engine: host memory in and out."""
    pairs, images = {}, {}
    for where in ("cpu", "cuda"):
        session = open_engine(half_bundle, where).session()
        session.image[:] = np.linspace(-1, 1, session.image.size).reshape(session.image.shape)
        images[where] = session.image.copy()
        pairs[where] = [(a.copy(), b.copy()) for a, b in session.infer()]
    del session
    for one, other in zip(pairs["cpu"], pairs["cuda"], strict=True):
        for a, b in zip(one, other, strict=True):
            # Two convolutions of float16: some units of 2^-11 of values around 1.
            np.testing.assert_allclose(a, b, atol=2e-2)
            assert a.shape == b.shape


def test_what_is_open_when_the_process_ends_is_closed_before_python_is(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    """Whoever forgets ``close``: execution contexts, streams and memory go while all is whole."""
    detector = Detector(half_bundle, device="cuda")
    result = detector.score(make_frame(3, (40, 50, 3)))
    gone = sum(name == "Context gone" for name, _ in device.log)
    pipeline._close_all()  # what atexit calls
    assert sum(name == "Context gone" for name, _ in device.log) == gone + 1
    assert (device.living("pinned"), device.stack) == (0, [])
    assert result.map.shape == (64, 48)
    detector.close()


def heard_in_threads(
    detector: Detector, frame: np.ndarray, kind: type[Exception], meanwhile: Callable[[], None]
) -> list[str]:
    """What ends each of three threads that score on and on; ``meanwhile`` is done when all do."""
    heard: list[str] = []
    together = threading.Barrier(4)

    def score() -> None:
        detector.score(frame)
        together.wait()
        try:
            while True:
                detector.score(frame)
        except kind as error:
            heard.append(str(error))

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    together.wait()
    meanwhile()
    for thread in threads:
        thread.join()
    return heard


def test_other_threads_hear_of_the_failure(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    detector = Detector(half_bundle, device="cuda")
    error = CudaError("cuGraphLaunch failed: too bad")
    plant = partial(device.plant, "launch", 20, error)
    heard = heard_in_threads(detector, frame, DeviceError, plant)
    assert len(heard) == 3 and all("too bad" in text for text in heard)
    detector.close()


def test_closing_while_other_threads_score(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    detector = Detector(half_bundle, device="cuda")
    heard = heard_in_threads(detector, frame, InputError, detector.close)
    assert len(heard) == 3 and all("this Detector is closed" in text for text in heard)
