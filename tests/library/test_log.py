"""The log, and what a watchdog sees."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
ERROR, WARNING, INFO = 1, 2, 3


@contextmanager
def listening(**params: Any) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """What was logged, as (user data, level, sentence, thread), and the parameters for it."""
    heard: list[Any] = []

    @LOG
    def log(user: int, level: int, sentence: bytes) -> None:
        heard.append((user, level, sentence.decode(), threading.get_ident()))

    yield heard, {"log": ctypes.cast(log, ctypes.c_void_p), "log_user_data": 77, **params}


def test_the_log_is_told_what_happens(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    with listening() as (heard, params), library.detector(bundle_dir, **params) as handle:
        info = library.info(handle)
        assert [entry[:2] for entry in heard] == [(77, INFO)]
        for word in ("device", "version", "precision", "kernels"):
            assert getattr(info, word).decode() in heard[0][2]
        assert "3 golden frames" in heard[0][2] and str(bundle_dir) in heard[0][2]
        with library.session(handle) as session:
            session.score(frame, "BGR")
            assert heard[1][1] == WARNING and "edgead_session_prepare" in heard[1][2]
            session.score(frame, "BGR")
            assert len(heard) == 2
            library.call("detector_set_false_reject_rate", handle, 0.5)
            assert heard[2][1] == INFO and "rate 0.5" in heard[2][2]
            with pytest.raises(refused) as caught:
                session.score(frame, "GRAY16", 99)
            assert heard[3][1:3] == (ERROR, str(caught.value))
            assert {entry[3] for entry in heard} == {threading.get_ident()}
            thread = threading.Thread(target=session.score, args=(frame[:50], "BGR"))
            thread.start()
            thread.join()
            assert len(heard) == 5 and heard[4][3] == thread.ident


@pytest.mark.parametrize("level", [0, ERROR, WARNING, INFO])
def test_the_log_has_a_level(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray, level: int
) -> None:
    with (
        listening(log_level=level) as (heard, params),
        library.serving(bundle_dir, **params) as session,
    ):
        session.score(frame, "BGR")
        with pytest.raises(refused):
            session.score(frame, "GRAY8", 9)
    most = level or INFO
    assert [entry[1] for entry in heard] == [one for one in (INFO, WARNING, ERROR) if one <= most]


@pytest.mark.parametrize("level", [-1, 4, 2**31 - 1])
def test_no_such_level(
    library: Any, refused: type[Exception], bundle_dir: Path, level: int
) -> None:
    with pytest.raises(refused, match=f"log_level is {level}, expected"):
        library.open(bundle_dir, log_level=level)


def test_the_log_is_told_of_a_bundle_that_does_not_open(
    library: Any, refused: type[Exception], tmp_path: Path
) -> None:
    with listening() as (heard, params):
        with pytest.raises(refused) as caught:
            library.open(tmp_path, **params)
        assert [entry[1:3] for entry in heard] == [(ERROR, str(caught.value))]


def test_the_watchdog_sees_a_session(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    with library.serving(bundle_dir) as session:
        before = session.stats()
        assert (before.scored, before.failed, before.last_ms, before.worst_ms) == (0, 0, 0, 0)
        assert before.running_ms == 0 and before.idle_ms > 0
        took = []
        for _ in range(3):
            total = session.score(frame, "BGR").total_ms
            stats = session.stats()
            assert stats.last_ms >= total > 0  # the whole call
            took.append(stats.last_ms)
            assert stats.worst_ms == max(took) and stats.running_ms == 0
        with pytest.raises(refused):
            session.score(frame, "GRAY8", 9)
        with pytest.raises(refused):
            library.call("session_score", session.handle, None, None)
        stats = session.stats()
        assert (stats.scored, stats.failed) == (3, 2)
        assert session.stats().idle_ms >= stats.idle_ms > 0


def test_the_watchdog_sees_a_call_in_progress(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    # The log function is called while the frame is scored: by it, and so by another thread.
    seen: list[Any] = []

    @LOG
    def log(_user: int, level: int, _sentence: bytes) -> None:
        if level != WARNING:
            return
        threads = [threading.Thread(target=look), threading.Thread(target=use)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def look() -> None:
        seen.append(session.stats())

    def use() -> None:
        for call in (lambda: session.score(frame, "BGR"), session.regions, session.map_size):
            with pytest.raises(refused, match="the session is in use by another thread"):
                call()
        seen.append("refused")

    params = {"log": ctypes.cast(log, ctypes.c_void_p)}
    with library.serving(bundle_dir, **params) as session:
        score = session.score(frame, "BGR").score
        (stats,) = (one for one in seen if one != "refused")
        assert len(seen) == 2
        assert stats.running_ms > 0 and stats.idle_ms == 0 and stats.scored == 0
        assert session.score(frame, "BGR").score == score
        assert (session.stats().scored, session.stats().failed) == (2, 0)
