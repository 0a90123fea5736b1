"""Ctrl-C, kill and a closed terminal: the first asks to stop, the second acts at once.

``as_process`` is the first thing that a command does: nothing is imported here that takes long.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

Stopping = Callable[[], int]
"""The number of the signal that asked to stop; 0 as long as none came."""
GRACE_S = 5.0
"""How long the main thread may take to end; a driver's call may never come back."""
CLOSED = 141
"""The exit code of a command whose stdout was closed, as shells give it."""


_SENTENCE = "edgead: stopped"
_ended: list[int] = []
_said: list[str] = []  # what stopped() said
_pipe: list[int] = []  # its reader and its writer


_AGAIN = 128  # added to the number of a signal that is to be raised again, in the pipe
_AGAIN_S = 0.01


class Stopped(KeyboardInterrupt):
    """A signal ends the command; its handler and number."""


def ended() -> int:
    """The exit code of a command that a signal ended: 128 plus its number; 0 without one.

    It holds whatever exception comes out of the command: some libraries turn Stopped into another.
    """
    return _ended[0] if _ended else 0


def stopped() -> int:
    """Say that the command was stopped; returns its exit code."""
    _said.append(_SENTENCE)
    with suppress(OSError):  # a terminal that was closed
        print(_SENTENCE, file=sys.stderr, flush=True)
    return ended() or 130


class _Handler:
    """Handles the signals that end a command, until ``release``.

    Before the ``last`` one they are noted in ``came``; the last raises Stopped wherever the main
    thread is, and one more ends the process. ``patience``: how many it takes until a main thread
    that does not end within GRACE_S is ended.
    """

    def __init__(self, last: int, patience: int) -> None:
        self.patience = patience
        self.came: list[int] = []
        self._last = last
        self._before = {number: signal.signal(number, self) for number in ending_signals()}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # Nothing that takes a lock: the handler may have interrupted its holder.
        self.came.append(number)
        if len(self.came) > self._last:
            _end(number)
        if len(self.came) == self._last:
            _ended.append(128 + number)
            raise Stopped(self, number)

    def first(self) -> int:
        return self.came[0] if self.came else 0

    def release(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def as_process(work: Callable[[], int]) -> int:
    """Do what this process is for and return its exit code; a signal may come at any moment.

    Args:
        work: the command, with its imports; returns its exit code.
    """
    try:
        _Handler(last=1, patience=1)
        _open_streams()
        _start_backstop()
        try:
            code = work()
        finally:  # all is written: from here on a signal may end the interpreter as it stands
            last = signal.SIG_DFL if os.getpid() != 1 else _end  # process 1 has no default
            for number in ending_signals():
                signal.signal(number, last)
    except BaseException:
        if not ended():
            raise
        code = stopped()
    if ended():
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """End a process that was stopped, when all is unwound and written.

    What the signal interrupted in a library, as while it is loaded, may hold a lock for ever that
    the library waits for when the interpreter ends.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, by its reader or by us
            stream.flush()
    os._exit(code)


@contextmanager
def stopping(patience: int = 2) -> Iterator[Stopping]:
    """Note SIGINT, SIGTERM and SIGHUP while the block runs; outside the main thread, none.

    The block asks whether one came, and ends in its own time. A second signal raises Stopped
    wherever the main thread is.

    Args:
        patience: signals until the process of a block that does not ask is ended: 1 or 2.
    """
    if threading.current_thread() is not threading.main_thread():
        yield int
        return
    handler = _Handler(last=2, patience=patience)
    try:
        yield handler.first
    finally:
        handler.release()


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Have Stopped raised once more where it could not be raised, as in a destructor."""
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)
        return
    handler, number = unraisable.exc_value.args
    handler.came.pop()
    os.write(_pipe[1], bytes([_AGAIN + number]))


def _end(number: int, frame: FrameType | None = None) -> None:
    """End the process as it stands; its sentence does not wait for a reader of stderr."""
    with suppress(OSError):
        if not _said and select.select([], [2], [], 0)[1]:
            os.write(2, f"{_SENTENCE}\n".encode())
    os._exit(128 + number)


def ending_signals() -> list[int]:
    """The signals that end a command; that of a closed terminal stays ignored under nohup."""
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def _open_streams() -> None:
    """Put /dev/null in place of closed stdin, stdout and stderr.

    The next file that is opened would get the number of the stream, and what is printed.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is None:  # the descriptor gets the lowest number that is free
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _start_backstop() -> None:
    """Start the thread that ends this process when the main thread does not get to it.

    Python runs handlers in the main thread only, between two steps of Python: never while it is in
    a library. The number of a signal is written to a pipe at once.
    """
    if sys.platform == "win32":  # it has neither kill nor such pipes
        return
    _pipe.extend(os.pipe())
    os.set_blocking(_pipe[1], False)
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    sys.unraisablehook = _raise_again
    threading.Thread(target=_backstop, args=[_pipe[0]], name="backstop", daemon=True).start()
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """Restore the usual handlers in a forked child, whose signals do not concern this process."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.set_wakeup_fd(-1)
    for number in ending_signals():
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)


def _backstop(reader: int) -> None:
    main = threading.main_thread().ident or 0
    came, ending, number, known = 0, False, 0, 0
    while True:
        if not select.select([reader], [], [], GRACE_S if ending else None)[0]:
            _end(number)
        (byte,) = os.read(reader, 1)
        if byte >= _AGAIN:
            time.sleep(_AGAIN_S)  # until the main thread is out of there
            known += 1
            signal.pthread_kill(main, byte - _AGAIN)
        if byte not in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 0)):
            continue
        if getattr(signal.getsignal(byte), "reloads", False):  # a SIGHUP that ends nothing
            continue
        if known:  # that of this thread
            known -= 1
            continue
        number = byte
        if ending:
            _end(number)
        came += 1
        # A handler of a library or of edgead train has its own idea of how long it may take.
        ending = came >= getattr(signal.getsignal(number), "patience", math.inf)
