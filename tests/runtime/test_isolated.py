"""``isolate=True`` on the CPU: the same results from another process, whose end is an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import BundleError, Detector, InputError
from edgead.bundle.storage import open_bundle
from edgead.errors import CancelledError, DeviceLostError
from edgead.serving import channel
from edgead.serving.isolated_engine import IsolatedEngine
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline

MakeFrame = Callable[..., np.ndarray]
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="isolate needs Linux")


@pytest.fixture
def isolated(bundle_dir: Path) -> Iterator[Detector]:
    with Detector(bundle_dir, device="cpu", isolate=True, digests=True) as detector:
        yield detector


def pid_of(detector: Detector) -> int:
    return int(detector.info()["isolated"].split()[1])


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_are_those_of_this_process_bit_for_bit(
    isolated: Detector, bundle_dir: Path, make_frame: MakeFrame
) -> None:
    assert pid_of(isolated) != os.getpid()
    with Detector(bundle_dir, device="cpu", digests=True) as own:
        frames = [make_frame(seed, shape) for seed, shape in enumerate([(40, 50, 3), (70, 90)])]
        frames.append(make_frame(3, (80, 60, 3), np.uint16)[::-1, ::2])
        results = [(isolated.score(frame), own.score(frame)) for frame in frames]
    for found, expected in results:  # maps are each Result's own
        assert (found.score, found.p_value) == (expected.score, expected.p_value)
        assert found.digests == expected.digests
        np.testing.assert_array_equal(found.map, expected.map)


def test_errors_are_those_of_this_process(
    bundle_dir: Path, isolated: Detector, make_frame: MakeFrame
) -> None:
    white = np.full((40, 50, 3), 65535, np.uint16)
    for error, frame in ((InputError, white), (InputError, white.astype(np.float32))):
        said = []
        with (
            Detector(bundle_dir, device="cpu", bit_depth=12) as own,
            Detector(bundle_dir, device="cpu", bit_depth=12, isolate=True) as other,
        ):
            for detector in (own, other):
                with pytest.raises(error) as caught:
                    detector.score(frame)
                said.append(str(caught.value))
            assert said[0] == said[1]
            assert other.score(make_frame(1, (40, 50, 3))).score > 0
    with pytest.raises(BundleError) as own_error:
        Detector(bundle_dir, device="cpu", precision="float16")
    with pytest.raises(BundleError) as other_error:
        Detector(bundle_dir, device="cpu", precision="float16", isolate=True)
    assert str(own_error.value) == str(other_error.value)


def test_a_killed_process_is_an_error_of_that_frame_and_another_one_serves_the_next(
    isolated: Detector, frame: np.ndarray
) -> None:
    expected, before = isolated.score(frame), pid_of(isolated)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(DeviceLostError, match=r"was killed by SIGKILL .*dmesg.*another process"):
        isolated.score(frame)
    found = isolated.score(frame)
    assert found.score == expected.score and found.digests == expected.digests
    assert pid_of(isolated) != before


def test_every_thread_hears_of_a_killed_process_and_goes_on(
    isolated: Detector, frame: np.ndarray
) -> None:
    expected, heard = isolated.score(frame).score, []
    together = threading.Barrier(4)

    def score() -> None:
        isolated.score(frame)
        together.wait()
        try:
            while True:
                isolated.score(frame)
        except BaseException as error:
            heard.append(error)
        heard.append(isolated.score(frame).score)

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    together.wait()
    os.kill(pid_of(isolated), signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert [type(one) for one in heard].count(DeviceLostError) == 3, heard
    assert [one for one in heard if not isinstance(one, DeviceLostError)] == [expected] * 3


def test_the_process_ends_with_the_detector(bundle_dir: Path, frame: np.ndarray) -> None:
    detector = Detector(bundle_dir, device="cpu", isolate=True)
    pid = pid_of(detector)
    detector.score(frame)
    assert is_there(pid)
    detector.close()
    assert not is_there(pid)
    with pytest.raises(InputError, match="this Detector is closed"):
        detector.score(frame)


PROGRAM = """
import os, sys
from edgead import Detector
detector = Detector(sys.argv[1], device="cpu", isolate=True)
print(detector.info()["isolated"].split()[1], flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_process_ends_when_this_one_is_killed(bundle_dir: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, bundle_dir], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    for _ in range(1000):
        if not is_there(pid):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"process {pid} is still there")


def test_auto_without_a_gpu_serves_in_this_process(bundle_dir: Path, no_gpu: None) -> None:
    with Detector(bundle_dir, isolate=True) as detector:
        assert detector.info()["isolated"] == "this process serves"


def test_a_bundle_that_was_replaced_meanwhile(bundle_copy: Path, make_frame: MakeFrame) -> None:
    bundle = open_bundle(bundle_copy)
    manifest = bundle_copy / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="was replaced meanwhile: open it again"):
        Detector(bundle, device="cpu", isolate=True)


def test_opening_that_is_stopped(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    with pytest.raises(CancelledError, match="opening cpu was stopped"):
        open_engine(bundle, "cpu", isolate=True, cancelled=lambda: True)


def test_an_answer_to_an_interrupted_call_is_not_taken_for_the_next_one(
    bundle_dir: Path, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the other process scores: its answer comes, and belongs to the frame before."""
    bundle = open_bundle(bundle_dir)
    engine = open_engine(bundle, "cpu", isolate=True)
    assert isinstance(engine, IsolatedEngine)
    pipeline = open_pipeline(bundle, engine)
    frames = [make_frame(seed, (40, 50, 3)) for seed in range(2)]
    expected = [pipeline.run(frame).score for frame in frames]
    assert expected[0] != expected[1]
    receive = channel.receive

    def interrupted(source: Any) -> Any:
        monkeypatch.setattr(channel, "receive", receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(channel, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(frames[0])
    assert pipeline.run(frames[1]).score == expected[1]
    pipeline.close()
    with pytest.raises(InputError, match="no sessions"):
        engine.session()
    engine.close()
