"""Receivers that run for real, and sinks that are closed when a test ends."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from receivers import Broker, Certificates, Listener


@pytest.fixture
def broker(tmp_path, monkeypatch) -> Iterator[Callable[..., Broker]]:
    """``broker(*lines)``: a Broker with these lines in its settings."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")  # where Debian has it
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    pytest.importorskip("paho.mqtt")
    started: list[Broker] = []

    def start(*lines: str, **options: Any) -> Broker:
        started.append(Broker(tmp_path / f"broker{len(started)}", *lines, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """``listen(port)``: a Listener."""
    started: list[Listener] = []

    def start(*words: Any, **options: Any) -> Listener:
        started.append(Listener(*words, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def sinks() -> Iterator[Callable[..., Any]]:
    """``sinks(kind, opened=True, **settings)``: a sink of that kind, closed when the test ends."""
    from edgead.live.sinks.interface import load

    made: list[Any] = []

    def make(kind: str, *, opened: bool = True, **settings: Any) -> Any:
        sink = load("hall", {"kind": kind, **settings})
        if opened:
            made.append(sink)
            sink.open()
        return sink

    yield make
    for sink in made:
        sink.close()


@pytest.fixture
def certificates(tmp_path) -> Certificates:
    pytest.importorskip("cryptography")
    return Certificates(tmp_path / "certificates")
