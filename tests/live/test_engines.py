"""Cameras that share Detectors: how many are opened, what runs at once, what each camera sees."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import DeviceError
from edgead.live import engines as module
from edgead.live.engines import Engines, View

CPU = {"device": "cpu", "threads": 1}


@pytest.fixture
def opened(monkeypatch):
    """The ``threads`` of every Detector that a Pool opens, on four cores."""
    found = []

    class Noted(Detector):
        def __init__(self, *given, **settings):
            super().__init__(*given, **settings)
            found.append(settings["threads"])

    monkeypatch.setattr(module, "cores", lambda: 4)
    monkeypatch.setattr(module, "Detector", Noted)
    return found


def test_equal_bundles_share_a_pool_and_keep_their_own_rates(bundle_dir, frames):
    engines, bundle = Engines(), open_bundle(bundle_dir)
    settings = {"device": "cpu", "threads": 1}
    strict = View(engines, bundle, {**settings, "false_reject_rate": 0.025})
    loose = View(engines, open_bundle(bundle_dir), {**settings, "false_reject_rate": 0.5})
    assert strict._pool is loose._pool
    assert strict.threshold > loose.threshold
    results = [view.score(frame) for frame in frames[:3] for view in (strict, loose)]
    for result, view in zip(results, [strict, loose] * 3, strict=True):
        assert result.threshold == view.threshold
        assert result.is_anomalous == (result.score > view.threshold)
    other = View(engines, bundle, {**settings, "threads": 2})
    assert other._pool is not strict._pool
    deep = np.full((70, 90), 4095, np.uint16)
    white = np.full((70, 90), 255, np.uint8)
    assert other.score(deep, 12).score == pytest.approx(other.score(white).score, rel=1e-6)
    assert len(engines._open) == 2  # one for 12 bits took the place of the one for 16
    del strict, loose, results, result, view
    assert len(engines._open) == 1


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        (1, [[1], [1, 1], [1, 1, 1], [1] * 4, []]),  # by number of cameras; [] opens nothing anew
        (2, [[2], [2, 2], [], [], []]),
        (4, [[4], [], [], [], []]),
        (None, [[None], [2, 2], [], [1] * 4, []]),  # all cores are used, each by one frame
    ],
)
def test_cameras_share_the_cores(opened, bundle_dir, threads, expected):
    engines, bundle, views = Engines(), open_bundle(bundle_dir), []
    for fresh in expected:
        del opened[:]
        views.append(View(engines, bundle, {**CPU, "threads": threads}))
        assert opened == fresh


def test_detectors_that_others_replace_are_let_go(monkeypatch, bundle_dir, frames):
    kept: weakref.WeakSet[Detector] = weakref.WeakSet()

    class Kept(Detector):
        def __init__(self, *given, **settings):
            super().__init__(*given, **settings)
            kept.add(self)

    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "Detector", Kept)
    engines, bundle = Engines(), open_bundle(bundle_dir)
    first = View(engines, bundle, {**CPU, "threads": None})
    first.score(frames[0])
    alone = weakref.ref(next(iter(kept)))
    workers = [one for one in threading.enumerate() if one.name.startswith("score")]
    others = [View(engines, bundle, {**CPU, "threads": None}) for _ in range(3)]
    for one in workers:
        one.join(20)
    gc.collect()
    assert alone() is None and len(kept) == 2
    assert others[0].score(frames[0]).score == pytest.approx(first.score(frames[0]).score)


def test_cameras_that_left_have_no_share(opened, bundle_dir):
    engines, bundle = Engines(), open_bundle(bundle_dir)
    kept = View(engines, bundle, CPU)
    for _ in range(3):
        View(engines, bundle, CPU)
        gc.collect()
    assert opened == [1, 1, 1], "one, and two when the second camera came"
    assert kept.bit_depth is None


def test_frames_of_two_cameras_are_scored_at_once(monkeypatch, opened, bundle_dir, frames):
    engines, bundle = Engines(), open_bundle(bundle_dir)
    views = [View(engines, bundle, CPU) for _ in range(2)]
    with Detector(bundle, **CPU) as alone:
        expected = [alone.score(frame).score for frame in frames]
    both, score = threading.Barrier(2), Detector.score

    def meeting(self, frame):
        both.wait(20)  # broken, where one frame waits for the end of the other
        return score(self, frame)

    monkeypatch.setattr(Detector, "score", meeting)

    def camera(view):
        return [view.score(frame).score for frame in frames]

    with ThreadPoolExecutor(2) as cameras:
        assert list(cameras.map(camera, views)) == [expected, expected]


def test_a_camera_that_joins_disturbs_no_frame(opened, bundle_dir, frames):
    engines, bundle, end = Engines(), open_bundle(bundle_dir), threading.Event()
    view, results = View(engines, bundle, {**CPU, "threads": None}), []

    def camera():
        while not end.is_set():
            results.append(view.score(frames[0]).score)

    thread = threading.Thread(target=camera)
    thread.start()
    others = [View(engines, bundle, {**CPU, "threads": None}) for _ in range(3)]
    end.set()
    thread.join()
    assert results and results == pytest.approx([results[0]] * len(results), rel=1e-5)
    assert others[0].score(frames[0]).score == pytest.approx(results[0], rel=1e-5)


def test_an_error_of_the_engine_reaches_its_camera(monkeypatch, bundle_dir, frames):
    view = View(Engines(), open_bundle(bundle_dir), CPU)

    def fails(self, frame):
        raise DeviceError("planted")

    monkeypatch.setattr(Detector, "score", fails)
    with pytest.raises(DeviceError, match="planted"):
        view.score(frames[0])


def test_threads_end_with_the_last_camera(bundle_dir, frames):
    before = set(threading.enumerate())
    view = View(Engines(), open_bundle(bundle_dir), CPU)
    view.score(frames[0])
    own = [one for one in set(threading.enumerate()) - before if one.name.startswith("score")]
    assert own
    del view
    gc.collect()
    for one in own:
        one.join(20)
    assert not any(one.is_alive() for one in own)
