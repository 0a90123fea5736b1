"""``isolate=True`` on the CPU: the same results from another process, whose end is an error."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import is_there, pid_of, stop

from edgead import BundleError, Detector, InputError
from edgead.bundle.storage import open_bundle
from edgead.errors import CancelledError, DeviceLostError
from edgead.serving import channel, isolated_engine, isolated_process
from edgead.serving.isolated_engine import IsolatedEngine
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline

MakeFrame = Callable[..., np.ndarray]
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="isolate needs Linux")


@pytest.fixture
def isolated(bundle_dir: Path) -> Iterator[Detector]:
    with Detector(bundle_dir, device="cpu", isolate=True, digests=True) as detector:
        yield detector


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


WITHIN_S = 5.0  # for a frame that takes milliseconds, on a machine that does much else


def test_a_process_that_hangs_is_an_error_of_that_frame_and_another_one_serves_the_next(
    bundle_dir: Path, frame: np.ndarray
) -> None:
    with Detector(bundle_dir, device="cpu", isolate=True, answer_within_s=WITHIN_S) as detector:
        expected, before = detector.score(frame).score, pid_of(detector)
        stop(before)
        said = r"hangs: it did not answer within 5 s, and was killed; another process is started"
        with pytest.raises(DeviceLostError, match=rf"process {before}\) {said}"):
            detector.score(frame)
        assert not is_there(before)
        assert detector.score(frame).score == expected and pid_of(detector) != before


def test_every_thread_hears_of_a_process_that_hangs(bundle_dir: Path, frame: np.ndarray) -> None:
    with Detector(bundle_dir, device="cpu", isolate=True, answer_within_s=WITHIN_S) as detector:
        heard: list[str] = []
        together = threading.Barrier(3)

        def score() -> None:
            detector.score(frame)
            together.wait()
            together.wait()
            with pytest.raises(DeviceLostError) as caught:
                detector.score(frame)
            heard.append(str(caught.value))

        threads = [threading.Thread(target=score) for _ in range(2)]
        for thread in threads:
            thread.start()
        together.wait()
        stop(pid_of(detector))
        together.wait()
        for thread in threads:
            thread.join()
        assert len(heard) == 2 and heard[0] == heard[1] and "hangs" in heard[0]


def test_closing_a_detector_whose_process_hangs(bundle_dir: Path, frame: np.ndarray) -> None:
    detector = Detector(bundle_dir, device="cpu", isolate=True)
    pid = pid_of(detector)
    stop(pid)
    detector.close()
    assert not is_there(pid)


STARTS = {
    "os.kill(os.getpid(), 19)": r"hangs: it gave no sign of life for 2 s, and was killed",
    "os._exit(3)": r"ended with exit code 3",
    "os.kill(os.getpid(), 9)": r"was killed by SIGKILL \(by somebody, or .*\)",
}


@pytest.mark.parametrize("at_start", STARTS)
def test_an_opening_that_loses_its_process_says_so(
    at_start: str, bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of a next frame: there is no Detector."""
    (tmp_path / "sitecustomize.py").write_text(f"import os\n{at_start}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(isolated_engine, "OPENING_S", 2.0)
    said = rf"^the process that serves cpu \(process \d+\) {STARTS[at_start]} when it opened the "
    with pytest.raises(DeviceLostError, match=rf"{said}engine; make a new Detector; .* stderr$"):
        Detector(bundle_dir, device="cpu", isolate=True, answer_within_s=1.0)


def test_an_opening_may_take_long_while_it_gives_signs_of_life(
    bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a plan that is built: waits of 29 s between signs, with 30 s as the limit."""
    receive = channel.receive
    silence = [TimeoutError()] * int(29 / isolated_engine._ASK_S)
    coming: list[Any] = [*silence, ({"alive": True}, [])] * 10

    def played(source: Any) -> Any:
        if not coming:
            return receive(source)
        found = coming.pop(0)
        if isinstance(found, TimeoutError):
            raise found
        return found

    monkeypatch.setattr(channel, "receive", played)
    engine = open_engine(open_bundle(bundle_dir), "cpu", isolate=True)
    assert not coming and engine.precision == "float32"


def test_signs_of_life_come_until_the_engine_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_process, "SIGN_S", 0.001)
    ours, theirs = channel.pair()
    ours.settimeout(60.0)
    with isolated_process._signs_of_life(theirs):
        assert [channel.receive(ours)[0] for _ in range(3)] == [{"alive": True}] * 3
    channel.send(theirs, {"device": "some"})
    while (told := channel.receive(ours)[0]) == {"alive": True}:
        pass
    assert told == {"device": "some"}


WAITS = """
import os, socket, sys
from edgead.serving import channel
print(flush=True)
print(channel.receive_within(socket.socket(fileno=int(sys.argv[1])), 4.0)[0]["id"])
"""


def test_the_wait_stands_still_while_this_process_is_stopped(tmp_path: Path) -> None:
    """Ctrl-Z stops both: the other one answers only after this one waits again."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", WAITS, str(theirs.fileno())]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], **pipes) as waits:
        assert waits.stdout is not None and waits.stdout.readline() == "\n"
        stop(waits.pid)
        threading.Event().wait(5.0)
        os.kill(waits.pid, signal.SIGCONT)
        threading.Event().wait(0.2)
        channel.send(ours, {"id": 7})
        assert waits.stdout.read() == "7\n"


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), True, "60", None])
def test_a_time_that_is_none(seconds: Any, bundle_dir: Path) -> None:
    with pytest.raises(InputError, match=r"answer_within_s=.*: expected seconds from 0.1 to 86400"):
        Detector(bundle_dir, device="cpu", answer_within_s=seconds)


PLAIN = """
import sys
from edgead import Detector
Detector(sys.argv[1], device="cpu").close()
wanted = "edgead.serving.isolated_engine", "edgead.serving.channel"
print([one for one in wanted if one in sys.modules])
"""


def test_a_detector_of_this_process_loads_nothing_of_it(bundle_dir: Path) -> None:
    """Which takes 5 ms of its start."""
    command = [sys.executable, "-c", PLAIN, str(bundle_dir)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
