"""``edgead watch --config``: several cameras in one process, as a line.toml says."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from edgead.cli.console import Console
from edgead.cli.signals import stopping
from edgead.cli.watch_report import end, serve, summary
from edgead.live.camera import Camera
from edgead.live.cameras import Cameras
from edgead.live.clock import Clock
from edgead.live.engines import Engines, View
from edgead.live.log import Log

if TYPE_CHECKING:
    from edgead.live.server import PageServer

TICK_S = 0.2


def run(args: argparse.Namespace) -> int:
    """Watch all cameras until all sources end or a signal comes; the exit code."""
    log = Log(Console(json_on_stdout=True).say)
    with ExitStack() as stack:
        stack.callback(log.close)
        server = serve(args, log, stack)
        cameras = Cameras(
            args.config, sys.stdout.buffer, log.say, _sentence, partial(View, Engines())
        )
        clock, idle = Clock(log.say), threading.Event()
        with stopping() as stop, _reloads() as asked:
            try:
                cameras.start()
                if server is not None:
                    _show(server, cameras, log, stack, lambda: asked.append(0))
                while not stop() and cameras.runs:
                    if asked:
                        asked.clear()
                        cameras.reload()
                    log.tick()
                    clock.tick()
                    cameras.tick()
                    idle.wait(TICK_S)
            finally:
                code = cameras.stop()
    return end(code, cameras.output, cameras.left)


def _show(
    server: PageServer,
    cameras: Cameras,
    log: Log,
    stack: ExitStack,
    reload: Callable[[], None],
) -> None:
    """Serve the page, with what can be learnt from the records where there are some."""
    kept, more = cameras.records, []
    if kept is not None:
        from edgead.live.page import learn
        from edgead.live.relearning.learning import Learning

        learning = Learning(cameras.learning_of, log.say, reload)
        stack.callback(learning.close)
        more = learn.routes(learning)
    folder = kept.settings.folder if kept is not None else None
    server.start(cameras.boards, cameras.sinks, folder, more)


def _sentence(camera: Camera) -> str:
    return summary(camera.slot, camera.tally)


class _Reload:
    """The handler of SIGHUP: notes that it came."""

    reloads = True  # for the backstop of edgead.cli.signals

    def __init__(self) -> None:
        self.came: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)


@contextmanager
def _reloads() -> Iterator[list[int]]:
    """Have SIGHUP ask for the file to be read again; what is yielded holds those that came."""
    handler = _Reload()
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    if number is None or threading.current_thread() is not threading.main_thread():
        yield handler.came
        return
    before = signal.signal(number, handler)
    try:
        yield handler.came
    finally:
        with suppress(TypeError):  # a handler that Python did not set
            signal.signal(number, before)
