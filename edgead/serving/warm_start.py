"""Warm start: the CPU answers at once, while a GPU's engine is built and qualified beside it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from importlib import import_module

from edgead.engine.interface import Qualified
from edgead.errors import EdgeadError, InputError
from edgead.serving.choice import Choice

_JOIN_S = 60.0  # a builder that cannot be interrupted; the thread goes with the process


class WarmStart:
    """One attempt, in a thread of its own; ``state`` says how far it is, or how it ended.

    Args:
        open_qualified: opens and qualifies the engine, unless what it is given returns True.
        take: gets the engine, and returns whether it serves now.
    """

    def __init__(
        self,
        open_qualified: Callable[[Callable[[], bool]], Qualified],
        take: Callable[[Qualified], bool],
    ) -> None:
        self._open_qualified = open_qualified
        self._take = take
        self._stop = threading.Event()
        self.state = "the CPU serves while the GPU's engine is made ready"
        self._thread = threading.Thread(target=self._run, name="edgead warm start", daemon=True)
        # A process that ends lets the builder, native code at work, stop first. What is registered
        # last runs first, so the modules that end CUDA have to be there already.
        import_module("edgead.nvidia.pipeline")
        atexit.register(self.cancel)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, at most ``timeout_s``; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Stop, and wait until it has."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            opened = self._open_qualified(self._stop.is_set)
            if self._stop.is_set() or not self._take(opened):
                self.state = "cancelled: the Detector was closed"
            else:
                self.state = f"done: {opened.engine.device} serves"
        except EdgeadError as error:
            failed = f"failed, the CPU serves: {error}"
            self.state = "cancelled" if self._stop.is_set() else failed
        except Exception as error:  # a defect: said, where a thread's end would go unheard
            self.state = f"failed, the CPU serves: {type(error).__name__}: {error}"
        finally:
            atexit.unregister(self.cancel)


def check_warm_start(device: str, choice: Choice) -> str:
    """Why there is no warm start, where ``choice`` of ``device`` is not a GPU.

    Raises: InputError: there is nothing to go on to.
    """
    if isinstance(device, str) and device.lower() == "cpu":
        raise InputError(
            'warm_start=True begins on the CPU and goes on to a GPU; device="cpu" names none: use '
            '"auto" or "cuda", or leave warm_start out'
        )
    return f"none: {choice.reason}"
