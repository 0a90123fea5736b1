"""How far a build is, and the wish to stop it. TensorRT 8 reports nothing and cannot be stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgead.errors import CancelledError
from edgead.nvidia.plans.api import TensorRT
from edgead.nvidia.plans.log import BuildLog

Progress = Callable[[str, int, int], None]
"""Called, from any thread, with a phase, its steps that are done and how many it has (0: not
known). The phases are "wait", "parse", "build" and "inspect", and "build / …" of TensorRT."""


class Watch:
    """Reports to ``progress``, asks ``cancelled``; nothing they raise reaches TensorRT's C++: it is
    kept in ``log``, and ends the build."""

    def __init__(
        self, log: BuildLog, progress: Progress | None, cancelled: Callable[[], bool] | None
    ) -> None:
        self._log, self._progress, self._cancelled = log, progress, cancelled

    def phase(self, name: str) -> None:
        """A phase of edgead begins; raises as ``check``."""
        self.check()
        self.report(name, 0, 0)
        self.check()

    def report(self, phase: str, done: int, steps: int) -> None:
        """Tell ``progress``; what it raises is kept for ``check``."""
        try:
            if self._progress is not None:
                self._progress(phase, done, steps)
        except BaseException as error:  # KeyboardInterrupt too: it must not pass through C++
            self._log.keep(error)

    @property
    def stop(self) -> bool:
        """Whether the build is to end now."""
        stopped = False
        try:
            stopped = self._cancelled is not None and self._cancelled()
        except BaseException as error:
            self._log.keep(error)
        return self._log.raised is not None or stopped

    def check(self) -> None:
        """Raise CancelledError when the build is to stop, or what a callback or a signal raised."""
        if self.stop:
            if self._log.raised is not None:
                raise self._log.raised
            raise CancelledError("stopped; no plan was built")


def make_monitor(module: TensorRT, watch: Watch) -> Any:
    """An IProgressMonitor of ``module`` that reports to ``watch``; None where there is none."""
    base: Any = getattr(module, "IProgressMonitor", None)
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc]  # a class of whichever library there is
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            watch.report(f"build / {phase_name}", 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            watch.report(f"build / {phase_name}", step + 1, self._steps.get(phase_name, 0))
            return not watch.stop

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            watch.report(f"build / {phase_name}", steps, steps)

    return Monitor()
