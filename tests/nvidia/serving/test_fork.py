"""A GPU across a fork: a sentence, not a call of CUDA that fails or waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.bundle.storage import Bundle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_fork(ask: Callable[[], Any]) -> str:
    """What ``ask`` raises in a forked process, as "Class: text"."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(30)
            ask()
            said = "nothing"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_gpu_is_refused_in_a_fork(device: Any, half_bundle: Bundle, frame: np.ndarray) -> None:
    detector = Detector(half_bundle, device="cuda")
    result = detector.score(frame)
    for ask in (
        lambda: detector.score(frame),
        lambda: detector.engine,
        lambda: Detector(half_bundle, device="cuda"),
    ):
        said = in_a_fork(ask)
        assert said.startswith("DeviceError: ")
        assert "spawn" in said
    assert "before the fork" in in_a_fork(lambda: result.map)
    assert in_a_fork(detector.close) == "nothing"
    assert detector.score(frame).score == result.score
    np.testing.assert_array_equal(detector.score(frame).map, result.map)


def test_a_map_that_was_asked_for_outlives_the_fork(
    device: Any, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with Detector(half_bundle, device="cuda") as detector:
        result = detector.score(frame)
        kept = result.map.copy()
        assert in_a_fork(lambda: np.testing.assert_array_equal(result.map, kept)) == "nothing"
