"""What TensorRT says and what may not pass through it, with several threads at once."""

from __future__ import annotations

import gc
import signal
import threading

import pytest

from edgead.nvidia.plans.log import BuildLog, collector_waits, listening, signals_wait


def test_ctrl_c_stays_with_the_thread_that_it_interrupted() -> None:
    """Two threads of one engine, which has one log; the other one listens meanwhile."""
    log = BuildLog()
    raised: list[BaseException] = []

    def other() -> None:
        try:
            with listening(log.part()):
                pass
        except BaseException as error:
            raised.append(error)

    with pytest.raises(KeyboardInterrupt), listening(log.part()) as own, signals_wait(own):
        signal.raise_signal(signal.SIGINT)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert raised == []


def test_a_part_keeps_the_same_lines() -> None:
    log = BuildLog()
    log.part().add("ERROR", "no memory")
    assert log.errors == ["no memory"]
    assert log.text() == "[ERROR] no memory\n"


def test_handlers_are_put_back_whatever_raises() -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    with pytest.raises(ZeroDivisionError), signals_wait(BuildLog()):
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def test_the_collector_waits_for_the_last_of_two_threads() -> None:
    """The first to enter is the first to leave; the second still needs it off."""
    first, second = collector_waits(), collector_waits()
    assert gc.isenabled()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_waits():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
