"""What TensorRT logs, kept as clean lines; no exception passes through its C++.

A process has one ILogger for each TensorRT: it keeps to the first one anyway, and tells a second
one so while it holds a lock, for which whatever Python does in that moment (collect a builder, make
a runtime in another thread) would wait for ever.

No lock is taken where TensorRT calls: a log line may come in the middle of anything, the collector
included. Appending to a list and replacing a tuple are atomic.

Its bindings print and drop exceptions of Python, Ctrl-C too, since signals are handled before the
first line of whatever Python it calls. So their handlers' exceptions wait here.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
from collections.abc import Iterator
from typing import Any

from edgead.nvidia.plans.api import TensorRT

LONGEST_LINE = 1000  # characters; TensorRT prints whole fused graphs in one line
MOST_LINES = 20_000

_ERRORS = ("INTERNAL_ERROR", "ERROR")


class BuildLog:
    """The lines of one build or load, from any thread; ``verbose``: those of the lowest level too.

    ``raised``: an exception that may not pass through TensorRT, such as KeyboardInterrupt;
    ``listening`` raises it at its end.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.raised: BaseException | None = None
        self.errors: list[str] = []  # the lines that were errors, oldest first
        self._lines: list[str] = []

    def keep(self, error: BaseException) -> None:
        """Make ``error`` the one that is raised, unless there is one."""
        self.raised = self.raised or error

    def add(self, severity: str, text: str) -> None:
        """Keep ``text``, cleaned, under a severity of TensorRT's ("ERROR", "INFO", …)."""
        if severity == "VERBOSE" and not self.verbose:
            return
        line = clean(text)
        if len(self._lines) < MOST_LINES:
            self._lines.append(f"[{severity}] {line}")
        if severity in _ERRORS and len(self.errors) < MOST_LINES:
            self.errors.append(line)

    def part(self) -> BuildLog:
        """A log of the same lines whose ``raised`` is its own: for one of several threads."""
        part = BuildLog(verbose=self.verbose)
        part._lines, part.errors = self._lines, self.errors
        return part

    def text(self) -> str:
        """All lines, each ended by a newline."""
        return "".join(f"{line}\n" for line in list(self._lines))


_listening: tuple[tuple[int, BuildLog], ...] = ()  # thread and log, in the order they came
_waiting, _collecting = 0, False  # threads in collector_waits; whether there was a collector before
_changing = threading.Lock()  # never taken where TensorRT calls


@contextlib.contextmanager
def listening(log: BuildLog) -> Iterator[BuildLog]:
    """Let ``log`` hear what TensorRT says on the calling thread, unless a log that came later hears
    it, and what it says on threads of its own; then raise what is in ``log.raised``."""
    global _listening
    entry = (threading.get_ident(), log)
    with _changing:
        _listening = (*_listening, entry)
    try:
        yield log
    finally:
        with _changing:
            _listening = tuple(other for other in _listening if other is not entry)
        raised, log.raised = log.raised, None
        if raised is not None:
            raise raised


@contextlib.contextmanager
def signals_wait(log: BuildLog) -> Iterator[None]:
    """Keep what handlers of signals raise in ``log.raised``: nothing of it comes between the calls
    of TensorRT that stand inside. Handlers run in the main thread; in others this does nothing."""
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in signal.valid_signals()}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def handle(number: int, frame: Any) -> None:
        try:
            handlers[number](number, frame)
        except BaseException as error:
            log.keep(error)

    handle.patience = 2  # type: ignore[attr-defined]  # of edgead.cli.signals: a second one acts
    try:
        for number in handlers:
            signal.signal(number, handle)
        yield
    finally:
        # Ctrl-C last: until then it raises nothing, and so leaves no other signal behind.
        for number in sorted(handlers, key=lambda number: number == signal.SIGINT):
            if signal.getsignal(number) is handle:  # or the handler itself put another there
                signal.signal(number, handlers[number])


@contextlib.contextmanager
def collector_waits() -> Iterator[None]:
    """No collection of garbage meanwhile: for the calls in which TensorRT takes a logger, and may
    tell it, with a lock held, that another library's came first."""
    global _collecting, _waiting
    with _changing:
        if not _waiting:
            _collecting = gc.isenabled()
            gc.disable()
        _waiting += 1
    try:
        yield
    finally:
        with _changing:
            _waiting -= 1
            if not _waiting and _collecting:
                gc.enable()


def _hearing() -> list[BuildLog]:
    heard, thread = _listening, threading.get_ident()
    own = [log for owner, log in heard if owner == thread]
    return own[-1:] or [log for _, log in heard]


def _hear(severity: str, text: str) -> None:
    for log in _hearing():
        log.add(severity, text)


_loggers: dict[int, tuple[TensorRT, Any]] = {}  # by id; the module stays, so an id stays its own


def logger_of(module: TensorRT) -> Any:
    """The ILogger of this process for ``module``; see ``listening`` for where its lines go."""
    if id(module) not in _loggers:
        _loggers.setdefault(id(module), (module, _make_logger(module)))
    return _loggers[id(module)][1]


def _make_logger(module: TensorRT) -> Any:
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]  # a class of whichever library there is
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            # Called from C++: an exception here would pass through code that expects none.
            try:
                _hear(str(getattr(severity, "name", severity)), msg)
            except Exception:
                _hear("WARNING", "a line of TensorRT's log could not be kept")
            except BaseException as error:
                for heard in _hearing():
                    heard.keep(error)

    return Logger()


def clean(text: str) -> str:
    """One printable line: TensorRT's messages may hold newlines, raw bytes and terminal codes."""
    one_line = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)
    if len(printable) > LONGEST_LINE:
        return printable[: LONGEST_LINE - 1] + "…"
    return printable
