"""Detectors in forked processes: they score, or say that they cannot; none waits without end.

Every child is a real fork of a process of its own, and is ended by its own alarm when it hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.bundle.entries import Calibration, Golden
from edgead.bundle.storage import Bundle
from edgead.bundle.storage import write_bundle as write
from edgead.images import encode_png
from edgead.tiling import Tiling, plan_tiles

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PARENT = """
import os, signal, sys, threading
import numpy as np
import edgead

path, options = sys.argv[1], {options}
frame = np.random.default_rng(0).integers(0, 255, (150, 130, 3), np.uint8)
detector = edgead.Detector(path, device="cpu", **options)
expected = detector.score(frame)

def fork(child):
    pid = os.fork()
    if pid == 0:
        signal.alarm(40)  # ends a child that hangs
        child()
        return True
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the child ended with {{status}}"
    return False
"""


@pytest.fixture(scope="module")
def paths(
    tiny: Any, make_graph: Any, to_npy: Any, make_frame: Any, tmp_path_factory: Any
) -> dict[str, Path]:
    """Bundles by name: small, wide enough for several threads of OpenVINO, and of tiles."""
    folder = tmp_path_factory.mktemp("forks")
    tiny.write(folder / "small.edgead")
    found = {"small": folder / "small.edgead"}
    for name in ("wide", "tiled"):
        channels = (96, 128) if name == "wide" else (8, 12)
        pairs = tuple(
            replace(pair, channels=c) for pair, c in zip(tiny.manifest.pairs, channels, strict=True)
        )
        tiling = Tiling((64, 48), 8) if name == "tiled" else None
        golden = make_frame(3, (80, 60, 3))
        size = tiny.manifest.map.size
        if tiling is not None:
            size = plan_tiles(tiling, (80, 60), size).map_size
        loose = {"float32": replace(tiny.manifest.tolerance["float32"], score=1e6, map=1e6)}
        manifest = replace(
            tiny.manifest,
            pairs=pairs,
            tiling=tiling,
            tolerance=loose,
            calibration=Calibration((1.0,) * 19, (1.0,) * 19, 0.05),
            golden=(Golden("golden/0.png", "golden/0.npy", 1.0),),
        )
        files = {
            "model.onnx": make_graph(channels=channels, gain=0.02),
            "golden/0.png": encode_png(golden),
            "golden/0.npy": to_npy(np.zeros(size, np.float32)),
        }
        bundle: Bundle = write(folder / f"{name}.edgead", manifest, files)
        found[name] = bundle.path
    return found


@pytest.fixture
def run(paths: dict[str, Path]) -> Callable[..., None]:
    """``run(name, code, **options)``: PARENT and ``code`` in a process of their own."""

    def run(name: str, code: str, **options: Any) -> None:
        program = PARENT.format(options=options) + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-c", program, paths[name]],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return run


@pytest.mark.parametrize("threads", [None, 1, 4])
@pytest.mark.parametrize("name", ["small", "wide", "tiled"])
def test_a_detector_scores_in_a_fork(run: Any, name: str, threads: int | None) -> None:
    """In two threads at once, in a fork of the fork, and the child ends as programs do."""
    code = """
    def child():
        found = []
        def work():
            found.append(detector.score(frame))
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.score for one in found] == [expected.score] * 2
        assert np.array_equal(found[0].map, expected.map)
        detector.false_reject_rate = 0.5
        if not fork(grandchild):
            detector.close()
    def grandchild():
        assert detector.score(frame).score == expected.score
        assert detector.false_reject_rate == 0.5
    if not fork(child):
        assert detector.score(frame).score == expected.score
    """
    run(name, code, threads=threads)


@pytest.mark.parametrize("name", ["wide", "tiled"])
def test_a_fork_while_other_threads_score(run: Any, name: str) -> None:
    code = """
    stop = threading.Event()
    def score():
        while not stop.is_set():
            detector.score(frame)
    threads = [threading.Thread(target=score, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    def child():
        assert detector.score(frame).score == expected.score
        assert edgead.Detector(path, device="cpu").score(frame).score == expected.score
        os._exit(0)  # as processes of multiprocessing end
    for _ in range(8):
        fork(child)
    stop.set()
    for thread in threads:
        thread.join()
    """
    run(name, code)


@pytest.mark.parametrize("name", ["wide", "tiled"])
def test_a_fork_after_detectors_were_closed(run: Any, name: str) -> None:
    """OpenVINO would give a new graph the threads of one that is gone, which are not there."""
    code = """
    others = [edgead.Detector(path, device="cpu", **options) for _ in range(3)]
    for other in others:
        other.score(frame)
    del other, others
    def child():
        assert detector.score(frame).score == expected.score
        for _ in range(4):
            with edgead.Detector(path, device="cpu", **options) as other:
                assert other.score(frame).score == expected.score
    for _ in range(2):
        if fork(child):
            break
        assert edgead.Detector(path, device="cpu").score(frame).score == expected.score
    """
    run(name, code)


def test_a_fork_while_another_thread_opens_and_closes(run: Any) -> None:
    code = """
    stop = threading.Event()
    def open_others():
        while not stop.is_set():
            edgead.Detector(path, device="cpu").score(frame)
    thread = threading.Thread(target=open_others, daemon=True)
    thread.start()
    def child():
        assert detector.score(frame).score == expected.score
        os._exit(0)
    for _ in range(6):
        fork(child)
    stop.set()
    thread.join()
    """
    run("tiled", code)


def test_what_is_done_in_a_fork_without_a_frame(run: Any) -> None:
    """Opened but not used, closed, dropped, asked for: each child ends."""
    code = """
    from copy import deepcopy
    def drop():
        global detector
        del detector
    def engine():
        assert detector.engine.device
    def copied():
        assert deepcopy(detector).score(frame).score == expected.score
    def use_closed():
        detector.close()
        try:
            detector.score(frame)
        except edgead.InputError as error:
            assert "closed" in str(error)
        else:
            raise AssertionError
    drift = edgead.Drift(detector.bundle)
    def look():
        drift.update(expected)
        assert detector.info()["device"] and repr(detector) and detector.threshold
        expected.overlay()
    for child in (drop, engine, copied, use_closed, look, detector.close, lambda: None):
        if fork(child):
            break
    """
    run("tiled", code)


def test_a_bundle_that_is_gone_is_said_in_the_fork(run: Any) -> None:
    code = """
    import shutil
    copy = path + ".copy.edgead"
    shutil.copytree(path, copy)
    other = edgead.Detector(copy, device="cpu")
    shutil.rmtree(copy)
    other.score(frame)
    def child():
        try:
            other.score(frame)
        except edgead.BundleError as error:
            assert "copy.edgead" in str(error)
        else:
            raise AssertionError
    fork(child)
    """
    run("small", code)
